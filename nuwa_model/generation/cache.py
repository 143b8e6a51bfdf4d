"""What decoding remembers: keys and values of the last frames, in a ring.

A slot is overwritten by the slot ``r_s + 1`` frames later, which no wave reaches before the
slot's last reader has been computed; memory does not grow with the number of frames.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import slot_grid
from nuwa_model.generation.schedule import Pass, ring_frames, window_slots
from nuwa_model.grid import Extent, Grid


class PassPlan(NamedTuple):
    """The index arithmetic of one pass.

    Attributes:
        cells: Number of the cell that each slot predicts, −1 for the last column.
        inputs: Number of the cell whose token each slot holds, −1 for ``<bos>``.
        coordinates: Frame, row and column of each slot.
        own: Place of each slot in the ring.
        window: Places of the slots each one sees, itself included.
        mask: False where a window has fewer slots than the widest.
    """

    cells: Int[Tensor, " m"]
    inputs: Int[Tensor, " m"]
    coordinates: Int[Tensor, "m 3"]
    own: Int[Tensor, " m"]
    window: Int[Tensor, "m k"]
    mask: Bool[Tensor, "m k"]


@lru_cache(maxsize=8192)
def plan_pass(step: Pass, target_grid: Grid, extent: Extent, device: torch.device) -> PassPlan:
    """Turn slots into indexes, once for each pass of a schedule."""
    slots = slot_grid(target_grid)
    frames = ring_frames(slots, extent)
    windows = [[*window_slots(slot, slots, extent), slot] for slot in step.slots]
    width = max(map(len, windows))
    places = [[_place(seen, slots, frames) for seen in window] for window in windows]
    padded = [row + [row[-1]] * (width - len(row)) for row in places]
    mask = [[True] * len(row) + [False] * (width - len(row)) for row in places]
    numbers = [(f * target_grid.h + r) * target_grid.w + c for f, r, c in step.slots]
    columns = [c for _, _, c in step.slots]
    pairs = list(zip(numbers, columns, strict=True))
    return PassPlan(
        cells=torch.tensor([n if c < target_grid.w else -1 for n, c in pairs], device=device),
        inputs=torch.tensor([n - 1 if c > 0 else -1 for n, c in pairs], device=device),
        coordinates=torch.tensor(step.slots, device=device),
        own=torch.tensor([_place(slot, slots, frames) for slot in step.slots], device=device),
        window=torch.tensor(padded, device=device),
        mask=torch.tensor(mask, device=device),
    )


def _place(slot: tuple[int, int, int], slots: Grid, frames: int) -> int:
    f, r, c = slot
    return (f % frames * slots.h + r) * slots.w + c


class RingCache:
    """Keys and values of one decoder layer."""

    def __init__(
        self,
        config: NuwaConfig,
        target_grid: Grid,
        batch: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        slots = slot_grid(target_grid)
        places = ring_frames(slots, config.extent) * slots.h * slots.w
        shape = (batch, config.num_heads, places, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def write(
        self,
        places: Int[Tensor, " m"],
        key: Float[Tensor, "b n m e"],
        value: Float[Tensor, "b n m e"],
    ) -> None:
        """Store the keys and values of a pass."""
        self.keys[:, :, places] = key
        self.values[:, :, places] = value

    def read(
        self, window: Int[Tensor, "m k"]
    ) -> tuple[Float[Tensor, "b n m k e"], Float[Tensor, "b n m k e"]]:
        """The keys and values that each slot of a pass sees."""
        return self.keys[:, :, window], self.values[:, :, window]
