"""Where the one thing in a frame is, as soft coverage, and what color it has."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

# Luma counts half: backgrounds differ in luma only, and textures vary in nothing else, while
# every color of the palette is far from grey.
_OPPONENT = np.array(
    [
        [0.5 * 0.299, 0.5 * 0.587, 0.5 * 0.114],
        [-0.168736, -0.331264, 0.5],
        [0.5, -0.418688, -0.081312],
    ],
    np.float32,
)  # BT.601 luma and chroma

_CORE_SHARE = 0.015
"""Share of a frame's pixels that give the thing's color: less than half of the smallest thing."""

_LEAST_CONTRAST = 30.0
"""The weakest color of the palette is twice as far from the nearest background."""

_FLOOR, _CEILING = 0.15, 0.85
"""Coverage below and above this is ringing of a codec, not an edge."""


class Matte(NamedTuple):
    """The foreground of every frame of a video.

    Attributes:
        coverage: How much of each pixel the thing covers, 0 to 1.
        chroma: Blue and red difference (Cb, Cr) of the thing's core, about -128 to 127.
        is_found: Whether anything differs enough from the background.
    """

    coverage: Float[np.ndarray, "s H W"]
    chroma: Float[np.ndarray, "s 2"]
    is_found: Bool[np.ndarray, "s"]


def matte(video: UInt8[np.ndarray, "s H W 3"]) -> Matte:
    """Separate the thing in each frame from the plain background.

    The background is the median of the frame's border. A pixel's coverage is its difference from
    it, projected on the difference of the pixels that differ most.
    """
    frames = video.astype(np.float32) @ _OPPONENT.T  # (s, H, W, 3)
    background = np.median(_border(frames), axis=1)  # (s, 3)
    difference = frames - background[:, None, None]
    core = _core(difference)
    strength = np.square(core).sum(-1)  # (s,)
    is_found = strength >= _LEAST_CONTRAST**2
    projected = np.einsum("shwc,sc->shw", difference, core)
    projected /= np.maximum(strength, _LEAST_CONTRAST**2)[:, None, None]
    coverage = ((projected - _FLOOR) / (_CEILING - _FLOOR)).clip(0, 1)
    return Matte(coverage * is_found[:, None, None], (core + background)[:, 1:], is_found)


def chroma_of(color: tuple[int, int, int]) -> Float[np.ndarray, "2"]:
    """Blue and red difference (Cb, Cr) of a color given as red, green and blue, 0 to 255."""
    return _OPPONENT[1:] @ np.array(color, np.float32)


def _border(frames: np.ndarray) -> np.ndarray:
    edges = (frames[:, :2], frames[:, -2:], frames[:, :, :2], frames[:, :, -2:])
    return np.concatenate([edge.reshape(len(frames), -1, 3) for edge in edges], axis=1)


def _core(difference: np.ndarray) -> np.ndarray:
    """Mean difference of the pixels that differ most, ``(s, 3)``."""
    flat = difference.reshape(len(difference), -1, 3)
    count = max(4, round(_CORE_SHARE * flat.shape[1]))
    farthest = np.argpartition(np.square(flat).sum(-1), -count, axis=1)[:, -count:]
    return np.take_along_axis(flat, farthest[..., None], axis=1).mean(1)
