"""The encoder: self-attention over the condition, nearby as in NÜWA Eq. 14 by default."""

from dataclasses import dataclass, replace

from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nuwa_model.attention.layer import MultiHeadAttention
from nuwa_model.config import NuwaConfig
from nuwa_model.embeddings import CodebookEmbedding, PositionTable, TextEmbedding
from nuwa_model.grid import Extent, Grid
from nuwa_model.layers import FeedForward, Stack


@dataclass(frozen=True)
class Context:
    """What the decoder reads of the condition.

    Attributes:
        states: The encoder's output, ``(b, t, d)``.
        grid: Shape of the condition.
        extent: The condition's window, also for cross-attention (spec §3).
        mask: False at padding, or ``None`` where there is none.
    """

    states: Float[Tensor, "b t d"]
    grid: Grid
    extent: Extent
    mask: Bool[Tensor, "b t"] | None

    def __len__(self) -> int:
        """Rows of the batch."""
        return len(self.states)

    def rows(self, which: slice) -> "Context":
        """Some rows of the batch."""
        mask = None if self.mask is None else self.mask[which]
        return replace(self, states=self.states[which], mask=mask)

    def repeated(self, times: int) -> "Context":
        """Each row so many times, one after another."""
        mask = None if self.mask is None else self.mask.repeat_interleave(times, dim=0)
        return replace(self, states=self.states.repeat_interleave(times, dim=0), mask=mask)


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: NuwaConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = MultiHeadAttention(
            config.dim, config.num_heads, config.encoder_attention, config.attention_backend
        )
        self.feed_forward_norm = nn.LayerNorm(config.dim)
        self.feed_forward = FeedForward(config.dim, config.feed_forward_multiplier)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        grid: Grid,
        extent: Extent,
        mask: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b t d"]:
        """One layer over a condition of any kind."""
        y = self.attention_norm(x)
        x = x + self.attention(y, y, query_grid=grid, key_grid=grid, extent=extent, key_mask=mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Encoder(nn.Module):
    """Reads a text or a sketch; both go through the same layers."""

    def __init__(self, config: NuwaConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextEmbedding(config.text_vocabulary, config.text_grid, config.dim)
        self.sketch = CodebookEmbedding(
            config.sketch_codebook_size, config.sketch_codebook_dim, config.dim
        )
        self.sketch_position = PositionTable(config.target_grid, config.dim)
        self.layers = Stack(EncoderLayer(config) for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(config.dim)

    def forward(
        self,
        condition: Int[Tensor, "b s h w"],
        condition_mask: Bool[Tensor, "b t"],
        *,
        is_sketch: bool,
        first_frame: Int[Tensor, " b"] | None = None,
    ) -> Context:
        """Encode tokens ``(b, s, h, w)``; a text of *l* tokens is ``(b, l, 1, 1)``.

        ``first_frame`` says where in its clip each sketch begins; by default at the beginning.
        """
        grid = Grid(*condition.shape[1:])
        if is_sketch:
            x = self.sketch(condition) + self.sketch_position(grid, first_frame)
            x, mask, extent = rearrange(x, "b s h w d -> b (s h w) d"), None, self.config.extent
        else:
            x, mask, extent = self.text(condition), condition_mask, self.config.text_extent
        x = self.layers(x, grid, extent, mask)
        return Context(self.norm(x), grid, extent, mask)
