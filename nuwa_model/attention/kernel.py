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

from nuwa_model.attention.box_sides import Sides, sides_for
from nuwa_model.attention.window import Offset
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.grid import Extent, Grid

WIDEST_HEAD = 128
"""Numbers a head; wider ones would not fit into a GPU's registers."""

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    if causal and query_grid != key_grid:
        raise GridError(
            f"Causal attention needs one grid, but queries are {tuple(query_grid)} and keys "
            f"{tuple(key_grid)}."
        )
    if (reason := why_not(q)) is not None:
        raise ConfigError(reason)
    window = (query_grid, key_grid, extent.radius(key_grid), Grid(*offset))
    out: Tensor = _Boxes.apply(q, k, v, window, causal)
    return out


def why_not(q: Float[Tensor, "b n q e"]) -> str | None:
    """Why the kernels cannot take such queries on this machine, and what to do; None if they can."""
    if q.shape[-1] > WIDEST_HEAD or q.dtype not in _TYPES:
        return (
            f"The attention backend 'triton' takes floats in heads of at most {WIDEST_HEAD} "
            f"numbers, not {q.shape[-1]} of {q.dtype}; choose 'auto'."
        )
    kernels = _kernels()
    if kernels is None:
        return (
            "The attention backend 'triton' needs the package triton, which is not installed; "
            "run `pip install triton`, or choose 'auto'."
        )
    if not (q.is_cuda or kernels.IS_INTERPRETED):
        return (
            f"The attention backend 'triton' runs on GPUs, but these tensors are on {q.device}; "
            "choose 'auto', or set TRITON_INTERPRET=1 to run it slowly."
        )
    return None


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | None:
    """The module of the kernels, or None without Triton."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("nuwa_model.attention.box_kernels")
    return None


class _Boxes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, window: tuple[Grid, Grid, Grid, Grid], causal: bool
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
    kernels, (batch, num_heads, _, size) = _kernels(), tensors[0].shape
    assert kernels is not None  # attend has looked
    own, sides = _own_sides(*window[:3], causal, of_keys=kernel == "key_value_gradients")
    num_boxes = math.prod(-(-cells // side) for cells, side in zip(own, sides.own, strict=True))
    with torch.cuda.device_of(tensors[0]):
        getattr(kernels, kernel)[(batch * num_heads * num_boxes,)](
            *(kernels.Cells(x, *x.stride()[:3]) for x in map(_with_near_numbers, tensors)),
            *numbers,
            kernels.Window(*window),
            num_heads,
            SIZE=size,
            BOX=tuple(sides.own),
            OTHER=tuple(sides.other),
            CAUSAL=causal,
            PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
            num_warps=4 if size <= 64 else 8,
            num_stages=2,
            enable_fp_fusion=True,
        )


def _own_sides(
    query_grid: Grid, key_grid: Grid, radius: Grid, causal: bool, *, of_keys: bool
) -> tuple[Grid, Sides]:
    """The grid that is cut among programs, and how."""
    if not of_keys:
        return query_grid, sides_for(query_grid, key_grid, radius, causal)
    reach = Grid(*(-(-r * q // k) for r, q, k in zip(radius, query_grid, key_grid, strict=True)))
    return key_grid, sides_for(key_grid, query_grid, reach, causal)


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
