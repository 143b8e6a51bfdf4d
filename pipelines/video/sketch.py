"""Sketches: label maps that show the same window of the same source frames as a clip."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pipelines.config import FetchConfig
from pipelines.datasets.base import SourceRef
from pipelines.errors import MediaError
from pipelines.fetch import fetched_one
from pipelines.video.pictures import encode_labels, opened
from pipelines.video.window import Window

# A label map may be a little off the picture's shape, because half pixels were rounded when it
# was made smaller.
_SHAPE_TOLERANCE = Fraction(1, 50)


@contextmanager
def fetched_sketch(ref: SourceRef, *, limits: FetchConfig) -> Iterator[str]:
    """Where the label maps of a source lie on this machine; empty if it has none.

    Raises:
        MediaError: They cannot be fetched.
    """
    if not ref.sketch_uri:
        yield ""
        return
    with fetched_one(ref.sketch_uri, limits=limits, is_folder=ref.kind == "video") as path:
        try:
            yield str(path)
        except MediaError as error:  # of a copy that nobody will find: its place is told instead
            detail = error.detail.replace(str(path), ref.sketch_uri)
            raise MediaError(error.code, detail) from None


def label_maps(place: str, *, num_source_frames: int) -> list[Path]:
    """The label maps of a video, one for each of its frames, in order of name: 9.png, 10.png.

    Raises:
        MediaError: There are more or fewer of them than frames.
    """
    maps = [path for path in Path(place).iterdir() if path.suffix.lower() == ".png"]
    maps.sort(key=lambda path: (_by_numbers(path.name), path.name))
    if len(maps) != num_source_frames:
        raise MediaError(
            "bad_sketch",
            f"{place} has {len(maps)} PNG files, but the video has {num_source_frames} frames; "
            "one label map for each frame is expected",
        )
    return maps


def _by_numbers(name: str) -> list[int | str]:
    """A name as what sorts numbers in it by their value; every second part is one."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_sketch(path: Path | str, window: Window, *, aspect: Fraction) -> bytes:
    """One label map, cut like its clip's frame by taking the nearest label; PNG.

    Args:
        path: A PNG with one channel (or a palette) of labels 0 to 255, of any size.
        window: What the clip's frames show.
        aspect: Width over height of the whole upright picture as it is seen.

    Raises:
        MediaError: The file is no such label map, or not of the picture's shape.
    """
    labels = _read_labels(path)
    height, width = labels.shape
    if abs(Fraction(width, height) / aspect - 1) > _SHAPE_TOLERANCE:
        raise MediaError(
            "bad_sketch",
            f"{path} is {width}x{height}, which is not the shape of its picture "
            f"(width over height {float(aspect):.3f})",
        )
    left, top, right, bottom = window.box(width, height)
    rows = _nearest(top, bottom, window.size, height)
    columns = _nearest(left, right, window.size, width)
    return encode_labels(labels[rows[:, None], columns[None, :]])


def _read_labels(path: Path | str) -> UInt8[np.ndarray, "H W"]:
    try:
        with opened(str(path), ("PNG",)) as picture:
            if picture.mode not in ("L", "P"):
                raise MediaError(
                    "bad_sketch",
                    f"{path} has pixels of kind {picture.mode}; expected one channel of labels",
                )
            return np.asarray(picture)
    except MediaError as error:
        if error.code == "bad_sketch":
            raise
        raise MediaError("bad_sketch", f"{path}: {error.detail}") from None


def _nearest(first: float, last: float, size: int, limit: int) -> np.ndarray:
    """Source pixel under the middle of each of ``size`` pixels between two places."""
    middles = first + (np.arange(size) + 0.5) * ((last - first) / size)
    return np.minimum(middles.astype(int), limit - 1)
