"""One pass of cached decoding: some slots in, their logits out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.attention.rotary import Rotation, Rotations, coordinates_of, rotate
from nuwa_model.attention.window import POINT, near_on_axes, on_a_line
from nuwa_model.decoder import DecoderLayer, slot_grid
from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError
from nuwa_model.generation.cache import PassPlan, RingCache
from nuwa_model.generation.frozen import Frozen
from nuwa_model.generation.seen import bias_of, seen_by
from nuwa_model.grid import Grid
from nuwa_model.sight import Sight, sight_of


class _CrossKeys(NamedTuple):
    """A layer's keys and values of one condition, for the rows of the batch that read it."""

    rows: slice
    key: Float[Tensor, "b n t e"]
    value: Float[Tensor, "b n t e"]


class Stepper:
    """Holds the ring caches and the condition's keys while a batch is decoded.

    Args:
        model: The transformer, frozen.
        contexts: Conditions, one after another along the batch; they may differ in grid (the
            second is the unconditional one of guidance).
        target_grid: Cells to decode.

    Raises:
        ConfigError: A layer sees other cells than the config says, so that no schedule is exact.
    """

    def __init__(self, model: Frozen, contexts: Sequence[Context], target_grid: Grid) -> None:
        _check_sights(model.layers, model.config.decoder_sight)
        self._model = model
        self._contexts = contexts
        self._grid = target_grid
        batch = sum(len(context) for context in contexts)
        states = contexts[0].states
        self.rings = [
            RingCache(model.config, target_grid, batch, dtype=states.dtype, device=states.device)
            for _ in model.layers
        ]
        nowhere = torch.zeros(0, 3, dtype=torch.long, device=states.device)
        turned = [self._rotations(nowhere, context).key for context in contexts]
        self._cross = [self._cross_keys(layer, turned) for layer in model.layers]

    def _rotations(self, coordinates: Int[Tensor, "m 3"], context: Context) -> Rotations:
        return self._model.decoder.rotations(coordinates, self._grid, context)

    def _cross_keys(
        self, layer: DecoderLayer, turned: Sequence[Rotation | None]
    ) -> list[_CrossKeys]:
        return [
            _CrossKeys(rows, *layer.cross_attention.keys_values(context.states, rotation))
            for (rows, context), rotation in zip(_with_rows(self._contexts), turned, strict=True)
        ]

    def prefill(self, tokens: Int[Tensor, "b t"], num_given: int) -> None:
        """Compute the slots of the first cells at once, as training does.

        The rest of their last frame is computed too, from tokens that mean nothing; no given cell
        sees it, and its keys are written again before anybody reads them. With a sketch the other
        frames are computed as well, and forgotten.

        Args:
            tokens: All cells' tokens, in raster order; the first ``num_given`` must be set.
            num_given: Cells from the first on.
        """
        h, w = self._grid.h, self._grid.w
        num_frames = -(-num_given // (h * w))
        frames = rearrange(tokens, "b (s h w) -> b s h w", h=h, w=w)
        filled = num_frames * h * (w + 1)
        for rows, context in _with_rows(self._contexts):
            # A sketch lies on the whole target: fewer frames would stand elsewhere on it.
            num_read = num_frames if context.mask is not None else self._grid.s
            slots = slot_grid(self._grid._replace(s=num_read))
            x = self._model.decoder.slot_inputs(frames[rows, :num_read])
            rotations = self._rotations(coordinates_of(slots, x.device), context)
            for layer, ring in zip(self._model.layers, self.rings, strict=True):
                x, key, value = layer.forward_with_keys(x, slots, context, rotations)
                ring.fill(rows, key[:, :, :filled], value[:, :, :filled])

    def step(self, plan: PassPlan, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b p v"]:
        """Compute the slots of one pass.

        Args:
            plan: Which slots.
            tokens: All cells' tokens so far, in raster order; those the pass holds must be set.

        Returns:
            Logits of the cells that the slots predict.
        """
        x = self._inputs(plan, tokens)
        near = seen_by(plan, self.rings[0])
        seen = [bias_of(self._condition_mask(plan, context), x.dtype) for context in self._contexts]
        rotations = [self._rotations(plan.coordinates, context) for context in self._contexts]
        rotation = rotations[0].own
        for layer, ring, cross in zip(self._model.layers, self.rings, self._cross, strict=True):
            y = layer.self_norm(x)
            ring.write(plan.own, *layer.self_attention.keys_values(y, rotation))
            query = layer.self_attention.queries(y, rotation)
            x = x + layer.self_attention.to_out(near.attend(query, ring))
            x = x + _attend_conditions(layer, layer.cross_norm(x), cross, seen, rotations)
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
        return self._model.to_logits(self._model.head.project(x[:, plan.predicting]))

    def _inputs(self, plan: PassPlan, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b m d"]:
        decoder = self._model.decoder
        held = F.embedding(tokens[:, plan.inputs.clamp(min=0)], self._model.table)
        x = torch.where((plan.inputs < 0)[None, :, None], decoder.bos, held)
        f, r, c = plan.coordinates.unbind(dim=1)
        position = decoder.position
        return x + (position.s[f] + position.h[r] + position.w[c])

    def _condition_mask(self, plan: PassPlan, context: Context) -> Bool[Tensor, "... m t"]:
        """Which condition cells the slots see; the last column stands where the last cell does."""
        if context.mask is not None:
            return context.mask[:, None, None, :]
        kind, grid = self._model.config.decoder_attention, self._grid
        is_axial = kind == "axial"
        extent = POINT if is_axial else sight_of(kind, context.extent).extent
        near = near_on_axes(grid, context.grid, extent, (0, 0, 0))
        s, h, w = (x.to(plan.coordinates.device) for x in near)
        f, r, c = plan.coordinates.unbind(dim=1)
        axes = (
            rearrange(s[f], "m ks -> m ks 1 1"),
            rearrange(h[r], "m kh -> m 1 kh 1"),
            rearrange(w[c.clamp(max=grid.w - 1)], "m kw -> m 1 1 kw"),
        )
        seen = on_a_line(*axes) if is_axial else axes[0] & axes[1] & axes[2]
        return rearrange(seen, "m ks kh kw -> 1 1 m (ks kh kw)")


def _attend_conditions(
    layer: DecoderLayer,
    y: Float[Tensor, "b m d"],
    cross: Sequence[_CrossKeys],
    biases: Sequence[Float[Tensor, "... m t"]],
    rotations: Sequence[Rotations],
) -> Float[Tensor, "b m d"]:
    query = layer.cross_attention.queries(y)
    seen = [
        F.scaled_dot_product_attention(
            rotate(query[keys.rows], turned.query), keys.key, keys.value, attn_mask=bias
        )
        for keys, bias, turned in zip(cross, biases, rotations, strict=True)
    ]
    return layer.cross_attention.to_out(torch.cat(seen).transpose(1, 2).flatten(start_dim=2))


def _check_sights(layers: Sequence[DecoderLayer], sight: Sight) -> None:
    for number, layer in enumerate(layers):
        if layer.sight != sight:
            raise ConfigError(
                f"Decoder layer {number} sees {layer.sight}, the config says {sight}: waves are "
                "made of cells that do not see one another, so layers must be as the config says."
            )


def _with_rows(contexts: Sequence[Context]) -> Iterator[tuple[slice, Context]]:
    """Each context and its rows of the batch."""
    start = 0
    for context in contexts:
        yield slice(start, start + len(context)), context
        start += len(context)
