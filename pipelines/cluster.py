"""How a job joins Ray."""

import logging
import os
from typing import Any

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


def wrap_model_worker(worker: type, num_workers: int) -> tuple[Any, int]:
    """Make an actor class of a plain class that holds a model.

    Args:
        worker: The plain class.
        num_workers: Actors wanted; 0 is one for each GPU, or one where there is none.

    Returns:
        The actor class, with a GPU or an equal share of a machine's processors each (Ray gives
        torch as many threads), and how many to start.
    """
    resources = ray.cluster_resources()
    num_gpus = int(resources.get("GPU", 0))
    count = num_workers or max(1, num_gpus)
    if num_gpus:
        return ray.remote(num_gpus=1)(worker), count
    smallest = min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    return ray.remote(num_cpus=max(1, int(smallest) // count))(worker), count
