"""Nearby attention with torch's FlexAttention, whose kernels skip blocks that no window touches.

Compiled on GPUs. On a CPU it runs as it is written, all scores at once, and without gradients:
there it only serves for comparing values.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nuwa_model.attention.window import Offset, refuse_two_grids
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.grid import Extent, Grid

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


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
    """Attend under a mask of blocks, made once for each window and device.

    Raises:
        GridError: There is a mask of padded keys, which is the dense backend's business, or
            ``causal`` was asked for two different grids.
        ConfigError: Gradients are wanted on a CPU.
    """
    if key_mask is not None:
        raise GridError("FlexAttention takes no key mask here; use the dense backend for text.")
    if causal:
        refuse_two_grids(query_grid, key_grid)
    if not q.is_cuda and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ConfigError(
            "The attention backend 'flex' has no gradients on a CPU; choose 'auto' for training, "
            "or call it under torch.no_grad()."
        )
    radius = extent.radius(key_grid)
    mask = _block_mask(query_grid, key_grid, radius, causal, offset, q.device)
    return _flex_attention(q.device.type)(q, k, v, block_mask=mask)


@lru_cache(maxsize=4)
def _flex_attention(device_type: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention  # loads the compiler

    if device_type != "cpu":
        return torch.compile(flex_attention, dynamic=False)

    def unfused(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*without torch.compile.*")
            return flex_attention(*args, **kwargs)

    return unfused


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a plan made while sampling serves training too
def _block_mask(
    query_grid: Grid,
    key_grid: Grid,
    radius: Grid,
    causal: bool,
    offset: Offset,
    device: torch.device,
) -> "BlockMask":
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near_s, near_h, near_w = (
            (theirs - (ours * key_size // size + shift)).abs() <= reach
            for ours, theirs, size, key_size, reach, shift in zip(
                _place(query, query_grid),
                _place(key, key_grid),
                query_grid,
                key_grid,
                radius,
                offset,
                strict=True,
            )
        )
        near = near_s & near_h & near_w
        return (near & (key < query)) | (key == query) if causal else near

    return create_block_mask(
        sees, None, None, query_grid.num_cells, key_grid.num_cells, device=device
    )


def _place(number: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, row and column of a cell."""
    return number // (grid.h * grid.w), number // grid.w % grid.h, number % grid.w
