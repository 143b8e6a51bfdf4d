"""How a job joins Ray."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayTaskError

from nuwa_model.errors import NuwaError
from pipelines import memory


def connect() -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start one of this machine's own.

    Under Ray Jobs the address is set by Ray. ``RAY_AUTH_MODE`` is set in every process, because
    Ray otherwise decides by files that an earlier run left in the home folder (D10).
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    memory.ask_huge_pages()
    if not ray.is_initialized():
        # Not None, which would join whatever cluster somebody else runs on this machine.
        address = os.environ.get("RAY_ADDRESS") or "local"
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)


def wrap_model_worker(worker: type, num_workers: int) -> tuple[Any, int]:
    """Make an actor class of a plain class that holds a model.

    Its calls must be safe to repeat: an actor that dies is started again.

    Args:
        worker: The plain class.
        num_workers: Actors wanted; 0 is one for each GPU, or one where there is none. More than
            there are GPUs, or processors where there is none, would wait for ever.

    Returns:
        The actor class, with a GPU or an equal share of the processors each (Ray gives torch as
        many threads), and how many to start.
    """
    gpus, cpus = (int(ray.cluster_resources().get(name, 0)) for name in ("GPU", "CPU"))
    count = min(num_workers or max(1, gpus), max(1, gpus or cpus))
    actor: Any = ray.remote(
        num_gpus=1 if gpus else 0,
        num_cpus=1 if gpus else max(1, cpus // count),
        max_restarts=3,
        max_task_retries=3,
    )(worker)
    return actor, count


def num_ranks(wanted: int, batch_size: int) -> int:
    """How many processes train together.

    Args:
        wanted: That many; 0 is as many as the cluster has GPUs, or processors where it has none.
        batch_size: Examples to share out; where the number is ours to choose, it divides them.
    """
    if wanted:
        return wanted
    connect()
    resources = ray.cluster_resources()
    available = int(resources.get("GPU", 0)) or int(resources.get("CPU", 1))
    return next(n for n in range(min(available, batch_size), 0, -1) if batch_size % n == 0)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise a worker's deliberate error as itself: one line, without the worker's traceback."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, NuwaError):
            raise error.cause from None
        raise
