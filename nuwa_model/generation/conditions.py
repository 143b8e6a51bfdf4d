"""What the slots of a pass read of a condition: all of a text, the near cells of a sketch."""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.attention.rotary import Rotations, rotate
from nuwa_model.attention.window import POINT, near_on_axes, on_a_line
from nuwa_model.encoder import Context
from nuwa_model.generation.cache import PassPlan
from nuwa_model.generation.frozen import Frozen
from nuwa_model.generation.seen import Gathered, Masked, Summed, bias_of, seen_by
from nuwa_model.grid import Grid
from nuwa_model.sight import sight_of

_MOST_COPIED = 1.0
"""Cells that the slots of a pass may see, all counted, as a share of a condition's, and still be
read one by one: they are copied for that, and copies must not outgrow what is kept anyway."""


class _Keys(NamedTuple):
    """A layer's keys and values of the condition."""

    keys: Float[Tensor, "b t n e"]
    values: Float[Tensor, "b t n e"]


class Reading(NamedTuple):
    """How the slots of one pass read a condition; the same for all layers.

    Attributes:
        seen: Which of its cells.
        rotations: Of the slots.
    """

    seen: Masked | Gathered | Summed
    rotations: Rotations


class Condition:
    """A condition, and each layer's keys and values of it.

    Args:
        model: The transformer, frozen.
        rows: Those of the batch that read it.
        context: What the encoder made of it.
        target_grid: Cells to decode.
    """

    def __init__(self, model: Frozen, rows: slice, context: Context, target_grid: Grid) -> None:
        self.rows, self.context = rows, context
        self._model, self._grid = model, target_grid
        nowhere = torch.zeros(0, 3, dtype=torch.long, device=context.states.device)
        rotation = self.rotations(nowhere).key
        self._layers = []
        for layer in model.layers:
            states = layer.cross_attention.keys_values(context.states, rotation)
            self._layers.append(_Keys(*(x.transpose(1, 2).contiguous() for x in states)))

    def rotations(self, coordinates: Int[Tensor, "m 3"]) -> Rotations:
        """Those of slots at these coordinates, and of the condition's keys."""
        return self._model.decoder.rotations(coordinates, self._grid, self.context)

    def reading(self, plan: PassPlan) -> Reading:
        """How the slots of a pass read it."""
        return Reading(self._seen(plan), self.rotations(plan.coordinates))

    def attend(
        self, layer: int, query: Float[Tensor, "b n m e"], reading: Reading
    ) -> Float[Tensor, "c m d"]:
        """What the slots find in it, for the rows that read it; heads end side by side."""
        own = rotate(query[self.rows], reading.rotations.query)
        return reading.seen.attend(own, self._layers[layer])

    def _seen(self, plan: PassPlan) -> Masked | Gathered | Summed:
        first = self._layers[0]
        if self.context.mask is not None:
            return Masked(bias_of(self.context.mask[:, None, None, :], first.keys.dtype))
        mask, width = self._near(plan)
        # On a GPU nobody has measured whether small sums beat one kernel over everything.
        is_small = len(mask) * width < _MOST_COPIED * mask.shape[1]
        if not is_small or mask.device.type != "cpu":
            return Masked(bias_of(mask, first.keys.dtype))
        places = mask.int().topk(width).indices
        return seen_by(places, mask.gather(1, places), first)

    def _near(self, plan: PassPlan) -> tuple[Bool[Tensor, "m t"], int]:
        """Which cells each slot sees, and how many at most; the last column as the last cell."""
        kind, grid = self._model.config.decoder_attention, self._grid
        extent = POINT if kind == "axial" else sight_of(kind, self.context.extent).extent
        near = near_on_axes(grid, self.context.grid, extent, (0, 0, 0))
        width = math.prod(int(axis.sum(dim=1).max()) for axis in near)
        s, h, w = (axis.to(plan.coordinates.device) for axis in near)
        f, r, c = plan.coordinates.unbind(dim=1)
        axes = (
            rearrange(s[f], "m ks -> m ks 1 1"),
            rearrange(h[r], "m kh -> m 1 kh 1"),
            rearrange(w[c.clamp(max=grid.w - 1)], "m kw -> m 1 1 kw"),
        )
        if kind == "axial":
            mask = on_a_line(*axes)
            width = mask[0].numel()
        else:
            mask = axes[0] & axes[1] & axes[2]
        return mask.flatten(start_dim=1), width
