"""Row blocks without a copy of the keys: windows are overlapping views of all rows.

Where queries and keys have the same frames and rows, the keys that a row of queries meets begin a
fixed number of rows before it. So all rows of all videos and heads lie one behind the other in a
buffer, and the windows of a run of neighboring rows are a tensor with overlapping strides, which a
batched product reads in place. A window that hangs over the edge of its frame reads rows of another
frame, or of another video, and the bias gives them no weight (but a video of which a number is NaN
spoils its neighbors in the batch).

Gradients are written by hand. Autograd would make a copy of every window; here the share of each
row of a window is added to the buffer by one product, with nothing to scatter.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOG2_E = math.log2(math.e)


class Run(NamedTuple):
    """Neighboring rows of keys that every row of queries meets.

    Attributes:
        first: The first of them, counted from the row of queries.
        length: How many there are.
    """

    first: int
    length: int


def runs_of(rows: Sequence[int]) -> tuple[Run, ...]:
    """Join neighbors, in the order in which they are given."""
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(rows), start=1) if b != a + 1)]
    return tuple(Run(rows[a], b - a) for a, b in pairwise([*starts, len(rows)]))


def attend_in_views(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    runs: tuple[Run, ...],
    bias: Float[Tensor, "r qw kkw"],
) -> Float[Tensor, "b n q e"]:
    """Attend from each row of queries to the rows of its runs.

    Args:
        q: Queries.
        k: Keys, in as many rows as the queries.
        v: Values.
        runs: The rows that a row meets.
        bias: Of each pair of cells, the rows in the order of the runs: 0, or minus infinity where
            a key is not seen. Every query must see a key.
    """
    with torch.autocast(q.device.type, enabled=False):  # precision is chosen below
        out: Tensor = _Views.apply(q, k, v, runs, bias)
    return out


class _Views(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, runs: tuple[Run, ...], bias: Tensor
    ) -> Tensor:
        ctx.shape, ctx.scale, num_rows = k.shape, q.shape[-1] ** -0.5, len(bias)
        # Products of bfloat16 would copy every window, and these blocks are no faster in it.
        wide = torch.promote_types(q.dtype, torch.float32)
        query = rearrange(q.to(wide) * ctx.scale, "b n (r qw) e -> (b n r) qw e", r=num_rows)
        query = query.contiguous()
        keys, values = (_Rows.of(x, num_rows, runs, wide) for x in (k, v))
        weights = _weights(query, keys, bias)
        out = torch.zeros_like(query)
        for run, weight in zip(runs, weights, strict=True):
            out.baddbmm_(weight, values.windows(run))
        ctx.save_for_backward(query, keys.buffer, values.buffer, out, *weights)
        ctx.runs, ctx.num_rows = runs, num_rows
        return out.view(q.shape).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return (*_gradients(ctx, grad), None, None)


class _Rows:
    """All rows of keys or values one behind the other, with room for windows at both ends.

    Args:
        buffer: Rows, and before and after them what windows of the first and last ones hang over.
        num_rows: Rows without that room.
        runs: Of the windows.
    """

    def __init__(self, buffer: Float[Tensor, "r w e"], num_rows: int, runs: Sequence[Run]) -> None:
        self.buffer, self._num_rows, self.runs = buffer, num_rows, runs
        self._before = _room(runs)[0]

    @classmethod
    def of(
        cls, x: Float[Tensor, "b n t e"], rows_each: int, runs: Sequence[Run], dtype: torch.dtype
    ) -> "_Rows":
        batch, heads, cells, size = x.shape
        num_rows, (before, after) = batch * heads * rows_each, _room(runs)
        shape = (before + num_rows + after, cells // rows_each, size)
        buffer = x.new_empty(shape, dtype=dtype)
        buffer[:before], buffer[before + num_rows :] = 0, 0
        rows = cls(buffer, num_rows, runs)
        rows.cells(x.shape).copy_(x)
        return rows

    def zeros(self) -> "_Rows":
        return _Rows(torch.zeros_like(self.buffer), self._num_rows, self.runs)

    def cells(self, shape: torch.Size) -> Float[Tensor, "b n t e"]:
        """The rows as they came, without the room around them."""
        return self._at(0).view(shape)

    def windows(self, run: Run) -> Float[Tensor, "r kw e"]:
        """The rows of a run for each row: a view of the buffer that overlaps with itself."""
        _, width, size = self.buffer.shape
        return self.buffer.as_strided(
            (self._num_rows, run.length * width, size),
            (width * size, size, 1),
            self.buffer.storage_offset() + (self._before + run.first) * width * size,
        )

    def add_products(
        self, run: Run, weights: Float[Tensor, "r qw kw"], rows: Float[Tensor, "r qw e"]
    ) -> None:
        """Add to each row what all rows that met it, each with its weights, give it."""
        parts = weights.split(self.buffer.shape[1], dim=-1)
        for row, part in enumerate(parts, start=run.first):
            self._at(row).baddbmm_(part.mT, rows)

    def _at(self, first: int) -> Float[Tensor, "r w e"]:
        return self.buffer[self._before + first :][: self._num_rows]


def _gradients(ctx: Any, grad: Float[Tensor, "b n q e"]) -> tuple[Tensor, ...]:
    """Of queries, keys and values."""
    query, key_buffer, value_buffer, out, *weights = ctx.saved_tensors
    keys, values = (_Rows(x, len(query), ctx.runs) for x in (key_buffer, value_buffer))
    key_grads, value_grads = keys.zeros(), values.zeros()
    query_grad = torch.zeros_like(query)
    given, grad = grad.dtype, grad.to(out.dtype)
    grad = rearrange(grad, "b n (r qw) e -> (b n r) qw e", r=ctx.num_rows).contiguous()
    told = (grad * out).sum(dim=-1, keepdim=True)
    for run, weight in zip(ctx.runs, weights, strict=True):
        score_grad = (grad @ values.windows(run).mT).sub_(told).mul_(weight)
        query_grad.baddbmm_(score_grad, keys.windows(run))
        value_grads.add_products(run, weight, grad)
        key_grads.add_products(run, score_grad, query)
    query_grad = query_grad.mul_(ctx.scale).view(*ctx.shape[:2], -1, ctx.shape[-1])
    grads = (query_grad, key_grads.cells(ctx.shape), value_grads.cells(ctx.shape))
    return tuple(x.to(given) for x in grads)


def _room(runs: Sequence[Run]) -> tuple[int, int]:
    """Rows before the first row and after the last one that windows hang over."""
    before = max(0, *(-run.first for run in runs))
    return before, max(0, *(run.first + run.length - 1 for run in runs))


def _weights(
    query: Float[Tensor, "r qw e"], keys: _Rows, bias: Float[Tensor, "r qw kkw"]
) -> list[Float[Tensor, "r qw kw"]]:
    """Softmax over the keys of all runs."""
    scores = [
        # Times log₂ e, for powers of two: MKL takes up to a hundred times as long for powers of e
        # that vanish, and most of these do.
        torch.baddbmm(query.new_zeros(()), query, keys.windows(run).mT, beta=0, alpha=_LOG2_E)
        for run in keys.runs
    ]
    parts = bias.split([score.shape[-1] for score in scores], dim=-1)
    for score, part in zip(scores, parts, strict=True):
        rearrange(score, "(bn r) qw kkw -> bn r qw kkw", r=len(bias)).add_(part)
    top = torch.stack([score.amax(dim=-1) for score in scores]).amax(dim=0)[..., None]
    for score in scores:
        score.sub_(top).exp2_()
    total = sum(score.sum(dim=-1, keepdim=True) for score in scores)
    return [score.div_(total) for score in scores]
