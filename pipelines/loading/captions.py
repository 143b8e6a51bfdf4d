"""All captions of a store as tokens, made once."""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nuwa_model.tasks import NONE_TEXT

_TEXTS_AT_ONCE = 16_384


class TextEncoder(Protocol):
    """What the loader wants of a text tokenizer."""

    def encode(self, texts: list[str]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Tokens padded to one length, and which of them are not padding."""


class Captions:
    """All captions as tokens; number 0 is ``None``, the condition of tasks that have none."""

    def __init__(self, text: tuple[tuple[str, ...], ...], encoder: TextEncoder) -> None:
        flat = [NONE_TEXT, *(caption for captions in text for caption in captions)]
        chunks = [
            encoder.encode(flat[start : start + _TEXTS_AT_ONCE])
            for start in range(0, len(flat), _TEXTS_AT_ONCE)
        ]
        self.tokens = torch.cat([tokens for tokens, _ in chunks])  # (captions, l)
        self.mask = torch.cat([mask for _, mask in chunks])
        self.count = np.array([len(captions) for captions in text], dtype=np.int64)
        self.first = 1 + np.cumsum(self.count) - self.count
