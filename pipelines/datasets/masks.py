"""Regions of COCO's annotations, painted into label maps.

A region is a list of polygons or a run-length encoding, whose runs go down the columns and
alternate between outside and inside, beginning outside: https://cocodataset.org/#format-data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True)
class Region:
    """One labelled region of a picture.

    Args:
        label: 0 to 255.
        area: In pixels; of regions that overlap the smaller is seen.
        segmentation: Polygons ``[[x, y, x, y, …], …]``, or ``{"size": [h, w], "counts": …}`` with a
            list of runs or COCO's compressed text.
    """

    label: int
    area: float
    segmentation: object


def paint_regions(
    regions: Iterable[Region], height: int, width: int, *, elsewhere: int = 0
) -> UInt8[np.ndarray, "H W"]:
    """The label of every pixel; ``elsewhere`` where there is no region.

    COCO's own rasterizer rounds edges of polygons on a grid five times as fine as pixels, so that
    single pixels there may differ from it.

    Raises:
        ValueError: A region is none that COCO describes, or not of the picture's size.
    """
    labels = np.full((height, width), elsewhere, np.uint8)
    for region in sorted(regions, key=lambda region: -region.area):
        if not 0 <= region.label <= 255:
            raise ValueError(f"label {region.label} is not from 0 to 255")
        if isinstance(region.segmentation, list):
            for polygon in region.segmentation:
                _paint_polygon(labels, polygon, region.label)
        else:
            labels[run_length_mask(region.segmentation, height, width)] = region.label
    return labels


def run_length_mask(encoding: object, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The pixels that a run-length encoding covers.

    Raises:
        ValueError: The runs do not add up to the picture.
    """
    if not isinstance(encoding, dict) or encoding.get("size") != [height, width]:
        raise ValueError(f"a region is not a run-length encoding of {height} × {width} pixels")
    counts = encoding.get("counts", [])
    runs = np.array(read_counts(counts) if isinstance(counts, str) else counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"runs add up to {runs.sum()} pixels, not to {height} × {width}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def read_counts(text: str) -> list[int]:
    """Runs from COCO's compressed text.

    Each character carries five bits of a signed number, lowest first, and a sixth that says whether
    more follow; from the fourth run on the number is the difference to the run before the last.

    Raises:
        ValueError: The text ends within a number.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("compressed runs end within a number")
    return runs


def _paint_polygon(labels: UInt8[np.ndarray, "H W"], polygon: object, label: int) -> None:
    """Label the pixels whose middle lies inside a polygon (even-odd rule)."""
    flat = np.array(polygon, float)
    if flat.ndim != 1 or len(flat) % 2 or len(flat) < 6 or not np.isfinite(flat).all():
        raise ValueError("a polygon is not a list of three or more corners x, y")
    corners = flat.reshape(-1, 2)
    left, top = corners.min(axis=0).clip(0, labels.shape[::-1]).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).clip(0, labels.shape[::-1]).astype(int)
    box = labels[top:bottom, left:right]
    (x, y), (next_x, next_y) = corners.T, np.roll(corners, -1, axis=0).T
    middles = np.arange(top, bottom) + 0.5
    rows, edges = np.nonzero((y <= middles[:, None]) != (next_y <= middles[:, None]))
    slopes = (next_x - x)[edges] / (next_y - y)[edges]
    crossings = x[edges] + (middles[rows] - y[edges]) * slopes
    # How often the outline is crossed just before a pixel; only odd and even matter.
    turns = np.zeros((box.shape[0], box.shape[1] + 1), np.uint8)
    columns = np.ceil(crossings - 0.5 - left).clip(0, box.shape[1]).astype(int)
    np.add.at(turns, (rows, columns), 1)
    is_inside = np.add.accumulate(turns, axis=1, dtype=np.uint8)[:, :-1] & 1
    box[is_inside.astype(bool)] = label
