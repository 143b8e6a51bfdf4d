"""The exponential moving average of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class AveragedWeights:
    """A float32 average of every weight, kept by each rank for the part that it holds.

    That part is everything below ZeRO stage 3 and this rank's slices at stage 3.

    Args:
        module: The model inside the engine.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._averages = [weight.clone() for weight in self._held()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move a step of ``1 - decay`` towards the weights."""
        torch._foreach_lerp_(self._averages, self._held(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Exchange the weights and their averages for the length of a ``with`` statement."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> list[Tensor]:
        """The averages that this rank keeps."""
        return self._averages

    @torch.no_grad()
    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from what ``state`` gave."""
        for average, saved in zip(self._averages, state, strict=True):
            average.copy_(saved)

    def save(self, path: Path, *, is_writer: bool) -> None:
        """Write the whole average as one file; every rank must call it, one writes."""
        with self.applied(), _gathered(self._module):
            if is_writer:
                named = self._module.named_parameters()
                save_file({name: p.detach().cpu().contiguous() for name, p in named}, path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Read what ``save`` wrote. Overwrites the weights too, so load those afterwards."""
        load_weights(self._module, path)
        self._averages = [weight.clone() for weight in self._held()]

    def _held(self) -> list[Tensor]:
        return [getattr(p, "ds_tensor", p.data) for p in self._module.parameters()]

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weight in zip(self._averages, self._held(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


@torch.no_grad()
def load_weights(module: nn.Module, path: Path) -> None:
    """Read the averaged weights of a checkpoint into a model; its buffers stay as they are."""
    state = load_file(path)
    with _gathered(module, modifier_rank=0):
        for name, parameter in module.named_parameters():
            parameter.copy_(state[name])


def _gathered(module: nn.Module, modifier_rank: int | None = None) -> Any:
    """All of every weight, where ZeRO stage 3 has left each rank only slices."""
    parameters = list(module.parameters())
    if not any(hasattr(p, "ds_tensor") for p in parameters):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters, modifier_rank)
