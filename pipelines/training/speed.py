"""How fast a training is, and what holds it up."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nuwa_model.batch import Batch
from nuwa_model.config import NuwaConfig
from nuwa_model.flops import training_flops
from nuwa_model.grid import Grid
from pipelines.training.engine import Precision
from pipelines.training.gpus import flops_of

_SIDE = {"cpu": 1024, "cuda": 8192}
_ROUNDS = 5


class Speed:
    """What happened since the last look; a window of steps.

    Args:
        config: Shape of the model.
        precision: In which matrices are multiplied.
        world_size: Ranks; every batch counts once for each.
    """

    def __init__(self, config: NuwaConfig, precision: Precision, world_size: int) -> None:
        self._config, self._world_size = config, world_size
        self.peak = world_size * peak_flops(precision)
        self.restart()

    def restart(self) -> None:
        """Forget the window, as after a checkpoint, whose time is not training's."""
        self._began, self._waited = time.monotonic(), 0.0
        self._tokens, self._flops = 0, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What is done within this ``with`` statement is to wait for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def count(self, batch: Batch) -> int:
        """Take in what every rank trains on at once; the tokens of all of them."""
        examples = self._world_size * len(batch.target)
        tokens = self._world_size * batch.target.numel()
        grid = Grid(*batch.target.shape[1:])
        self._tokens += tokens
        self._flops += examples * training_flops(self._config, batch.task, grid)
        return tokens

    def close_window(self) -> dict[str, float]:
        """Speed of the window, and a new one.

        Returns:
            ``tokens_per_s``; ``mfu``, the share of the machine's operations a second that the
            model's own arithmetic takes (Chowdhery et al. 2022, appendix B; what is computed twice
            to spare memory counts once); ``data_wait``, the share of the time spent waiting for
            batches; ``memory_gb``, the most that this rank ever held.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        told = {
            "tokens_per_s": self._tokens / seconds,
            "mfu": self._flops / seconds / self.peak,
            "data_wait": self._waited / seconds,
            "memory_gb": peak_memory() / 1e9,
        }
        self.restart()
        return {name: float(f"{value:.4g}") for name, value in told.items()}


def peak_flops(precision: Precision) -> float:
    """Operations a second that this rank's device can do, in products of matrices.

    That of the data sheet where it is known, as everybody's MFU is; else what one large product
    reaches here and now.
    """
    if torch.cuda.is_available() and precision == "bfloat16":
        known = flops_of(torch.cuda.get_device_name())
        if known is not None:
            return known
    return _measured_flops(getattr(torch, precision))


def peak_memory() -> int:
    """Bytes: of a GPU what torch held at most, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def _measured_flops(dtype: torch.dtype) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = _SIDE[device]
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    seconds = min(_seconds(lambda: matrix @ matrix) for _ in range(_ROUNDS))
    return 2 * side**3 / seconds


def _seconds(work: Callable[[], Tensor]) -> float:
    began = time.monotonic()
    work().flatten()[0].item()  # waits for a GPU
    return time.monotonic() - began
