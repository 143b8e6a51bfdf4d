"""Bytes of a decoded picture to what a tokenizer reads, and back.

These are the preprocessing that a tokenizer's fingerprint covers: when one of them changes what
it computes, ``PREPROCESSING`` gets a new name and no old token is mistaken for a new one.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.labels import UNKNOWN_LABEL, has_unknown

PREPROCESSING = {"frames": "rgb in [-1, 1], v1", "sketches": "one-hot, v1"}


def pixels_to_images(pixels: UInt8[Tensor, "b H W c"]) -> Float[Tensor, "b c H W"]:
    """RGB bytes to values in [-1, 1]."""
    return rearrange(pixels, "b H W c -> b c H W").float() / 127.5 - 1


def images_to_pixels(images: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b H W c"]:
    """Values in [-1, 1], cut off there, to RGB bytes, rounded to the nearest."""
    scaled = (images.float().clamp(-1, 1) + 1) * 127.5
    return rearrange(scaled.round().to(torch.uint8), "b c H W -> b H W c")


def labels_to_one_hot(
    labels: Integer[Tensor, "b H W"], *, num_classes: int
) -> Float[Tensor, "b c H W"]:
    """A map of class labels to one channel a class; all are zero where the label is unknown.

    Raises:
        ConfigError: A label is neither below ``num_classes`` nor ``UNKNOWN_LABEL``.
    """
    is_unknown = (labels == UNKNOWN_LABEL) & has_unknown(num_classes)
    labels = labels.masked_fill(is_unknown, 0)
    largest = int(labels.max())
    if largest >= num_classes:
        raise ConfigError(
            f"A sketch has the label {largest}, but vqgan_seg.channels is {num_classes}: labels "
            f"must be below it; set vqgan_seg.channels={largest + 1} or more."
        )
    one_hot = rearrange(F.one_hot(labels.long(), num_classes).float(), "b H W c -> b c H W")
    return one_hot.masked_fill(rearrange(is_unknown, "b H W -> b 1 H W"), 0)


def logits_to_labels(logits: Float[Tensor, "b c H W"]) -> UInt8[Tensor, "b H W"]:
    """The likeliest class of each pixel, which is never unknown."""
    return logits.argmax(dim=1).to(torch.uint8)
