"""The Triton kernels of nearby attention; ``kernel.py`` starts them. Importing needs Triton.

A program holds one box of cells of one head, and walks over the boxes of the other side that its
windows touch, reading each once. Who sees whom is worked out from coordinates, so neither a mask
nor scores are ever in memory. The softmax is taken on the way, with a running maximum and sum
(Milakov and Gimelshein 2018; Dao et al. 2022); its logarithm is kept, and the kernels of the
gradients compute the weights anew from it. All powers are of two: a GPU has no others.
"""

import math

import triton
import triton.language as tl

from nuwa_model.attention.boxes import (
    Cells,
    Window,
    cells_of_box,
    corner_of,
    keys_seen,
    load,
    num_boxes,
    own_box,
    queries_seeing,
    sees,
    store,
)
from nuwa_model.grid import Grid

IS_INTERPRETED = tl.constexpr(not isinstance(load, triton.JITFunction))
"""Whether TRITON_INTERPRET was set: the kernels then run on a CPU, line by line."""

LOG2_E = tl.constexpr(math.log2(math.e))

LEAST = tl.constexpr(-1e30)
"""Below all scores, yet finite, so that no difference of two of them is NaN."""


@triton.jit
def attend_boxes(
    q: Cells,
    k: Cells,
    v: Cells,
    out: Cells,
    lse: tl.tensor,
    window: Window,
    num_heads: int,
    SIZE: tl.constexpr,
    BOX: tl.constexpr,
    OTHER: tl.constexpr,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Attend from a box of queries. ``lse`` gets log₂ of the sum of powers, (b n q)."""
    wide: tl.constexpr = lse.dtype.element_ty
    head, first, stop = own_box(window.queries, BOX)
    query, is_query, number = cells_of_box(first, stop, window.queries, BOX)
    queries = load(q, head, num_heads, number, is_query, SIZE)
    top = tl.full(number.shape, LEAST, wide)
    total = tl.zeros(number.shape, wide)
    attended = tl.zeros(queries.shape, wide)
    first, stop = keys_seen(first, stop, window, CAUSAL)
    for i in range(num_boxes(first, stop, OTHER)):
        corner = corner_of(i, first, stop, OTHER)
        key, is_key, number_of_key = cells_of_box(corner, stop, window.keys, OTHER)
        keys = load(k, head, num_heads, number_of_key, is_key, SIZE)
        values = load(v, head, num_heads, number_of_key, is_key, SIZE)
        seen = sees(query, key, window, CAUSAL, 1) & is_key[None, :]
        scores = _scores(queries, keys, seen, wide, SIZE, PRECISION)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(weights, axis=1)
        attended = attended * shrink[:, None] + _product(weights, values, wide, PRECISION)
        top = higher
    total = tl.where(total == 0, 1, total)  # of a query that sees nothing
    store(out, attended / total[:, None], head, num_heads, number, is_query, SIZE)
    tl.store(_numbers_of(lse, head, window.queries) + number, top + tl.log2(total), mask=is_query)


@triton.jit
def query_gradients(
    q: Cells,
    k: Cells,
    v: Cells,
    grad: Cells,
    out: Cells,
    query_grad: Cells,
    lse: tl.tensor,
    delta: tl.tensor,
    window: Window,
    num_heads: int,
    SIZE: tl.constexpr,
    BOX: tl.constexpr,
    OTHER: tl.constexpr,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradients of a box of queries; ``delta`` gets Σₑ out · grad of each, (b n q)."""
    wide: tl.constexpr = lse.dtype.element_ty
    head, first, stop = own_box(window.queries, BOX)
    query, is_query, number = cells_of_box(first, stop, window.queries, BOX)
    queries = load(q, head, num_heads, number, is_query, SIZE)
    grads = load(grad, head, num_heads, number, is_query, SIZE)
    outs = load(out, head, num_heads, number, is_query, SIZE)
    told = tl.sum(outs.to(wide) * grads.to(wide), axis=1)
    tl.store(_numbers_of(delta, head, window.queries) + number, told, mask=is_query)
    logs = tl.load(_numbers_of(lse, head, window.queries) + number, mask=is_query, other=0.0)
    gradient = tl.zeros(queries.shape, wide)
    first, stop = keys_seen(first, stop, window, CAUSAL)
    for i in range(num_boxes(first, stop, OTHER)):
        corner = corner_of(i, first, stop, OTHER)
        key, is_key, number_of_key = cells_of_box(corner, stop, window.keys, OTHER)
        keys = load(k, head, num_heads, number_of_key, is_key, SIZE)
        values = load(v, head, num_heads, number_of_key, is_key, SIZE)
        seen = sees(query, key, window, CAUSAL, 1) & is_key[None, :]
        weights = tl.exp2(_scores(queries, keys, seen, wide, SIZE, PRECISION) - logs[:, None])
        moves = _product(grads, tl.trans(values), wide, PRECISION)
        score_grads = weights * (moves - told[:, None])
        gradient += _product(score_grads, keys, wide, PRECISION)
    store(query_grad, gradient * SIZE**-0.5, head, num_heads, number, is_query, SIZE)


@triton.jit
def key_value_gradients(
    q: Cells,
    k: Cells,
    v: Cells,
    grad: Cells,
    key_grad: Cells,
    value_grad: Cells,
    lse: tl.tensor,
    delta: tl.tensor,
    window: Window,
    num_heads: int,
    SIZE: tl.constexpr,
    BOX: tl.constexpr,
    OTHER: tl.constexpr,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradients of a box of keys and their values, from all queries that see them."""
    wide: tl.constexpr = lse.dtype.element_ty
    head, first, stop = own_box(window.keys, BOX)
    key, is_key, number = cells_of_box(first, stop, window.keys, BOX)
    keys = load(k, head, num_heads, number, is_key, SIZE)
    values = load(v, head, num_heads, number, is_key, SIZE)
    of_keys = tl.zeros(keys.shape, wide)
    of_values = tl.zeros(keys.shape, wide)
    first, stop = queries_seeing(first, stop, window, CAUSAL)
    for i in range(num_boxes(first, stop, OTHER)):
        corner = corner_of(i, first, stop, OTHER)
        query, is_query, number_of_query = cells_of_box(corner, stop, window.queries, OTHER)
        queries = load(q, head, num_heads, number_of_query, is_query, SIZE)
        grads = load(grad, head, num_heads, number_of_query, is_query, SIZE)
        logs = tl.load(_numbers_of(lse, head, window.queries) + number_of_query, is_query, 0.0)
        told = tl.load(_numbers_of(delta, head, window.queries) + number_of_query, is_query, 0.0)
        seen = sees(query, key, window, CAUSAL, 0) & is_query[None, :]
        weights = tl.exp2(_scores(keys, queries, seen, wide, SIZE, PRECISION) - logs[None, :])
        of_values += _product(weights, grads, wide, PRECISION)
        moves = _product(values, tl.trans(grads), wide, PRECISION)
        score_grads = weights * (moves - told[None, :])
        of_keys += _product(score_grads, queries, wide, PRECISION)
    store(key_grad, of_keys * SIZE**-0.5, head, num_heads, number, is_key, SIZE)
    store(value_grad, of_values, head, num_heads, number, is_key, SIZE)


@triton.jit
def _scores(
    rows: tl.tensor,
    columns: tl.tensor,
    seen: tl.tensor,
    wide: tl.constexpr,
    SIZE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Scores as powers of two; minus infinity where nothing is seen."""
    scores = _product(rows, tl.trans(columns), wide, PRECISION)
    return tl.where(seen, scores * (SIZE**-0.5 * LOG2_E), float("-inf"))


@triton.jit
def _product(a: tl.tensor, b: tl.tensor, wide: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """A matrix product of numbers of the type of ``b``, summed in the wide type."""
    a = a.to(b.dtype)
    if IS_INTERPRETED:  # which takes the bits of a bfloat16 for an integer
        a, b = a.to(wide), b.to(wide)
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=wide)


@triton.jit
def _numbers_of(x: tl.tensor, head: tl.tensor, grid: Grid) -> tl.tensor:
    """Where the numbers of a head begin in a tensor (b n t)."""
    return x + head * (grid[0] * grid[1] * grid[2])
