"""Row-block attention: each row of queries against the few rows of keys that it can see.

Exact, in plain torch operations. A 3×3×3 causal window touches five rows of keys, so a video of
10×21×21 costs about a fortieth of full attention's products; measured figures are in the notes on
attention. All rows of a grid go through one fused call.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.attention.product import masked_product
from nuwa_model.attention.views import Run, attend_in_views, runs_of
from nuwa_model.attention.window import Offset, centers_on_axis, nearby_mask
from nuwa_model.errors import GridError
from nuwa_model.grid import Extent, Grid


class RowPlan(NamedTuple):
    """Which rows of keys each row of queries meets, and which of those pairs of cells are near.

    Attributes:
        rows: Numbers of the rows of keys, one row of queries after the other.
        mask: True where a key is near.
        runs: The same rows, counted from the row of queries, where that is the same for all of
            them; else empty.
        bias: The mask as what is added to scores.
    """

    rows: Int[Tensor, "r k"]
    mask: Bool[Tensor, "r qw kkw"]
    runs: tuple[Run, ...]
    bias: Float[Tensor, "r qw kkw"]


def attend(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    *,
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool,
    offset: Offset,
    key_mask: Bool[Tensor, "b k"] | None,
) -> Float[Tensor, "b n q e"]:
    """Attend row by row; a mask of padded keys is the dense backend's business."""
    if key_mask is not None:
        raise GridError("Row-block attention takes no key mask; use the dense backend for text.")
    batch, plan = q.shape[0], _plan(query_grid, key_grid, extent, causal, offset, q.device)
    if plan.runs and q.device.type == "cpu":
        return attend_in_views(q, k, v, plan.runs, plan.bias)
    # The axes stay in this order all through, so that only the taken rows are ever copied.
    q = rearrange(q, "b n (r qw) e -> (b n) r qw e", qw=query_grid.w)
    k, v = (_take_rows(x, plan.rows, key_grid) for x in (k, v))
    out = masked_product(q, k, v, plan.mask)
    return rearrange(out, "(b n) r qw e -> b n (r qw) e", b=batch)


def _take_rows(
    x: Float[Tensor, "b n t e"], rows: Int[Tensor, "r k"], grid: Grid
) -> Float[Tensor, "bn r kkw e"]:
    x = rearrange(x, "b n (h w) e -> (b n) h (w e)", w=grid.w)
    taken = x.index_select(1, rows.flatten())
    return rearrange(taken, "bn (r k) (w e) -> bn r (k w) e", k=rows.shape[1], w=grid.w)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a plan made while sampling serves training too
def _plan(
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool,
    offset: Offset,
    device: torch.device,
) -> RowPlan:
    row_offsets = _row_offsets(query_grid, key_grid, extent, causal, offset)
    frames = centers_on_axis(query_grid.s, key_grid.s)[:, None, None] + row_offsets[:, 0]
    rows = centers_on_axis(query_grid.h, key_grid.h)[None, :, None] + row_offsets[:, 1]
    is_inside = (frames >= 0) & (frames < key_grid.s) & (rows >= 0) & (rows < key_grid.h)
    index = frames.clamp(0, key_grid.s - 1) * key_grid.h + rows.clamp(0, key_grid.h - 1)
    index = rearrange(index, "s h k -> (s h) k")
    near = _near_in_rows(query_grid, key_grid, extent, causal, offset, index)
    near = near & rearrange(is_inside, "s h k -> (s h) 1 k 1")
    mask = rearrange(near, "r qw k kw -> r qw (k kw)").to(device)
    bias = torch.zeros(mask.shape, device=device).masked_fill_(~mask, float("-inf"))
    is_aligned = query_grid[:2] == key_grid[:2]
    flat = (row_offsets[:, 0] * key_grid.h + row_offsets[:, 1]).tolist()
    return RowPlan(index.to(device), mask, runs_of(flat) if is_aligned else (), bias)


def _row_offsets(
    query_grid: Grid, key_grid: Grid, extent: Extent, causal: bool, offset: Offset
) -> Int[Tensor, "k 2"]:
    """Frames and rows, relative to the projected query, that the window can touch."""
    radius = extent.radius(key_grid)
    pairs = [
        (offset[0] + ds, offset[1] + dh)
        for ds in range(-radius.s, radius.s + 1)
        for dh in range(-radius.h, radius.h + 1)
    ]
    if causal:
        pairs = sorted({pair for pair in pairs if pair <= (0, 0)} | {(0, 0)})
    return torch.tensor(pairs)


def _near_in_rows(
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool,
    offset: Offset,
    index: Int[Tensor, "r k"],
) -> Bool[Tensor, "r qw k kw"]:
    """The window inside the chosen rows, one row of queries at a time: no N×N tensor is made."""
    row_q, row_k = Grid(1, 1, query_grid.w), Grid(1, 1, key_grid.w)
    across = nearby_mask(row_q, row_k, extent, offset=(0, 0, offset[2]))
    near = across[None, :, None, :].expand(len(index), -1, index.shape[1], -1).clone()
    if causal:
        own = torch.arange(len(index))[:, None] == index  # (r, k): the query's own row
        upto = torch.ones(query_grid.w, key_grid.w).tril().bool()
        itself = torch.eye(query_grid.w, dtype=torch.bool)
        own_row = (across & upto) | itself
        near = torch.where(own[:, None, :, None], own_row[None, :, None, :], near)
    return near
