"""Multi-head attention as a module: projections around any kind in ``ATTENTIONS``."""

from typing import Unpack

from jaxtyping import Float
from torch import Tensor, nn

from nuwa_model.attention.kinds import ATTENTIONS, Geometry
from nuwa_model.attention.rotary import Rotation, rotate
from nuwa_model.sight import AttentionKind


class MultiHeadAttention(nn.Module):
    """Projects, attends, and projects back.

    Args:
        dim: Width of the residual stream.
        num_heads: Heads; must divide ``dim``.
        kind: Name in ``nuwa_model.attention.ATTENTIONS``.
        backend: Name in ``nuwa_model.attention.BACKENDS``, or ``auto``.
    """

    def __init__(
        self, dim: int, num_heads: int, kind: AttentionKind = "nearby", backend: str = "auto"
    ) -> None:
        super().__init__()
        self.kind = kind
        self.num_heads = num_heads
        self.backend = backend
        self.to_query = nn.Linear(dim, dim)
        self.to_key_value = nn.Linear(dim, 2 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        context: Float[Tensor, "b k d"],
        *,
        rotation: Rotation | None = None,
        **geometry: Unpack[Geometry],
    ) -> Float[Tensor, "b q d"]:
        """Let each cell of ``x`` attend to the cells of ``context`` that it sees.

        A rotation is for self-attention: it turns the queries and the keys of the same cells.
        """
        key, value = self.keys_values(context, rotation)
        return self.attend(x, key, value, rotation=rotation, **geometry)

    def attend(
        self,
        x: Float[Tensor, "b q d"],
        key: Float[Tensor, "b n k e"],
        value: Float[Tensor, "b n k e"],
        *,
        rotation: Rotation | None = None,
        **geometry: Unpack[Geometry],
    ) -> Float[Tensor, "b q d"]:
        """The same with keys and values that ``keys_values`` has projected before."""
        query = self.queries(x, rotation)
        out = ATTENTIONS[self.kind](query, key, value, backend=self.backend, **geometry)
        return self.to_out(_side_by_side(out))

    def queries(
        self, x: Float[Tensor, "b q d"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b n q e"]:
        """Project cells to queries."""
        return rotate(self._heads(self.to_query(x)), rotation)

    def keys_values(
        self, context: Float[Tensor, "b k d"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b n k e"], Float[Tensor, "b n k e"]]:
        """Project cells to keys and values."""
        key, value = self.to_key_value(context).chunk(2, dim=-1)
        return rotate(self._heads(key), rotation), self._heads(value)

    def _heads(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b n t e"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


# Views, not einops: in a pass of decoding its own microseconds are more than those of the work.
def _side_by_side(heads: Float[Tensor, "b n t e"]) -> Float[Tensor, "b t d"]:
    return heads.transpose(1, 2).flatten(start_dim=2)
