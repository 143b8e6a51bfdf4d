"""Rotary positions on three axes: scores that depend on how far apart two cells are.

Each head's pairs of numbers are shared out among time, height and width, and turned by an angle
proportional to the cell's coordinate there (Su et al. 2021, RoFormer, one axis; here three). A
constant query and a constant key then make any pattern over the window, such as "the cell one
frame back", with the same few weights for every cell. The paper's absolute tables have to learn
it for each place anew; docs/decisions/rotary.md has the figures.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor

from nuwa_model.grid import Grid

FASTEST = math.pi / 2
"""Radians a cell of the first pair of each axis: neighbors are a quarter turn apart."""

SLOWEST = math.pi / 32
"""Radians a cell of the last pair."""

AXES = 3


class Rotation(NamedTuple):
    """How far the pairs of each cell are turned; pairs that no axis gets stay as they are."""

    cos: Float[Tensor, "t pairs"]
    sin: Float[Tensor, "t pairs"]


class Rotations(NamedTuple):
    """All that a decoder layer turns; ``None`` stays as it is.

    Attributes:
        own: Queries and keys of self-attention.
        query: Queries of the attention to the condition, by the cell that each slot stands on.
        key: Keys of the condition, by where its cells lie on the target.
    """

    own: Rotation | None = None
    query: Rotation | None = None
    key: Rotation | None = None


def rotation_at(coordinates: Num[Tensor, "t 3"], head_dim: int) -> Rotation:
    """The rotation of each cell, given its frame, row and column.

    ``head_dim`` is one that ``NuwaConfig`` lets pass.
    """
    pairs = head_dim // 2
    shares = pairs // AXES
    # In float64: the same cell must get the same angle, however many cells are computed at once.
    steps = torch.linspace(0, 1, shares, dtype=torch.float64, device=coordinates.device)
    speeds = FASTEST * (SLOWEST / FASTEST) ** steps
    angles = (coordinates.unsqueeze(-1) * speeds).flatten(start_dim=1)
    angles = F.pad(angles, (0, pairs - AXES * shares))
    return Rotation(angles.cos(), angles.sin())


def coordinates_of(grid: Grid, device: torch.device) -> Int[Tensor, "t 3"]:
    """Frame, row and column of every cell of a grid, in raster order."""
    return torch.cartesian_prod(*(torch.arange(size, device=device) for size in grid))


def rotate(x: Float[Tensor, "b n t e"], rotation: Rotation | None) -> Float[Tensor, "b n t e"]:
    """Turn queries or keys; ``None`` leaves them as they are."""
    if rotation is None:
        return x
    cos, sin = (part.to(x.dtype) for part in rotation)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
