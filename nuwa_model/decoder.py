"""The decoder, on a grid of slots with one more column than the target (decision D7).

Column 0 of each row holds the learned ``<bos>``, column *c* + 1 the token of cell *c*; the state
in column *c* predicts cell *c*; the last column predicts nothing. Windows are centered one column
to the right of the slot, on the cell that it predicts, so that a prediction sees its whole causal
neighborhood and no row is coupled to the end of the row above.
"""

from functools import partial

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from nuwa_model.attention.layer import MultiHeadAttention
from nuwa_model.attention.rotary import Rotation, Rotations, coordinates_of, rotation_at
from nuwa_model.attention.window import Offset
from nuwa_model.config import NuwaConfig
from nuwa_model.embeddings import CodebookEmbedding, CodebookHead, PositionTable
from nuwa_model.encoder import Context
from nuwa_model.grid import Grid
from nuwa_model.layers import FeedForward, Stack
from nuwa_model.sight import Sight, sight_of

PREDICTED: Offset = (0, 0, 1)
"""Where the window is centered, seen from the slot: on the predicted cell."""

NO_ROTATIONS = Rotations()


def slot_grid(target_grid: Grid) -> Grid:
    """The decoder's own grid: one more column, for ``<bos>``."""
    return target_grid._replace(w=target_grid.w + 1)


class DecoderLayer(nn.Module):
    """Pre-norm causal self-attention, cross-attention to the condition, and feed-forward."""

    def __init__(self, config: NuwaConfig) -> None:
        super().__init__()
        self.extent = config.extent
        self.self_norm = nn.LayerNorm(config.dim)
        kind, backend = config.decoder_attention, config.attention_backend
        self.self_attention = MultiHeadAttention(config.dim, config.num_heads, kind, backend)
        self.cross_norm = nn.LayerNorm(config.dim)
        self.cross_attention = MultiHeadAttention(config.dim, config.num_heads, kind, backend)
        self.feed_forward_norm = nn.LayerNorm(config.dim)
        self.feed_forward = FeedForward(config.dim, config.feed_forward_multiplier)

    @property
    def sight(self) -> Sight:
        """What self-attention sees of earlier cells."""
        return sight_of(self.self_attention.kind, self.extent)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        slots: Grid,
        context: Context,
        rotations: Rotations = NO_ROTATIONS,
    ) -> Float[Tensor, "b t d"]:
        """One layer over all slots at once."""
        return self.forward_with_keys(x, slots, context, rotations)[0]

    def forward_with_keys(
        self,
        x: Float[Tensor, "b t d"],
        slots: Grid,
        context: Context,
        rotations: Rotations = NO_ROTATIONS,
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b n t e"], Float[Tensor, "b n t e"]]:
        """The same, and the keys and values of self-attention, which decoding keeps."""
        y = self.self_norm(x)
        key, value = self.self_attention.keys_values(y, rotations.own)
        x = x + self.self_attention.attend(
            y,
            key,
            value,
            query_grid=slots,
            key_grid=slots,
            extent=self.extent,
            causal=True,
            offset=PREDICTED,
            rotation=rotations.own,
        )
        x = x + self._cross(self.cross_norm(x), slots, context, rotations)
        return x + self.feed_forward(self.feed_forward_norm(x)), key, value

    def _cross(
        self, y: Float[Tensor, "b t d"], slots: Grid, context: Context, rotations: Rotations
    ) -> Float[Tensor, "b t d"]:
        """Attend to the condition; slot column *c* stands where cell *c* stands."""
        key, value = self.cross_attention.keys_values(context.states, rotations.key)
        attend = partial(
            self.cross_attention.attend,
            key=key,
            value=value,
            key_grid=context.grid,
            extent=context.extent,
            key_mask=context.mask,
        )
        if context.grid.w == 1:  # a text has one column: every slot column stands on it
            return attend(y, query_grid=slots)
        grid = slots._replace(w=slots.w - 1)
        cells, column = _without_last_column(y, slots), _last_column(y, slots)
        turned = turned_column = None
        if rotations.query is not None:
            turned = Rotation(*(_without_last_column(part, slots) for part in rotations.query))
            turned_column = Rotation(*(_last_column(part, slots) for part in rotations.query))
        cells = attend(cells, query_grid=grid, rotation=turned)
        # The last column stands where the last cell does, so it cannot share the rows' geometry.
        last_cell = (grid.w - 1) * context.grid.w // grid.w
        column = attend(
            column,
            query_grid=grid._replace(w=1),
            offset=(0, 0, last_cell),
            rotation=turned_column,
        )
        cells = rearrange(cells, "b (s h w) d -> b s h w d", s=grid.s, h=grid.h, w=grid.w)
        column = rearrange(column, "b (s h) d -> b s h 1 d", s=grid.s)
        return rearrange(torch.cat([cells, column], dim=3), "b s h w d -> b (s h w) d")


def _without_last_column(x: Float[Tensor, "*b t d"], slots: Grid) -> Float[Tensor, "*b u d"]:
    return x.unflatten(-2, slots)[..., :-1, :].flatten(-4, -2)


def _last_column(x: Float[Tensor, "*b t d"], slots: Grid) -> Float[Tensor, "*b u d"]:
    return x.unflatten(-2, slots)[..., -1, :].flatten(-3, -2)


class Decoder(nn.Module):
    """Predicts every target cell from the tokens before it and the condition."""

    def __init__(self, config: NuwaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = CodebookEmbedding(config.codebook_size, config.codebook_dim, config.dim)
        self.bos = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.position = PositionTable(slot_grid(config.target_grid), config.dim)
        self.layers = Stack(DecoderLayer(config) for _ in range(config.decoder_depth))
        self.head = CodebookHead(config.codebook_size, config.dim)

    def forward(
        self,
        target: Int[Tensor, "b s h w"],
        context: Context,
        first_frame: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b s h w v"]:
        """Logits for every cell, each from the cells before it: already aligned with ``target``.

        ``first_frame`` says where in its clip each target begins; by default at the beginning.
        """
        grid = Grid(*target.shape[1:])
        slots = slot_grid(grid)
        x = self.slot_inputs(target, first_frame)
        rotations = self.rotations(coordinates_of(slots, x.device), grid, context)
        x = _without_last_column(self.layers(x, slots, context, rotations), slots)
        logits = self.head(x, self.embedding.table())
        return rearrange(logits, "b (s h w) v -> b s h w v", s=grid.s, h=grid.h, w=grid.w)

    def rotations(
        self, coordinates: Int[Tensor, "t 3"], target_grid: Grid, context: Context
    ) -> Rotations:
        """How slots at these places are turned, and the condition's cells where it is a sketch."""
        if not self.config.is_rotary:
            return NO_ROTATIONS
        turn = partial(rotation_at, head_dim=self.config.head_dim)
        if context.mask is not None:
            return Rotations(turn(coordinates))
        device = coordinates.device
        last_cell = torch.tensor([*target_grid], device=device) - 1
        scale = torch.tensor([*target_grid], device=device, dtype=torch.float64)
        scale = scale / torch.tensor([*context.grid], device=device)
        places = coordinates_of(context.grid, device) * scale
        return Rotations(turn(coordinates), turn(coordinates.minimum(last_cell)), turn(places))

    def slot_inputs(
        self, target: Int[Tensor, "b s h w"], first_frame: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """What the first layer reads: ``<bos>`` and then the row's tokens."""
        tokens = self.embedding(target)
        b, s, h, w = target.shape
        slots = slot_grid(Grid(s, h, w))
        bos = repeat(self.bos, "d -> b s h 1 d", b=b, s=s, h=h)
        x = torch.cat([bos, tokens], dim=3) + self.position(slots, first_frame)
        return rearrange(x, "b s h w d -> b (s h w) d")
