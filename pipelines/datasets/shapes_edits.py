"""Captions that ask for something else than what a clip of moving shapes shows."""

import re

import numpy as np
from jaxtyping import UInt8

from pipelines.datasets.shapes import COLORS, DIRECTIONS, PATH_SECONDS, SPEEDS
from pipelines.datasets.shapes_captions import TOWARD, read_caption


def recolored(text: str) -> str:
    """The same caption with another color: the next one of ``COLORS``.

    Raises:
        SourceError: It is no caption of moving shapes.
    """
    color = read_caption(text).color
    return re.sub(rf"\b{color}\b", _next(color, list(COLORS)), text, count=1)


def redirected(text: str, labels: UInt8[np.ndarray, "H W"]) -> str:
    """The same caption with another direction, of those in which the thing has room to go.

    Args:
        text: A caption.
        labels: The first frame's label map.

    Returns:
        The caption itself if there is room in no other direction, or nothing to be seen.

    Raises:
        SourceError: It is no caption of moving shapes.
    """
    told = read_caption(text)
    way = SPEEDS[told.speed] * PATH_SECONDS
    there = [name for name in DIRECTIONS if name != told.direction and _has_room(labels, name, way)]
    if not there:
        return text
    words = dict(zip(TOWARD[told.direction], TOWARD[there[0]], strict=True))
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(longest_first)})\b")
    return pattern.sub(lambda found: words[found[0]], text, count=1)


def _next(name: str, names: list[str]) -> str:
    return names[(names.index(name) + 1) % len(names)]


def _has_room(labels: UInt8[np.ndarray, "H W"], direction: str, way: float) -> bool:
    """Whether the box around all that is drawn stays in the frame."""
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return False
    x, y = DIRECTIONS[direction]
    height, width = labels.shape
    moved = (
        columns.min() / width + x * way,
        (columns.max() + 1) / width + x * way,
        rows.min() / height + y * way,
        (rows.max() + 1) / height + y * way,
    )
    return all(0 <= side <= 1 for side in moved)
