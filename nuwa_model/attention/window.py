"""Who is near whom: the neighborhood of 3D nearby attention (spec §3, NÜWA Eq. 7–11)."""

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from nuwa_model.errors import GridError
from nuwa_model.grid import Extent, Grid

Offset = tuple[int, int, int]


def nearby_mask(
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    *,
    causal: bool = False,
    offset: Offset = (0, 0, 0),
) -> Bool[Tensor, "q k"]:
    """Which key cells each query cell may see.

    A query cell is projected onto the key grid by scaling its coordinates, moved by ``offset``,
    and sees the keys inside a window of ``extent`` cells around that point; windows are cut off at
    the borders. ``causal`` drops keys later in raster order, and a causal query always sees itself.

    Returns:
        ``mask[q, k]`` over flattened grids, true where query ``q`` sees key ``k``.

    Raises:
        GridError: ``causal`` was asked for two different grids.
    """
    if causal:
        refuse_two_grids(query_grid, key_grid)
    near_s, near_h, near_w = near_on_axes(query_grid, key_grid, extent, offset)
    near = (
        rearrange(near_s, "qs ks -> qs 1 1 ks 1 1")
        & rearrange(near_h, "qh kh -> 1 qh 1 1 kh 1")
        & rearrange(near_w, "qw kw -> 1 1 qw 1 1 kw")
    )
    mask = rearrange(near, "qs qh qw ks kh kw -> (qs qh qw) (ks kh kw)")
    if causal:
        mask = mask.tril()
        mask.fill_diagonal_(True)
    return mask


def refuse_two_grids(query_grid: Grid, key_grid: Grid) -> None:
    """Raise a ``GridError`` unless the grids are the same: raster order is of one grid."""
    if query_grid != key_grid:
        raise GridError(
            f"Causal attention needs one grid, but queries are {tuple(query_grid)} and keys "
            f"{tuple(key_grid)}."
        )


def near_on_axes(
    query_grid: Grid, key_grid: Grid, extent: Extent, offset: Offset
) -> tuple[Bool[Tensor, "qs ks"], Bool[Tensor, "qh kh"], Bool[Tensor, "qw kw"]]:
    """The neighborhood, one axis at a time; their product is the window."""
    radius = extent.radius(key_grid)
    s, h, w = (
        _near_on_axis(*sizes) for sizes in zip(query_grid, key_grid, radius, offset, strict=True)
    )
    return s, h, w


def centers_on_axis(size: int, key_size: int) -> Int[Tensor, " q"]:
    """Where each query coordinate lands on the key axis, ⌊i · key_size / size⌋."""
    return torch.arange(size) * key_size // size


def _near_on_axis(size: int, key_size: int, radius: int, offset: int) -> Bool[Tensor, "q k"]:
    centers = centers_on_axis(size, key_size) + offset
    return (torch.arange(key_size)[None, :] - centers[:, None]).abs() <= radius
