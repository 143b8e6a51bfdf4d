"""Nearby attention in one Triton kernel, for GPUs: no mask, no scores, no copy of the keys.

This module needs no Triton: the kernels are loaded by the first call. With ``TRITON_INTERPRET=1``
they run on a CPU too, thousands of times slower, which is how the tests compare them with the
definition.
"""

import contextlib
import importlib
import math
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from nuwa_model.attention.box_sides import MOST_CELLS, Sides, sides_for
from nuwa_model.attention.window import Offset, refuse_two_grids
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.grid import Extent, Grid

WIDEST_HEAD = 128
"""Numbers a head; wider ones would not fit into a GPU's registers."""

OLDEST_GPU = (8, 0)
"""Compute capability; earlier ones have no bfloat16 and no tf32."""


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
    """Attend in boxes of cells; a query that sees nothing gets zeros.

    Raises:
        GridError: There is a mask of padded keys, which is the dense backend's business, or
            ``causal`` was asked for two different grids.
        ConfigError: The kernels cannot run here, or not on these tensors.
    """
    if key_mask is not None:
        raise GridError("The Triton kernel takes no key mask; use the dense backend for text.")
    if causal:
        refuse_two_grids(query_grid, key_grid)
    if (reason := why_not(q)) is not None:
        raise ConfigError(reason)
    window = (query_grid, key_grid, extent.radius(key_grid), Grid(*offset))
    out: Tensor = _Boxes.apply(q, k, v, window, causal)
    return out


def why_not(q: Float[Tensor, "b n q e"]) -> str | None:
    """Why the kernels cannot take such queries here, and what to do; None if they can."""
    if q.shape[-1] > WIDEST_HEAD:
        return (
            f"The attention backend 'triton' takes heads of at most {WIDEST_HEAD} numbers, not "
            f"{q.shape[-1]}; choose 'auto', or more heads."
        )
    kernels = _kernels()
    if kernels is None:
        return (
            "The attention backend 'triton' needs the package triton, which is not installed; "
            "run `pip install triton`, or choose 'auto'."
        )
    if kernels.IS_INTERPRETED or (
        q.is_cuda and torch.cuda.get_device_capability(q.device) >= OLDEST_GPU
    ):
        return None
    return (
        f"The attention backend 'triton' runs on GPUs of compute capability "
        f"{OLDEST_GPU[0]}.{OLDEST_GPU[1]} or later, but these tensors are on {q.device}; "
        "choose 'auto', or set TRITON_INTERPRET=1 to try it slowly."
    )


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | None:
    """The module of the kernels, or None without Triton."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("nuwa_model.attention.box_kernels")
    return None


class _Boxes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        window: tuple[Grid, Grid, Grid, Grid],
        causal: bool,
    ) -> Tensor:
        out, lse = _empty_like(q), _numbers(q)
        _launch("attend_boxes", (q, k, v, out), (lse,), window, causal)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.window, ctx.causal = window, causal
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        grads = [_empty_like(x) for x in (q, k, v)]
        numbers = lse, _numbers(q)
        # The first kernel writes the second number of each query, which the other one reads.
        for kernel, tensors in (
            ("query_gradients", (q, k, v, grad, out, grads[0])),
            ("key_value_gradients", (q, k, v, grad, *grads[1:])),
        ):
            _launch(kernel, tensors, numbers, ctx.window, ctx.causal)
        return *grads, None, None


def _launch(
    kernel: str,
    tensors: Sequence[Float[Tensor, "b n _ e"]],
    numbers: Sequence[Float[Tensor, "b n q"]],
    window: tuple[Grid, Grid, Grid, Grid],
    causal: bool,
) -> None:
    """Start a program for each box of queries, or of keys, of each head."""
    kernels, q = _kernels(), tensors[0]
    assert kernels is not None  # attend has looked
    own = window[kernel == "key_value_gradients"]
    sides = _sides(own, window, causal, MOST_CELLS[q.itemsize])
    num_boxes = math.prod(-(-cells // side) for cells, side in zip(own, sides.own, strict=True))
    with torch.cuda.device_of(q):
        getattr(kernels, kernel)[(q.shape[0] * q.shape[1] * num_boxes,)](
            *(kernels.Cells(x, *x.stride()[:3]) for x in map(_with_near_numbers, tensors)),
            *numbers,
            kernels.Window(*window),
            q.shape[1],
            SIZE=q.shape[-1],
            BOX=tuple(sides.own),
            OTHER=tuple(sides.other),
            CAUSAL=causal,
            PRECISION=_precision(q.dtype),
            num_warps=4 if q.shape[-1] <= 64 else 8,
            num_stages=2,
            enable_fp_fusion=True,
        )


def _sides(
    own: Grid, window: tuple[Grid, Grid, Grid, Grid], causal: bool, most_cells: int
) -> Sides:
    queries, keys, radius, _ = window
    if own == queries:
        return sides_for(queries, keys, radius, causal, most_cells)
    reach = Grid(*(-(-r * q // k) for r, q, k in zip(radius, queries, keys, strict=True)))
    return sides_for(keys, queries, reach, causal, most_cells)


def _precision(dtype: torch.dtype) -> str:
    """How matrix units take numbers; three products of tf32 are nearly as exact as float32."""
    if dtype != torch.float32:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


def _empty_like(x: Float[Tensor, "b n t e"]) -> Float[Tensor, "b n t e"]:
    """Laid out so that the heads of a cell lie together, since callers join them next."""
    batch, num_heads, cells, size = x.shape
    return x.new_empty(batch, cells, num_heads, size).transpose(1, 2)


def _numbers(q: Float[Tensor, "b n q e"]) -> Float[Tensor, "b n q"]:
    """One number a query, in the type that sums are taken in."""
    return q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))


def _with_near_numbers(x: Float[Tensor, "b n t e"]) -> Float[Tensor, "b n t e"]:
    """The numbers of a vector one behind the other, as the kernels take them."""
    return x if x.stride(-1) == 1 else x.contiguous()
