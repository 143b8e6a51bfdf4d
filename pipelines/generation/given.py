"""Files that a person gives, as pixels of the model's size. Torch-free.

They are fitted as data preparation does it: upright, resized to cover the square, cut at its
middle.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from einops import reduce
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.labels import UNKNOWN_LABEL, has_unknown
from pipelines import storage
from pipelines.errors import ErrorCode, MediaError
from pipelines.generation.outline import Outline
from pipelines.generation.wanted import Wanted
from pipelines.video.frames import read_frames
from pipelines.video.pictures import opened, read_image
from pipelines.video.sampling import SLOT_US
from pipelines.video.sketch import label_maps, read_sketch
from pipelines.video.window import Window, cover

_DEADLINE_S = 300.0
_DETAIL_LENGTH = 200
_FAULTS: dict[ErrorCode, str] = {
    "container_unreadable": "it is no video",
    "blocked_protocol": "it is no video of a kind that is read",
    "no_video_stream": "it has no pictures",
    "unsupported_codec": "its codec is unknown",
    "truncated": "it breaks off before its end",
    "decode_errors": "it is damaged",
    "too_short": "it has no frame",
}
"""What ffmpeg says at length."""

_MASKS = ("PNG", "BMP", "TIFF")  # JPEG is not black where it was black


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a target's window begins with, and what it shall look like.

    Attributes:
        pixels: RGB of the given pixels; the others mean nothing.
        is_free: Where pixels are to be made.
        labels: Sketch of each frame, for tasks that read one.
    """

    pixels: UInt8[np.ndarray, "s H W 3"]
    is_free: Bool[np.ndarray, "s H W"]
    labels: UInt8[np.ndarray, "s H W"] | None = None


def free_tokens(is_free: Bool[np.ndarray, "s H W"], factor: int) -> Bool[np.ndarray, "s h w"]:
    """Tokens to be made: those with a free pixel in the ``factor`` × ``factor`` under them."""
    blocks = reduce(is_free, "s (h i) (w j) -> s h w", "any", i=factor, j=factor)
    return np.asarray(blocks)


def read_given(wanted: Wanted, outline: Outline) -> Given:
    """Read the files that a task needs.

    Raises:
        ConfigError: A file is missing, is not what its option promises, or does not fit the model.
    """
    num_frames, size = _window(wanted, outline), outline.size
    pixels = np.zeros((num_frames, size, size, 3), np.uint8)
    is_free = np.ones((num_frames, size, size), bool)
    labels = None
    if wanted.task.condition == "sketch":
        labels = _read_sketches(wanted.sketch, num_frames, outline)
    if wanted.task.given == "outside_mask":
        pixels[0], is_free[0] = _read_masked(wanted, outline)
    if wanted.task.given == "first_frames":
        first = _read_first(wanted, num_frames, size)
        pixels[: len(first)], is_free[: len(first)] = first, False
    return Given(pixels=pixels, is_free=is_free, labels=labels)


def _window(wanted: Wanted, outline: Outline) -> int:
    """Frames that are decoded at once: of a longer video, those of its first window."""
    window = outline.grid_of(wanted.task).s
    if wanted.task.condition == "sketch" and wanted.num_frames > window:
        raise ConfigError(
            f"--frames is {wanted.num_frames}, but a sketch lasts for the {window} frames of the "
            f"model: give at most {window}, or go on from the video with V2V."
        )
    if wanted.num_candidates > 1 and wanted.num_frames > window:
        raise ConfigError(
            f"--num-candidates is {wanted.num_candidates}, but videos of more than {window} frames "
            f"are made in several windows, and not ranked: draw 1, or at most {window} frames."
        )
    return min(wanted.num_frames or window, window)


def _read_masked(
    wanted: Wanted, outline: Outline
) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """A picture, and where it is to be painted: its lower half, as in the paper, or a mask."""
    with _of("image", wanted.image):
        picture, window, shape = read_image(wanted.image, size=outline.size)
    if not wanted.mask:
        is_free = np.zeros(picture.shape[:2], bool)
        is_free[outline.target_grid.h // 2 * outline.factor :] = True
        return picture, is_free
    with _of("mask", wanted.mask):
        is_free = _read_mask(wanted.mask, window, shape)
    if not is_free.any():
        raise ConfigError(
            f"--mask {wanted.mask} paints nothing of the square that the model sees: make it "
            "neither black nor transparent where the picture is to be painted."
        )
    if free_tokens(is_free[None], outline.factor).all():
        grid = outline.target_grid
        raise ConfigError(
            f"--mask {wanted.mask} touches all {grid.h}×{grid.w} tokens of the picture, so that "
            "the model would see nothing of it: leave more of it black, or take T2I."
        )
    return picture, is_free


def _read_mask(path: str, window: Window, shape: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Pixels of the fitted picture in which a masked pixel of the picture has any share."""
    with opened(path, _MASKS) as picture:
        mask = ImageOps.exif_transpose(picture)
        if mask.size != shape:
            raise MediaError(
                "container_unreadable",
                f"it has {mask.width}×{mask.height} pixels, its picture {shape[0]}×{shape[1]}; "
                "make them the same",
            )
        painted = Image.fromarray(_is_painted(mask).astype(np.float32))
    # The filter that fits the picture itself, whose far taps are negative: hence not ``> 0``.
    fitted = painted.resize(
        (window.size, window.size), Image.Resampling.BICUBIC, box=window.box(*shape)
    )
    return np.asarray(fitted) != 0


def _is_painted(mask: Image.Image) -> Bool[np.ndarray, "H W"]:
    if mask.mode[0] in "IF":  # sixteen bits and more
        return np.asarray(mask) != 0
    colored = np.asarray(mask.convert("RGBA"))
    return (colored[..., :3] > 0).any(axis=-1) & (colored[..., 3] > 0)


def _read_first(wanted: Wanted, num_frames: int, size: int) -> UInt8[np.ndarray, "s H W 3"]:
    """The given frames of a video, or a picture as the one frame that is given."""
    count = wanted.settings.given_frames
    if count >= num_frames == wanted.num_frames:
        raise ConfigError(
            f"--frames is {num_frames}, of which {count} would be given: ask for {count + 1} or "
            "more, or give fewer."
        )
    if count >= num_frames:
        raise ConfigError(
            f"--given-frames is {count}, but the model makes {num_frames} frames at once: give at "
            f"most {num_frames - 1}."
        )
    if wanted.image:
        if count > 1:
            raise ConfigError(
                f"--given-frames is {count}, but --image {wanted.image} is one frame: give a "
                "--video, or one frame."
            )
        with _of("image", wanted.image):
            return read_image(wanted.image, size=size)[0][None]
    frames: list[UInt8[np.ndarray, "H W 3"]] = []
    with _of("video", wanted.video):
        # One slot more than is used: what ends a span must not change its last frame.
        span_us = (0, (count + 1) * SLOT_US)
        read_frames(
            wanted.video, size=size, deadline_s=_DEADLINE_S, take=frames.append, span_us=span_us
        )
    if len(frames) < count:
        raise ConfigError(
            f"--video {wanted.video} has {len(frames)} of the {count} frames, at 2.5 a second, "
            "that --given-frames asks for: give a longer video, or fewer frames."
        )
    return np.stack(frames[:count])


def _read_sketches(path: str, num_frames: int, outline: Outline) -> UInt8[np.ndarray, "s H W"]:
    if not outline.num_classes:
        raise ConfigError(
            f"{outline.name} was trained without sketches: --sketch needs a model whose training "
            "had S2I or S2V among its tasks."
        )
    with _of("sketch", path, is_folder=num_frames > 1):
        files = label_maps(path, num_source_frames=num_frames) if num_frames > 1 else [Path(path)]
        labels = np.stack([_read_labels(file, outline.size) for file in files])
    known = labels[labels != UNKNOWN_LABEL] if has_unknown(outline.num_classes) else labels
    if known.size and known.max() >= outline.num_classes:
        raise ConfigError(
            f"--sketch {path} has the label {known.max()}, but {outline.name} knows those below "
            f"{outline.num_classes} only: give label maps of the classes it was trained on."
        )
    return labels


def _read_labels(path: Path, size: int) -> UInt8[np.ndarray, "H W"]:
    with opened(str(path), ("PNG",)) as picture:
        width, height = picture.size
    window = cover(width, height, size)
    cut = read_sketch(path, window, aspect=Fraction(width, height))
    return np.asarray(Image.open(io.BytesIO(cut)))


@contextmanager
def _of(option: str, path: str, *, is_folder: bool = False) -> Iterator[None]:
    """Say in one line which option's file is missing or cannot be used."""
    refuse_missing(option, path, is_folder=is_folder)
    try:
        yield
    except MediaError as error:
        detail = " ".join(error.detail.replace(path, "it").split())[:_DETAIL_LENGTH]
        detail = _FAULTS.get(error.code, detail) if option == "video" else detail
        raise ConfigError(f"--{option} {path} cannot be used: {detail}.") from None


def refuse_missing(option: str, path: str, *, is_folder: bool = False) -> None:
    """Refuse a path where no file, or no folder, lies.

    Raises:
        ConfigError: It names the option, and what is expected.
        StorageError: The system refuses to look there.
    """
    wanted = "folder" if is_folder else "file"
    is_there = storage.exists(str(Path(path)))
    if not is_there or not (Path(path).is_dir() if is_folder else Path(path).is_file()):
        found = "is no" if is_there else "names no"
        raise ConfigError(f"--{option} {path} {found} {wanted} of this machine.")
