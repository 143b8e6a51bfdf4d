"""Which Ray cluster the flows of this process use."""

import atexit
import os
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from flows.ray_head import RayHead, answers
from nuwa_model.errors import ConfigError

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Ray's own name for the address of a dashboard, such as ``http://127.0.0.1:8265``."""

HTTP_TIMEOUT_S = 30.0


class Cluster(NamedTuple):
    """A Ray cluster that takes jobs.

    Args:
        url: Address of its dashboard.
        patience_s: How long its silence is taken for a hiccup.
        is_alive: Whether it can still be hoped for.
    """

    url: str
    patience_s: float
    is_alive: Callable[[], bool] = lambda: True

    @property
    def is_here(self) -> bool:
        """Whether its head runs on this machine and so shares paths with this process."""
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}


class _Own:
    """The local head of this process, started when the first job needs it."""

    head: RayHead | None = None


def given_address() -> str | None:
    """The dashboard that the environment names, if any."""
    url = os.environ.get(ADDRESS_VARIABLE) or os.environ.get("RAY_ADDRESS") or ""
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"RAY_ADDRESS ({url}) names no dashboard; flows need its address, for example "
            f"{ADDRESS_VARIABLE}=http://127.0.0.1:8265. Unset both to use a local head."
        )
    return url.rstrip("/") or None


def start_head_early() -> None:
    """Let a local head start in the background, unless a cluster is given."""
    if given_address() is None and _Own.head is None:
        _Own.head = RayHead()
        atexit.register(stop_head)


def connect() -> Cluster:
    """The given cluster, or this process's own head, replaced if it has died."""
    url = given_address()
    if url is not None:
        return Cluster(url, patience_s=300.0)
    if _Own.head is not None and not _is_well(_Own.head):
        stop_head()
    start_head_early()
    head = _Own.head
    assert head is not None
    return Cluster(head.url, patience_s=120.0, is_alive=head.is_alive)


def release_head() -> None:
    """Let the head of this process go, without waiting for its end."""
    if _Own.head is not None:
        _Own.head.release()


def stop_head() -> None:
    """End the head that this process started, if any."""
    head, _Own.head = _Own.head, None
    if head is not None:
        head.stop()


def _is_well(head: RayHead) -> bool:
    return head.is_alive() and answers(head.url, timeout_s=HTTP_TIMEOUT_S)
