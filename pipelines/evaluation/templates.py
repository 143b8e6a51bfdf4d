"""What each shape looks like to the judge: painted by the generator, seen by its own matte."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from pipelines.datasets.shapes import SHAPES, Scene, Thing
from pipelines.datasets.shapes_drawing import draw_scene
from pipelines.evaluation.matte import matte

WINDOW = 0.32
"""Half the side of the window around a thing, in frame sides; no thing reaches beyond 0.26."""

_CELLS = 31
"""Cells of the window along one side."""

_SIZE = 96
"""Pixels of a frame that a template is cut from."""

_RADII = np.linspace(0.09, 0.27, 19)
"""Sizes a thing may have, in frame sides; the data set's lie in the middle."""

_BLURS = (0.0, 0.015, 0.03, 0.045)
"""Standard deviations of the blur a decoder may add, in frame sides."""


class Match(NamedTuple):
    """The shape that fits a picture best.

    Attributes:
        shape: One of ``SHAPES``.
        overlap: Intersection over union with its best template, in [0, 1].
    """

    shape: str
    overlap: float


def match_shape(window: Float[np.ndarray, "h w"]) -> Match:
    """Find the shape, size and blur whose template differs least from a centered window."""
    bank, names = _bank()
    best = int(np.square(bank - window).sum((1, 2)).argmin())
    both, either = np.minimum(bank[best], window), np.maximum(bank[best], window)
    return Match(names[best], float(both.sum() / max(either.sum(), 1e-6)))


def windows(
    coverage: Float[np.ndarray, "s H W"], centers: Float[np.ndarray, "s 2"]
) -> Float[np.ndarray, "s h w"]:
    """Cut the neighborhood of a center out of each frame, to a fraction of a pixel.

    Args:
        coverage: Of each pixel, 0 to 1.
        centers: (x, y) in frame sides, x to the right and y down.
    """
    offsets = torch.linspace(-WINDOW, WINDOW, _CELLS)
    middle = torch.from_numpy(centers).float()
    x = rearrange(middle[:, 0], "s -> s 1 1") + rearrange(offsets, "w -> 1 1 w")
    y = rearrange(middle[:, 1], "s -> s 1 1") + rearrange(offsets, "h -> 1 h 1")
    places = torch.stack(torch.broadcast_tensors(x, y), dim=-1) * 2 - 1
    frames = rearrange(torch.from_numpy(coverage).float(), "s H W -> s 1 H W")
    cut = F.grid_sample(frames, places, align_corners=False)
    return rearrange(cut, "s 1 h w -> s h w").numpy()


def center_of(coverage: Float[np.ndarray, "s H W"]) -> Float[np.ndarray, "s 2"]:
    """Center of mass (x, y) of each frame in frame sides; the frame's middle where it is empty.

    Found in two passes, the second of which looks only near the first: specks far away do not
    pull.
    """
    whole = _mass_center(coverage, np.ones_like(coverage))
    for _ in range(2):
        whole = _mass_center(coverage, _near(whole, coverage.shape))
    return whole


def share_near(
    coverage: Float[np.ndarray, "s H W"], centers: Float[np.ndarray, "s 2"]
) -> Float[np.ndarray, "s"]:
    """Share of each frame's coverage that lies in the window around its center, in [0, 1]."""
    near = (coverage * _near(centers, coverage.shape)).sum((1, 2))
    return near / np.maximum(coverage.sum((1, 2)), 1e-6)


def _mass_center(coverage: np.ndarray, near: np.ndarray) -> np.ndarray:
    weights = coverage * near
    total = weights.sum((1, 2))
    y, x = (np.arange(size) + 0.5 for size in coverage.shape[1:])
    height, width = coverage.shape[1:]
    along_x = (weights * x).sum((1, 2)) / np.maximum(total, 1e-6) / width
    along_y = (weights * y[:, None]).sum((1, 2)) / np.maximum(total, 1e-6) / height
    centers = np.stack([along_x, along_y], axis=1)
    return np.where(total[:, None] > 0, centers, 0.5)


def _near(centers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    _, height, width = shape
    x = np.abs((np.arange(width) + 0.5) / width - centers[:, :1]) <= WINDOW
    y = np.abs((np.arange(height) + 0.5) / height - centers[:, 1:]) <= WINDOW
    return (x[:, None, :] & y[:, :, None]).astype(np.float32)


@lru_cache(maxsize=1)
def _bank() -> tuple[Float[np.ndarray, "template h w"], list[str]]:
    """Every template, and the shape it shows."""
    kinds = [
        (shape, float(radius), blur) for shape in SHAPES for radius in _RADII for blur in _BLURS
    ]
    frames = np.stack([_frame(*kind) for kind in kinds])
    coverage = matte(frames).coverage
    return windows(coverage, center_of(coverage)), [shape for shape, _, _ in kinds]


def _frame(shape: str, radius: float, blur: float) -> UInt8[np.ndarray, "H W 3"]:
    """One still shape, blurred as a frame is: before the matte looks at it."""
    thing = Thing("blue", shape, "up", "slowly", radius, (0.5, 0.5))
    picture = Image.fromarray(draw_scene(Scene((thing,), "white"), 0.0, _SIZE))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(blur * _SIZE)))
