"""Who is near whom: the neighborhood of 3D nearby attention (spec §3, NÜWA Eq. 7–11)."""

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from nuwa_model.errors import GridError
from nuwa_model.grid import Extent, Grid

Offset = tuple[int, int, int]

POINT = Extent(1, 1, 1)
"""A window of the center alone."""


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
    s, h, w = _over_pairs(near_on_axes(query_grid, key_grid, extent, offset))
    return _flat(s & h & w, causal, query_grid, key_grid)


def axial_mask(
    query_grid: Grid,
    key_grid: Grid,
    *,
    causal: bool = False,
    offset: Offset = (0, 0, 0),
) -> Bool[Tensor, "q k"]:
    """Which key cells each query cell sees on the three lines through its center.

    The center and ``causal`` are those of ``nearby_mask``; a line is all cells that share two of
    the center's coordinates, from border to border.

    Returns:
        ``mask[q, k]`` over flattened grids, true where query ``q`` sees key ``k``.

    Raises:
        GridError: ``causal`` was asked for two different grids.
    """
    level = _over_pairs(near_on_axes(query_grid, key_grid, POINT, offset))
    return _flat(on_a_line(*level), causal, query_grid, key_grid)


def on_a_line(
    s: Bool[Tensor, "..."], h: Bool[Tensor, "..."], w: Bool[Tensor, "..."]
) -> Bool[Tensor, "..."]:
    """Whether cells share at least two coordinates with the center, given which they share."""
    return (s & h) | (s & w) | (h & w)


def _over_pairs(
    axes: tuple[Bool[Tensor, "qs ks"], Bool[Tensor, "qh kh"], Bool[Tensor, "qw kw"]],
) -> tuple[Bool[Tensor, "..."], Bool[Tensor, "..."], Bool[Tensor, "..."]]:
    s, h, w = axes
    return (
        rearrange(s, "qs ks -> qs 1 1 ks 1 1"),
        rearrange(h, "qh kh -> 1 qh 1 1 kh 1"),
        rearrange(w, "qw kw -> 1 1 qw 1 1 kw"),
    )


def _flat(
    seen: Bool[Tensor, "qs qh qw ks kh kw"], causal: bool, query_grid: Grid, key_grid: Grid
) -> Bool[Tensor, "q k"]:
    mask = rearrange(seen, "qs qh qw ks kh kw -> (qs qh qw) (ks kh kw)")
    if causal:
        refuse_two_grids(query_grid, key_grid)
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
