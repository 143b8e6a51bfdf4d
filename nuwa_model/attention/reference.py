"""The definition of nearby attention: slow, obvious, and what every backend is tested against."""

from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

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
    """Softmax attention, with a mask, over the keys each query may see."""
    mask = nearby_mask(query_grid, key_grid, extent, causal=causal, offset=offset).to(q.device)
    mask = mask[None, None]
    if key_mask is not None:
        mask = mask & key_mask[:, None, None, :]
    scores = einsum(q, k, "b n q e, b n k e -> b n q k") * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return einsum(weights, v, "b n q k, b n k e -> b n q e")
