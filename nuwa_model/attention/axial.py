"""Axial attention, a baseline of the ablations: a cell sees three lines through its center.

Scores are taken along each line and put side by side under one softmax: s + h + w numbers a query,
and no tensor of all pairs. Every key counts once, so the center, where the lines cross, belongs
to the line along the width.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.attention.dispatch import refuse_misfits
from nuwa_model.attention.product import masked_product
from nuwa_model.attention.window import Offset, axial_mask, centers_on_axis, refuse_two_grids
from nuwa_model.grid import Extent, Grid

_ALL_PAIRS = ("reference", "dense")
_ALONG = ("q -> q 1 1 1", "q -> 1 q 1 1", "q -> 1 1 q 1", "q -> 1 1 1 q")
_WIDTH = 2


class Lines(NamedTuple):
    """The lines along one axis, one for each place that queries have on the other two.

    Attributes:
        axes: Of the keys on the lines, for einsum; ``k`` stands for the axis that they lie along.
        places: Where the lines cross each axis of keys; ``None`` is all of them, in order.
        bias: 0 where a query sees a key of its line, else minus infinity.
    """

    axes: str
    places: tuple[Int[Tensor, " q"] | None, ...]
    bias: Float[Tensor, "s h w k"]


def axial_attention(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    *,
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool = False,
    offset: Offset = (0, 0, 0),
    key_mask: Bool[Tensor, "b k"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "b n q e"]:
    """Multi-head axial attention, of O(t · (s + h + w)); ``axial_mask`` says who sees whom.

    Takes what ``nearby_attention`` takes and raises what it raises. ``extent`` changes nothing: the
    lines reach from border to border. ``reference`` and ``dense`` compute all pairs, the other
    backends the lines, in one way.
    """
    refuse_misfits(q, k, query_grid, key_grid, backend)
    # Padded keys come with texts, which are a line; and with an offset on two axes a causal query,
    # which always sees itself, would be on no line.
    is_off_lines = causal and sum(map(bool, offset)) > 1
    if backend in _ALL_PAIRS or key_mask is not None or is_off_lines:
        mask = _mask(query_grid, key_grid, causal, offset, q.device)[None, None]
        return masked_product(q, k, v, mask if key_mask is None else mask & key_mask[:, None, None])
    all_lines = _all_lines(query_grid, key_grid, causal, offset, q.device)
    return _attend_on_lines(q, k, v, all_lines, query_grid, key_grid)


def _attend_on_lines(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    all_lines: tuple[Lines, ...],
    query_grid: Grid,
    key_grid: Grid,
) -> Float[Tensor, "b n q e"]:
    unfold = "b n (s h w) e -> b n s h w e"
    query = rearrange(q * q.shape[-1] ** -0.5, unfold, h=query_grid.h, w=query_grid.w)
    key, value = (rearrange(x, unfold, h=key_grid.h, w=key_grid.w) for x in (k, v))
    # The bias is of float32, and makes the scores of bfloat16 so before the softmax.
    scores = [
        einsum(query, _pick(key, lines), f"b n s h w e, b n {lines.axes} e -> b n s h w k")
        + lines.bias
        for lines in all_lines
    ]
    weights = torch.cat(scores, dim=-1).softmax(dim=-1).to(v.dtype)
    parts = weights.split([score.shape[-1] for score in scores], dim=-1)
    over_time, over_height, over_width = (
        einsum(part, _pick(value, lines), f"b n s h w k, b n {lines.axes} e -> b n s h w e")
        for part, lines in zip(parts, all_lines, strict=True)
    )
    return rearrange(over_time + over_height + over_width, "b n s h w e -> b n (s h w) e")


def _pick(x: Float[Tensor, "b n s h w e"], lines: Lines) -> Float[Tensor, "b n _ _ _ e"]:
    """The keys on the lines, or their values."""
    for axis, places in enumerate(lines.places, start=2):
        if places is not None:
            x = x.index_select(axis, places)
    return x


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a plan made while sampling serves training too
def _mask(
    query_grid: Grid, key_grid: Grid, causal: bool, offset: Offset, device: torch.device
) -> Bool[Tensor, "q k"]:
    return axial_mask(query_grid, key_grid, causal=causal, offset=offset).to(device)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a plan made while sampling serves training too
def _all_lines(
    query_grid: Grid, key_grid: Grid, causal: bool, offset: Offset, device: torch.device
) -> tuple[Lines, ...]:
    """Those along time, those along the height, and those along the width."""
    if causal:
        refuse_two_grids(query_grid, key_grid)
    centers = [
        centers_on_axis(size, key_size) + shift
        for size, key_size, shift in zip(query_grid, key_grid, offset, strict=True)
    ]
    places = [_places(at, size, device) for at, size in zip(centers, key_grid, strict=True)]
    all_lines = []
    for axis, axes in enumerate(("k h w", "s k w", "s h k")):
        seen = _seen(axis, centers, key_grid, causal)
        bias = torch.zeros(*query_grid, key_grid[axis]).masked_fill(~seen, float("-inf"))
        crossed = tuple(None if other == axis else at for other, at in enumerate(places))
        all_lines.append(Lines(axes, crossed, bias.to(device)))
    return tuple(all_lines)


def _places(
    centers: Int[Tensor, " q"], size: int, device: torch.device
) -> Int[Tensor, " q"] | None:
    """The centers inside the axis, or ``None`` if they are simply its cells."""
    inside = centers.clamp(0, size - 1)
    return None if torch.equal(inside, torch.arange(size)) else inside.to(device)


def _seen(
    axis: int, centers: list[Int[Tensor, " _"]], key_grid: Grid, causal: bool
) -> Bool[Tensor, "#s #h #w #k"]:
    """Which keys of its line along one axis each query sees; axes that do not matter are one."""
    at = [rearrange(x, along) for x, along in zip(centers, _ALONG[:3], strict=True)]
    on_line = [*at]
    on_line[axis] = rearrange(torch.arange(key_grid[axis]), _ALONG[3])
    seen = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    for other in {0, 1, 2} - {axis}:  # a line through a center outside the grid is outside too
        seen = seen & (at[other] >= 0) & (at[other] < key_grid[other])
    if axis != _WIDTH:
        seen = seen & (on_line[axis] != at[axis])
    if causal:
        own = [rearrange(torch.arange(n), a) for n, a in zip(key_grid, _ALONG[:3], strict=True)]
        seen = seen & (_number(on_line, key_grid) <= _number(own, key_grid))
    return seen


def _number(place: list[Int[Tensor, "#s #h #w #k"]], grid: Grid) -> Int[Tensor, "#s #h #w #k"]:
    s, h, w = place
    return (s * grid.h + h) * grid.w + w
