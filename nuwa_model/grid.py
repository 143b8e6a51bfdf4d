"""The box that every token lives in, and the order in which its cells are counted.

Everything is a grid of cells ``(s, h, w)``: time, height, width. A text of *l* tokens is
``(l, 1, 1)``, an image ``(1, h, w)``, a video ``(s, h, w)``. Cells are counted in **raster
order**: frame by frame, row by row, so cell ``(f, r, c)`` has number ``(f * h + r) * w + c``.
Both facts are stated here once and used everywhere. This module does not load torch.
"""

import math
from typing import NamedTuple

from nuwa_model.errors import ConfigError


class Grid(NamedTuple):
    """Cells per axis of a box of tokens, all at least one."""

    s: int
    h: int
    w: int

    @property
    def num_cells(self) -> int:
        """Cells in the box."""
        return self.s * self.h * self.w


class Extent(NamedTuple):
    """Full odd width of an attention window, in cells; ``math.inf`` sees the whole axis (D8)."""

    s: float
    h: float
    w: float

    def radius(self, grid: Grid) -> Grid:
        """Cells seen on each side of the center, at most the size of the axis.

        Raises:
            ConfigError: A width is even, or less than one.
        """
        return Grid(*(_radius(width, size) for width, size in zip(self, grid, strict=True)))


def _radius(width: float, size: int) -> int:
    if math.isinf(width):
        return size
    if width < 1 or width % 2 != 1:
        raise ConfigError(
            f"An attention extent is a full odd width, but {width:g} was given; "
            f"say {int(width) + 1 if width >= 1 else 1} or inf."
        )
    return min((int(width) - 1) // 2, size)
