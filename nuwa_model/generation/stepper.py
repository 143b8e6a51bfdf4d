"""One pass of cached decoding: some slots in, their logits out."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nuwa_model.attention.rotary import coordinates_of
from nuwa_model.decoder import DecoderLayer, slot_grid
from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError
from nuwa_model.generation.cache import PassPlan, RingCache
from nuwa_model.generation.conditions import Condition
from nuwa_model.generation.frozen import Frozen
from nuwa_model.generation.seen import seen_by
from nuwa_model.grid import Grid
from nuwa_model.sight import Sight


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
        self._grid = target_grid
        batch = sum(len(context) for context in contexts)
        states = contexts[0].states
        self.rings = [
            RingCache(model.config, target_grid, batch, dtype=states.dtype, device=states.device)
            for _ in model.layers
        ]
        self._conditions = [
            Condition(model, rows, context, target_grid) for rows, context in _with_rows(contexts)
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
        for condition in self._conditions:
            rows, context = condition.rows, condition.context
            # A sketch lies on the whole target: fewer frames would stand elsewhere on it.
            num_read = num_frames if context.mask is not None else self._grid.s
            slots = slot_grid(self._grid._replace(s=num_read))
            x = self._model.decoder.slot_inputs(frames[rows, :num_read])
            rotations = condition.rotations(coordinates_of(slots, x.device))
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
        near = seen_by(plan.seen, plan.mask, self.rings[0])
        readings = [condition.reading(plan) for condition in self._conditions]
        rotation = readings[0].rotations.own
        for number, (layer, ring) in enumerate(zip(self._model.layers, self.rings, strict=True)):
            y = layer.self_norm(x)
            ring.write(plan.own, *layer.self_attention.keys_values(y, rotation))
            query = layer.self_attention.queries(y, rotation)
            x = x + layer.self_attention.to_out(near.attend(query, ring))
            query = layer.cross_attention.queries(layer.cross_norm(x))
            read = [
                condition.attend(number, query, reading)
                for condition, reading in zip(self._conditions, readings, strict=True)
            ]
            x = x + layer.cross_attention.to_out(torch.cat(read))
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
        return self._model.to_logits(self._model.head.project(x[:, plan.predicting]))

    def _inputs(self, plan: PassPlan, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b m d"]:
        decoder = self._model.decoder
        held = F.embedding(tokens[:, plan.inputs.clamp(min=0)], self._model.table)
        x = torch.where((plan.inputs < 0)[None, :, None], decoder.bos, held)
        f, r, c = plan.coordinates.unbind(dim=1)
        position = decoder.position
        return x + (position.s[f] + position.h[r] + position.w[c])


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
