"""How a job joins Ray."""

import logging
import os

import ray


def connect() -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start one of this machine's own.

    Under Ray Jobs the address is set by Ray. ``RAY_AUTH_MODE`` is set in every process, because
    Ray otherwise decides by files that an earlier run left in the home folder (D10).
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or None
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
