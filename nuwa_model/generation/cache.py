"""What decoding remembers: keys and values of the last frames, in a ring.

A slot is overwritten by the slot ``r_s + 1`` frames later, which no wave reaches before the
slot's last reader has been computed; memory does not grow with the number of frames. (It does
where attention is full or axial, whose cells see all earlier frames.)
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import slot_grid
from nuwa_model.generation.schedule import Pass, ring_frames, seen_slots
from nuwa_model.grid import Grid
from nuwa_model.sight import Sight


class PassPlan(NamedTuple):
    """The index arithmetic of one pass.

    Attributes:
        cells: Numbers of the cells that are predicted.
        predicting: Which slots predict them: all but those of the last column.
        inputs: Number of the cell whose token each slot holds, −1 for ``<bos>``.
        coordinates: Frame, row and column of each slot.
        own: Place of each slot in the ring.
        seen: Places of the slots that each one sees, itself included; one list for all of them
            where that is everything before.
        mask: True where a slot sees a place of its list.
    """

    cells: Int[Tensor, " p"]
    predicting: Int[Tensor, " p"]
    inputs: Int[Tensor, " m"]
    coordinates: Int[Tensor, "m 3"]
    own: Int[Tensor, " m"]
    seen: Int[Tensor, "g k"]
    mask: Bool[Tensor, "m k"]


@lru_cache(maxsize=8192)
def plan_pass(step: Pass, target_grid: Grid, sight: Sight, device: torch.device) -> PassPlan:
    """Turn slots into indexes, once for each pass of a schedule."""
    slots = slot_grid(target_grid)
    _, h, w = target_grid
    predicting = [number for number, (_, _, c) in enumerate(step.slots) if c < w]
    inputs = [(f * h + r) * w + c - 1 if c > 0 else -1 for f, r, c in step.slots]
    frames = ring_frames(slots, sight.extent)
    own = torch.tensor([_place(slot, slots, frames) for slot in step.slots], device=device)
    is_full = sight.kind == "full"
    seen, mask = _all_before(own) if is_full else _each_its_own(step, slots, sight, device)
    return PassPlan(
        cells=torch.tensor(step.cells(target_grid), dtype=torch.long, device=device),
        predicting=torch.tensor(predicting, dtype=torch.long, device=device),
        inputs=torch.tensor(inputs, device=device),
        coordinates=torch.tensor(step.slots, device=device),
        own=own,
        seen=seen,
        mask=mask,
    )


def _all_before(own: Int[Tensor, " m"]) -> tuple[Int[Tensor, "1 k"], Bool[Tensor, "m k"]]:
    """All places up to the last slot: a ring that keeps all frames has them in raster order."""
    places = torch.arange(int(own.max()) + 1, device=own.device)
    return places[None], places <= own[:, None]


def _each_its_own(
    step: Pass, slots: Grid, sight: Sight, device: torch.device
) -> tuple[Int[Tensor, "m k"], Bool[Tensor, "m k"]]:
    frames = ring_frames(slots, sight.extent)
    places = [
        [_place(seen, slots, frames) for seen in (*seen_slots(slot, slots, sight), slot)]
        for slot in step.slots
    ]
    width = max(map(len, places))
    padded = [row + [row[-1]] * (width - len(row)) for row in places]
    mask = [[True] * len(row) + [False] * (width - len(row)) for row in places]
    return torch.tensor(padded, device=device), torch.tensor(mask, device=device)


def _place(slot: tuple[int, int, int], slots: Grid, frames: int) -> int:
    f, r, c = slot
    return (f % frames * slots.h + r) * slots.w + c


class RingCache:
    """Keys and values of one decoder layer.

    Attributes:
        keys: ``(b, places, n, e)``, the heads of a slot side by side in memory.
        values: Likewise.
    """

    def __init__(
        self,
        config: NuwaConfig,
        target_grid: Grid,
        batch: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._slots = slots = slot_grid(target_grid)
        self._frames = ring_frames(slots, config.decoder_sight.extent)
        places = self._frames * slots.h * slots.w
        shape = (batch, places, config.num_heads, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)

    def write(
        self,
        places: Int[Tensor, " m"],
        key: Float[Tensor, "b n m e"],
        value: Float[Tensor, "b n m e"],
    ) -> None:
        """Store the keys and values of a pass."""
        self.keys.index_copy_(1, places, key.transpose(1, 2))
        self.values.index_copy_(1, places, value.transpose(1, 2))

    def fill(
        self, rows: slice, key: Float[Tensor, "b n t e"], value: Float[Tensor, "b n t e"]
    ) -> None:
        """Store those of the first frames, all at once, for some rows of the batch.

        Frames that nobody will see any more are left out.
        """
        size = self._slots.h * self._slots.w
        num_frames = key.shape[2] // size
        for frame in range(max(0, num_frames - self._frames), num_frames):
            first = _place((frame, 0, 0), self._slots, self._frames)
            here, there = slice(frame * size, (frame + 1) * size), slice(first, first + size)
            self.keys[rows, there] = key[:, :, here].transpose(1, 2)
            self.values[rows, there] = value[:, :, here].transpose(1, 2)
