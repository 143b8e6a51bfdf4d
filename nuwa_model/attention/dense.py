"""One product over all pairs under the whole mask: fastest for texts and single images."""

from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nuwa_model.attention.product import masked_product
from nuwa_model.attention.window import Offset, nearby_mask
from nuwa_model.grid import Extent, Grid


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
    """Attend with one call over all pairs; memory grows with queries times keys."""
    mask = _mask(query_grid, key_grid, extent, causal, offset, q.device)[None, None]
    if key_mask is not None:
        mask = mask & key_mask[:, None, None, :]
    return masked_product(q, k, v, mask)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # a plan made while sampling serves training too
def _mask(
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool,
    offset: Offset,
    device: torch.device,
) -> Bool[Tensor, "q k"]:
    return nearby_mask(query_grid, key_grid, extent, causal=causal, offset=offset).to(device)
