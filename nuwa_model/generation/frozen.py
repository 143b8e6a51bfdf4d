"""A model whose weights will not change: what decoding makes of them is made once."""

from typing import cast

import torch
from torch import Tensor

from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import Decoder, DecoderLayer
from nuwa_model.generation.packed import linear_map, packed
from nuwa_model.model import Nuwa


class Frozen:
    """What each call of ``generate`` would otherwise make anew; give it in the model's place.

    On a CPU it holds the decoder's weights once more, in another order. Freeze the model again when
    its weights have changed: this one knows some of them as they were.

    Args:
        model: The transformer, in evaluation mode, where it shall run.

    Attributes:
        model: The same.
        layers: Those of its decoder, their weights packed.
        table: ``(v, d)``, the vectors of all tokens.
        head: Of its decoder, packed.
        to_logits: Products with the vectors of all tokens.
    """

    @torch.inference_mode()
    def __init__(self, model: Nuwa) -> None:
        decoder = model.decoder
        self.model = model
        self.layers = [packed(layer) for layer in cast(list[DecoderLayer], decoder.layers)]
        self.table: Tensor = decoder.embedding.table()
        self.head = packed(decoder.head)
        self.to_logits = linear_map(self.table, self.head.bias)

    @property
    def config(self) -> NuwaConfig:
        """Of the model."""
        return self.model.config

    @property
    def decoder(self) -> Decoder:
        """Of the model, not packed."""
        return self.model.decoder


def freeze(model: Nuwa | Frozen) -> Frozen:
    """A frozen model as it is, another one frozen."""
    return model if isinstance(model, Frozen) else Frozen(model)
