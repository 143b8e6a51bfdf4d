"""Device functions of the nearby-attention kernels: boxes of cells, and who sees whom.

A place is a triple (s, h, w), and a region is a first place and one past the last. A box is a small
region whose sides are powers of two, such as (1, 8, 8) for a video and (64, 1, 1) for a text; at
the end of a region it may hang over. Importing this module needs Triton.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from nuwa_model.grid import Grid


class Cells(NamedTuple):
    """A tensor ``(b, n, t, e)``, and the stride of each axis but the last, whose is one."""

    data: Tensor
    b: int
    n: int
    t: int


class Window(NamedTuple):
    """Who sees whom, as ``nearby_mask`` has it; the last two are in cells of the keys."""

    queries: Grid
    keys: Grid
    radius: Grid
    offset: Grid


@triton.jit
def own_box(grid: Grid, BOX: tl.constexpr) -> tl.tuple:
    """The head that this program is for (batch and heads flattened), and its box's region."""
    origin = (0, 0, 0)
    boxes = num_boxes(origin, grid, BOX)
    first = corner_of(tl.program_id(0) % boxes, origin, grid, BOX)
    s = tl.minimum(first[0] + BOX[0], grid[0])
    h = tl.minimum(first[1] + BOX[1], grid[1])
    w = tl.minimum(first[2] + BOX[2], grid[2])
    return (tl.program_id(0) // boxes).to(tl.int64), first, (s, h, w)


@triton.jit
def num_boxes(first: tl.tuple, stop: tl.tuple, BOX: tl.constexpr) -> tl.tensor:
    """How many boxes cover a region."""
    s = tl.cdiv(tl.maximum(stop[0] - first[0], 0), BOX[0])
    h = tl.cdiv(tl.maximum(stop[1] - first[1], 0), BOX[1])
    w = tl.cdiv(tl.maximum(stop[2] - first[2], 0), BOX[2])
    return s * h * w


@triton.jit
def corner_of(index: tl.tensor, first: tl.tuple, stop: tl.tuple, BOX: tl.constexpr) -> tl.tuple:
    """First place of a region's box of this number."""
    h = tl.cdiv(stop[1] - first[1], BOX[1])
    w = tl.cdiv(stop[2] - first[2], BOX[2])
    row = index // w
    return (
        first[0] + row // h * BOX[0],
        first[1] + row % h * BOX[1],
        first[2] + index % w * BOX[2],
    )


@triton.jit
def cells_of_box(corner: tl.tuple, stop: tl.tuple, grid: Grid, BOX: tl.constexpr) -> tl.tuple:
    """Places of a box's cells, whether each is in the region, and its number in the grid."""
    lane = tl.arange(0, BOX[0] * BOX[1] * BOX[2])
    s = corner[0] + lane // (BOX[1] * BOX[2])
    h = corner[1] + lane // BOX[2] % BOX[1]
    w = corner[2] + lane % BOX[2]
    inside = (s < stop[0]) & (h < stop[1]) & (w < stop[2])
    return (s, h, w), inside, (s * grid[1] + h) * grid[2] + w


@triton.jit
def keys_seen(first: tl.tuple, stop: tl.tuple, window: Window, CAUSAL: tl.constexpr) -> tl.tuple:
    """The region that the windows of a region of queries touch."""
    s = _seen_on_axis(first, stop, window, 0, CAUSAL)
    h = _seen_on_axis(first, stop, window, 1, CAUSAL)
    w = _seen_on_axis(first, stop, window, 2, CAUSAL)
    last = s[1]
    if CAUSAL:
        last = stop[0]
    return (s[0], h[0], w[0]), (last, h[1], w[1])


@triton.jit
def _seen_on_axis(
    first: tl.tuple, stop: tl.tuple, window: Window, AXIS: tl.constexpr, CAUSAL: tl.constexpr
) -> tl.tuple:
    size, key_size = window.queries[AXIS], window.keys[AXIS]
    radius, offset = window.radius[AXIS], window.offset[AXIS]
    low = first[AXIS] * key_size // size + offset - radius
    high = (stop[AXIS] - 1) * key_size // size + offset + radius + 1
    if CAUSAL:  # a query sees itself, even outside its window
        low, high = tl.minimum(low, first[AXIS]), tl.maximum(high, stop[AXIS])
    return tl.maximum(low, 0), tl.minimum(high, key_size)


@triton.jit
def queries_seeing(
    first: tl.tuple, stop: tl.tuple, window: Window, CAUSAL: tl.constexpr
) -> tl.tuple:
    """The region of the queries whose windows touch a region of keys."""
    s = _seeing_on_axis(first, stop, window, 0, CAUSAL)
    h = _seeing_on_axis(first, stop, window, 1, CAUSAL)
    w = _seeing_on_axis(first, stop, window, 2, CAUSAL)
    earliest = s[0]
    if CAUSAL:
        earliest = first[0]
    return (earliest, h[0], w[0]), (s[1], h[1], w[1])


@triton.jit
def _seeing_on_axis(
    first: tl.tuple, stop: tl.tuple, window: Window, AXIS: tl.constexpr, CAUSAL: tl.constexpr
) -> tl.tuple:
    size, key_size = window.queries[AXIS], window.keys[AXIS]
    radius, offset = window.radius[AXIS], window.offset[AXIS]
    # Query i lands on ⌊i · key_size / size⌋, which is at least c from i = ⌈c · size / key_size⌉ on.
    # Bounds are kept from being negative, since a GPU's division rounds towards zero.
    low = tl.cdiv(tl.maximum(first[AXIS] - offset - radius, 0) * size, key_size)
    high = tl.cdiv(tl.maximum(stop[AXIS] - offset + radius, 0) * size, key_size)
    if CAUSAL:
        low, high = tl.minimum(low, first[AXIS]), tl.maximum(high, stop[AXIS])
    return low, tl.minimum(high, size)


@triton.jit
def sees(
    query: tl.tuple, key: tl.tuple, window: Window, CAUSAL: tl.constexpr, KEY_AXIS: tl.constexpr
) -> tl.tensor:
    """Who sees whom among the cells of two boxes; queries lie along the axis that keys do not."""
    near_s = _near_on_axis(query, key, window, 0, KEY_AXIS)
    near_h = _near_on_axis(query, key, window, 1, KEY_AXIS)
    near_w = _near_on_axis(query, key, window, 2, KEY_AXIS)
    near = near_s & near_h & near_w
    if CAUSAL:  # one grid: numbers compare as places do
        grid = window.keys
        ours = (query[0] * grid[1] + query[1]) * grid[2] + query[2]
        theirs = (key[0] * grid[1] + key[1]) * grid[2] + key[2]
        ours, theirs = tl.expand_dims(ours, KEY_AXIS), tl.expand_dims(theirs, 1 - KEY_AXIS)
        near = (near & (theirs < ours)) | (theirs == ours)
    return near


@triton.jit
def _near_on_axis(
    query: tl.tuple, key: tl.tuple, window: Window, AXIS: tl.constexpr, KEY_AXIS: tl.constexpr
) -> tl.tensor:
    center = query[AXIS] * window.keys[AXIS] // window.queries[AXIS] + window.offset[AXIS]
    away = tl.expand_dims(key[AXIS], 1 - KEY_AXIS) - tl.expand_dims(center, KEY_AXIS)
    return tl.abs(away) <= window.radius[AXIS]


@triton.jit
def load(
    x: Cells,
    head: tl.tensor,
    num_heads: int,
    number: tl.tensor,
    inside: tl.tensor,
    SIZE: tl.constexpr,
) -> tl.tensor:
    """Vectors of cells ``(cells, padded size)``, zero where there is nothing."""
    lane = tl.arange(0, _padded(SIZE))
    mask = inside[:, None] & (lane < SIZE)[None, :]
    return tl.load(_places(x, head, num_heads, number, lane), mask=mask, other=0.0)


@triton.jit
def store(
    x: Cells,
    values: tl.tensor,
    head: tl.tensor,
    num_heads: int,
    number: tl.tensor,
    inside: tl.tensor,
    SIZE: tl.constexpr,
) -> None:
    """Write vectors of cells, in the tensor's own type."""
    lane = tl.arange(0, _padded(SIZE))
    mask = inside[:, None] & (lane < SIZE)[None, :]
    places = _places(x, head, num_heads, number, lane)
    tl.store(places, values.to(places.dtype.element_ty), mask=mask)


@triton.jit
def _places(
    x: Cells, head: tl.tensor, num_heads: int, number: tl.tensor, lane: tl.tensor
) -> tl.tensor:
    start = x.data + head // num_heads * x.b + head % num_heads * x.n
    return start + number[:, None].to(tl.int64) * x.t + lane[None, :]


@triton.constexpr_function
def _padded(size: int) -> int:
    """Width of a vector in a kernel: a power of two, and enough for the matrix units."""
    return max(16, triton.next_power_of_2(size))
