"""Which boxes the kernels cut grids into: those that compute the fewest pairs for nothing."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from nuwa_model.grid import Grid

MOST_CELLS = {2: 64, 4: 32, 8: 16}
"""In a box, by the bytes of a number: with twice as many, compiled kernels spill registers."""

FEWEST_CELLS = 16
"""Matrix units take no fewer."""


class Sides(NamedTuple):
    """Sides of a program's own boxes, and of those that it walks over; powers of two."""

    own: Grid
    other: Grid


@lru_cache(maxsize=64)
def sides_for(own: Grid, other: Grid, radius: Grid, causal: bool, most_cells: int) -> Sides:
    """Choose sides.

    Args:
        own: Grid that is cut among programs.
        other: Grid that each program walks over.
        radius: Cells of ``other`` that a cell of ``own`` meets on each side of its center.
        causal: Frames on one side of the center only.
        most_cells: In a box; a power of two.
    """
    reach = Grid(radius.s * (1 if causal else 2), 2 * radius.h, 2 * radius.w)
    pairs = (
        Sides(*pair) for pair in product(_all_sides(own, most_cells), _all_sides(other, most_cells))
    )
    return min(pairs, key=lambda sides: _cost(sides, own, other, reach))


def _all_sides(grid: Grid, most_cells: int) -> Iterator[Grid]:
    """All sides of a box of so many cells, longest rows first: these lie together in memory."""
    power = math.ceil(math.log2(min(max(grid.num_cells, FEWEST_CELLS), most_cells)))
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
