"""Label maps of sketches as pictures for people."""

import colorsys

import numpy as np
from jaxtyping import UInt8

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL, has_unknown

_GOLDEN = 0.618034
_FIRST, _UNKNOWN = (0.85, 0.85, 0.85), (0.35, 0.35, 0.35)


def label_colors(num_classes: int) -> UInt8[np.ndarray, "256 3"]:
    """A color for each label: light grey for the first, then hues far apart; unknown dark grey.

    Args:
        num_classes: Of a tokenizer; with 256 no label means unknown.
    """
    hues = [colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.75, 0.9) for i in range(UNKNOWN_LABEL)]
    colors = [_FIRST, *hues]
    if has_unknown(num_classes):
        colors[UNKNOWN_LABEL] = _UNKNOWN
    return (np.array(colors) * 255).astype(np.uint8)
