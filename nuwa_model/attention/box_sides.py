"""Which boxes the kernels cut grids into: those that compute the fewest pairs for nothing."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from nuwa_model.grid import Grid

MOST_CELLS = 64
"""In a box; at 128 numbers a head, two such boxes and a sum fill a GPU's registers."""

FEWEST_CELLS = 16
"""Matrix units take no fewer."""


class Sides(NamedTuple):
    """Sides of a program's own boxes, and of those that it walks over; powers of two."""

    own: Grid
    other: Grid


@lru_cache(maxsize=64)
def sides_for(own: Grid, other: Grid, radius: Grid, causal: bool) -> Sides:
    """Choose sides.

    Args:
        own: Grid that is cut among programs.
        other: Grid that each program walks over.
        radius: Cells of ``other`` that a cell of ``own`` meets on each side of its center.
        causal: Frames on one side of the center only.
    """
    reach = Grid(radius.s * (1 if causal else 2), 2 * radius.h, 2 * radius.w)
    pairs = (Sides(*pair) for pair in product(_all_sides(own), _all_sides(other)))
    return min(pairs, key=lambda sides: _cost(sides, own, other, reach))


def _all_sides(grid: Grid) -> Iterator[Grid]:
    """All sides of a box of so many cells, longest rows first: these lie together in memory."""
    power = math.ceil(math.log2(min(max(grid.num_cells, FEWEST_CELLS), MOST_CELLS)))
    for w, h in product(range(power, -1, -1), repeat=2):
        if w + h <= power:
            yield Grid(2 ** (power - w - h), 2**h, 2**w)


def _cost(sides: Sides, own: Grid, other: Grid, reach: Grid) -> int:
    """Pairs of cells computed, those outside the window or the grid too."""
    cost = sides.own.num_cells * sides.other.num_cells
    for a, b, size, other_size, more in zip(*sides, own, other, reach, strict=True):
        touched = min(-(-a * other_size // size) + more, other_size)
        cost *= -(-size // a) * -(-touched // b)
    return cost
