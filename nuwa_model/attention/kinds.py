"""The kinds of attention that a model can be made of, behind one signature."""

from collections.abc import Mapping
from typing import Protocol, Required, TypedDict, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from nuwa_model.attention.axial import axial_attention
from nuwa_model.attention.dispatch import nearby_attention, refuse_misfits
from nuwa_model.attention.window import Offset, refuse_two_grids
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import EVERYWHERE, AttentionKind


class Geometry(TypedDict, total=False):
    """Who sees whom, in the words of ``nearby_attention``."""

    query_grid: Required[Grid]
    key_grid: Required[Grid]
    extent: Required[Extent]
    causal: bool
    offset: Offset
    key_mask: Bool[Tensor, "b k"] | None


class Attention(Protocol):
    """Attend from every query to the keys that it sees; ``nearby_attention`` explains all."""

    def __call__(
        self,
        q: Float[Tensor, "b n q e"],
        k: Float[Tensor, "b n k e"],
        v: Float[Tensor, "b n k e"],
        *,
        backend: str = "auto",
        **geometry: Unpack[Geometry],
    ) -> Float[Tensor, "b n q e"]:
        """Return the attended values."""


def full_attention(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    *,
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool = False,
    offset: Offset = (0, 0, 0),
    key_mask: Bool[Tensor, "b k"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "b n q e"]:
    """Multi-head attention to all keys, or to all that are not later: nearby without a border.

    Takes what ``nearby_attention`` takes and raises what it raises. ``extent`` and ``offset``
    change nothing. By itself it is torch's fused attention, which needs no mask here.
    """
    if key_mask is None and backend == "auto":
        refuse_misfits(q, k, query_grid, key_grid, backend)
        if causal:
            refuse_two_grids(query_grid, key_grid)
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return nearby_attention(
        q,
        k,
        v,
        query_grid=query_grid,
        key_grid=key_grid,
        extent=EVERYWHERE,
        causal=causal,
        key_mask=key_mask,
        backend=backend,
    )


ATTENTIONS: Mapping[AttentionKind, Attention] = {
    "nearby": nearby_attention,
    "full": full_attention,
    "axial": axial_attention,
}
