"""The judge of moving shapes: pixels in; color, shape and direction of motion out.

It looks at decoded pixels only, never at tokens or captions, and what it cannot see plainly it
does not guess: an attribute that is not clear is ``None``, and ``None`` agrees with no caption.
Its own accuracy on real clips stands in the report beside the model's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nuwa_model.errors import ConfigError
from pipelines.datasets.shapes import COLORS, DIRECTIONS, FRAME_SECONDS, RADIUS, SPEEDS
from pipelines.datasets.shapes_captions import Attributes
from pipelines.evaluation.matte import Matte, chroma_of, matte
from pipelines.evaluation.templates import center_of, match_shape, share_near, windows

_LEAST_AREA, _MOST_AREA = 0.4 * 2 * RADIUS**2, 2.0 * np.pi * RADIUS**2
"""Half the smallest triangle, and well over the largest circle, as shares of the frame."""

_LEAST_WHOLE = 0.8
"""Share of the foreground that must lie together, or the thing is in pieces."""

_LEAST_FRAMES = 0.8
"""Share of the frames that must show the thing, with one color, along one line."""

_LEAST_OVERLAP = 0.83
"""Overlap with the best template below which a blob is no shape: a diamond reaches 0.826 in a frame
of 64 pixels, a real shape 0.86 under more blur and noise than a tokenizer of ours adds."""

_LEAST_STEP = min(SPEEDS.values()) * FRAME_SECONDS / 3
"""Frame sides from one frame to the next below which a thing stands: a third of ``slowly``."""

_STRAY = 0.1
"""Frame sides a center may lie off its line."""


class Reading(NamedTuple):
    """What the judge sees in one sample; ``None`` is not clear or not there.

    Attributes:
        color: A key of ``COLORS``.
        shape: One of ``SHAPES``.
        direction: A key of ``DIRECTIONS``; always ``None`` for an image.
        note: Why an attribute is missing, for the report; empty if none is.
    """

    color: str | None = None
    shape: str | None = None
    direction: str | None = None
    note: str = ""


def read_video(video: UInt8[np.ndarray, "s H W 3"]) -> Reading:
    """Read one video, or one image as a video of one frame.

    Args:
        video: RGB frames, 0 to 255, from one frame of a clip to the next.
    """
    found = matte(video)
    centers = center_of(found.coverage)
    is_whole = _is_whole(found, centers)
    if is_whole.mean() < _LEAST_FRAMES:
        return Reading(note=f"one whole thing in {is_whole.sum()} of {len(video)} frames")
    color = _color(found.chroma[is_whole])
    shape = _shape(windows(found.coverage, centers)[is_whole])
    direction = _direction(np.flatnonzero(is_whole), centers[is_whole])
    missing = [
        name
        for name, value in (("color", color), ("shape", shape), ("motion", direction))
        if value is None and (name != "motion" or len(video) > 1)
    ]
    return Reading(color, shape, direction, f"no clear {' or '.join(missing)}" if missing else "")


def judge_agreement(
    readings: Sequence[Reading], captions: Sequence[Attributes], *, has_motion: bool = True
) -> Mapping[str, float]:
    """Share of samples whose reading is what the caption says, for each attribute and for all.

    Args:
        readings: What the judge saw.
        captions: What was asked for, in the same order.
        has_motion: Whether direction counts; it does not for images.

    Raises:
        ConfigError: There are no readings, or not as many as captions.
    """
    if not readings or len(readings) != len(captions):
        raise ConfigError(
            f"{len(readings)} readings cannot be compared with {len(captions)} captions; "
            "expected the same number, at least one."
        )
    names = ("color", "shape", "direction") if has_motion else ("color", "shape")
    right = np.array(
        [
            [getattr(reading, name) == getattr(asked, name) for name in names]
            for reading, asked in zip(readings, captions, strict=True)
        ]
    )
    shares = dict(zip(names, right.mean(0).tolist(), strict=True))
    return {**shares, "all": float(right.all(1).mean())}


def _is_whole(found: Matte, centers: Float[np.ndarray, "s 2"]) -> Bool[np.ndarray, "s"]:
    """Which frames show one thing of a possible size, in one piece."""
    area = found.coverage.mean((1, 2))
    is_possible = (area >= _LEAST_AREA) & (area <= _MOST_AREA)
    return found.is_found & is_possible & (share_near(found.coverage, centers) >= _LEAST_WHOLE)


def _color(chroma: Float[np.ndarray, "s 2"]) -> str | None:
    """The palette's color nearest to the median chroma, if the frames agree on it."""
    middle = _nearest_color(np.median(chroma, axis=0))
    agreeing = np.mean([_nearest_color(one) == middle for one in chroma])
    return middle if agreeing >= _LEAST_FRAMES else None


_PALETTE = np.stack([chroma_of(color) for color in COLORS.values()])
_GAPS = np.linalg.norm(_PALETTE[:, None] - _PALETTE[None], axis=-1)
_REACH = _GAPS[_GAPS > 0].min() / 2
"""Half the smallest gap between two colors: what is farther from all of them has none."""


def _nearest_color(chroma: Float[np.ndarray, "2"]) -> str | None:
    distances = np.linalg.norm(_PALETTE - chroma, axis=-1)
    nearest = int(distances.argmin())
    return tuple(COLORS)[nearest] if distances[nearest] <= _REACH else None


def _shape(pictures: Float[np.ndarray, "s h w"]) -> str | None:
    """The shape of the mean picture, if both halves of the video show the same one."""
    match = match_shape(pictures.mean(0))
    halves = np.array_split(pictures, min(2, len(pictures)))
    is_steady = all(match_shape(half.mean(0)).shape == match.shape for half in halves)
    return match.shape if is_steady and match.overlap >= _LEAST_OVERLAP else None


def _direction(frames: np.ndarray, centers: Float[np.ndarray, "s 2"]) -> str | None:
    """The direction of the line through the centers, if they lie on one and it goes somewhere.

    The line is Theil's and Sen's: its step is the median over all pairs of frames, so a few
    misplaced frames do not turn it.
    """
    if len(frames) < 2:
        return None
    first, second = np.triu_indices(len(frames), 1)
    gaps = (frames[second] - frames[first])[:, None]
    step = np.median((centers[second] - centers[first]) / gaps, axis=0)
    lines = centers - frames[:, None] * step
    stray = np.abs(lines - np.median(lines, axis=0)).max(1)
    main, other = np.abs(step).max(), np.abs(step).min()
    is_straight = np.mean(stray <= _STRAY) >= _LEAST_FRAMES
    if main < _LEAST_STEP or other > main / 2 or not is_straight:
        return None
    along = [float(step @ np.array(way)) for way in DIRECTIONS.values()]
    return tuple(DIRECTIONS)[int(np.argmax(along))]
