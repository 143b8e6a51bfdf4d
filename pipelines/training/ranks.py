"""The processes that train together."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from nuwa_model.errors import NuwaError
from pipelines.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together; read from the environment of any launcher.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
        local_rank: Number of this process on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Ranks":
        """Read ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; without them it is a lone process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not {"RANK", "WORLD_SIZE"} & set(environment):
            return cls()
        missing = [name for name in names if name not in environment]
        if missing:
            raise TrainingError(
                f"{', '.join(missing)} is missing in the environment although other variables of a "
                "launcher are set: start with `nuwa run`, torchrun or deepspeed, or unset them."
            )
        return cls(*(int(environment[name]) for name in names))

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0


def join_ranks(ranks: Ranks) -> None:
    """Form the process group, unless a launcher did: NCCL between GPUs, gloo between CPUs."""
    if distributed.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "MASTER_ADDR" in os.environ:
        distributed.init_process_group(backend)
        return
    if ranks.world_size > 1:
        raise TrainingError(
            f"WORLD_SIZE is {ranks.world_size} but MASTER_ADDR is not set: start with `nuwa run`, "
            "torchrun or deepspeed."
        )
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=store, rank=0, world_size=1)


def from_first_rank(function: Callable[[], T]) -> T:
    """Call a function on rank 0 and return its result on every rank.

    Its deliberate errors are raised on every rank too, so that none is left waiting.
    """
    outcome: list[Any] = [None, ""]
    if distributed.get_rank() == 0:
        try:
            outcome[0] = function()
        except NuwaError as error:
            outcome[1] = str(error)
    distributed.broadcast_object_list(outcome, src=0)
    result, problem = outcome
    if problem:
        raise TrainingError(problem)
    return result


def mean_over_ranks(value: Tensor) -> float:
    """The mean of a number that every rank has; waits for the device."""
    return means_over_ranks(value[None])[0]


def means_over_ranks(values: Tensor) -> list[float]:
    """The means of some numbers that every rank has; waits for the device."""
    if distributed.get_world_size() > 1:
        distributed.all_reduce(values)
        values = values / distributed.get_world_size()
    means: list[float] = values.tolist()
    return means
