"""The files that a person gets: what they are called, what they hold, what they say. Torch-free."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nuwa_model.errors import ConfigError
from pipelines import storage
from pipelines.generation.outline import Outline
from pipelines.generation.wanted import Wanted
from pipelines.video.encode import write_mp4
from pipelines.video.sampling import FRAME_RATE, SLOT_US

SUFFIXES: Mapping[str, tuple[str, ...]] = {"image": (".png",), "video": (".mp4", ".gif", ".png")}
"""Endings of ``--out`` for what a task makes; a video in a PNG is a strip of its frames."""

PNG_KEY = "nuwa"
"""The text chunk of a PNG that says what made it."""


@dataclass(frozen=True)
class Place:
    """Where one sample goes.

    Attributes:
        path: The file that was asked for.
        strip: The frames of a video side by side, lossless, a window to a row; the same file where
            that was asked for.
    """

    path: Path
    strip: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, each once."""
        return tuple(dict.fromkeys((self.path, self.strip)))


def places(wanted: Wanted, *, overwrite: bool) -> list[Place]:
    """Where the samples go: the file asked for, or for several, numbered ones beside it.

    Raises:
        ConfigError: The name says another kind of file, a file is there or is one of those given,
            or none can be written there.
        StorageError: The system refuses to look there.
    """
    out = _checked(wanted)
    count = len(wanted.samples)
    digits = len(str(count - 1))
    names = [f"{out.stem}-{i:0{digits}}" for i in range(count)] if count > 1 else [out.stem]
    found = [_place(out, name) for name in names]
    given = {Path(p).resolve() for p in (wanted.image, wanted.mask, wanted.video, wanted.sketch)}
    for path in (path for place in found for path in place.paths):
        is_there = storage.exists(str(path))
        if path.resolve() in given:
            raise ConfigError(f"{path} is one of the files given: choose another --out.")
        if wanted.sketch and path.resolve().parent == Path(wanted.sketch).resolve():
            raise ConfigError(f"{path} would lie among the maps of --sketch: choose another --out.")
        if is_there and (path.is_dir() or not overwrite):
            raise ConfigError(f"{path} is there already: choose another --out, or --overwrite it.")
    return found


def write_sample(
    place: Place,
    frames: UInt8[np.ndarray, "s H W 3"],
    about: Mapping[str, Any],
    *,
    window: int | None = None,
) -> None:
    """Write a sample's files, each whole or not at all.

    Args:
        place: Where.
        frames: In order.
        about: What made them.
        window: Frames to a row of the strip; by default all.

    Raises:
        StorageError: A file cannot be written.
    """
    told = json.dumps(about)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    if place.path.suffix.lower() == ".mp4":
        write_mp4(place.path, frames, FRAME_RATE, comment=told)
    elif place.path.suffix.lower() == ".gif":
        storage.replace_bytes(str(place.path), _gif(frames, told))
    storage.replace_bytes(str(place.strip), _png(_strip(frames, window or len(frames)), told))


def describe(wanted: Wanted, outline: Outline, text: str, number: int) -> dict[str, Any]:
    """What a file says of how it was made: all that decides its pixels but the files given."""
    settings = wanted.settings
    about: dict[str, Any] = {
        "made_by": "nuwa",
        "model": outline.name,
        "fingerprints": dict(outline.fingerprints),
        "task": wanted.task.name,
        "seed": settings.seed,
        "sample": number,
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "top_p": settings.top_p,
        "num_candidates": wanted.num_candidates,
    }
    if wanted.task.condition == "text":
        about |= {"text": text, "guidance": settings.guidance}
    if wanted.num_frames:
        about["frames"] = wanted.num_frames
    if wanted.task.given == "first_frames":
        about["given_frames"] = settings.given_frames
    return about


def refuse_odd_size(found: Sequence[Place], size: int) -> None:
    """Refuse frames that H.264 cannot hold.

    Raises:
        ConfigError: Their sides are odd.
    """
    if size % 2 and any(place.path.suffix.lower() == ".mp4" for place in found):
        raise ConfigError(
            f"The model makes frames of {size}×{size} pixels, but those of an MP4 must be even: "
            "name a .gif."
        )


def _checked(wanted: Wanted) -> Path:
    out, target = wanted.out, wanted.task.target
    allowed = SUFFIXES[target]
    if ":/" in str(out):  # as a path, s3://bucket is s3:/bucket
        raise ConfigError(f"--out {out} is no file of this machine: name one.")
    if (storage.exists(str(out)) and out.is_dir()) or not out.suffix:
        raise ConfigError(f"--out {out} is no file name: end it in {' or '.join(allowed)}.")
    if out.suffix.lower() not in allowed:
        thing = "a picture" if target == "image" else "a video"
        raise ConfigError(
            f"--out {out} ends in {out.suffix}, but {wanted.task.name} makes {thing}: end it in "
            f"{' or '.join(allowed)}."
        )
    around = next(folder for folder in out.absolute().parents if folder.exists())
    if not around.is_dir() or not os.access(around, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out} cannot be written: {around} is no folder to write in.")
    return out


def _place(out: Path, stem: str) -> Place:
    path = out.with_name(f"{stem}{out.suffix}")
    is_strip = out.suffix.lower() == ".png"
    return Place(path, path if is_strip else out.with_name(f"{stem}-strip.png"))


def _strip(frames: UInt8[np.ndarray, "s H W 3"], per_row: int) -> UInt8[np.ndarray, "rH sW 3"]:
    """Frames side by side, row by row; what is left of the last of several rows is black."""
    per_row = min(per_row, len(frames))
    rest = -len(frames) % per_row
    full = np.pad(frames, [(0, rest), (0, 0), (0, 0), (0, 0)])
    return rearrange(full, "(r s) H W c -> (r H) (s W) c", s=per_row)


def _png(picture: UInt8[np.ndarray, "H W 3"], told: str) -> bytes:
    chunks = PngInfo()
    chunks.add_text(PNG_KEY, told)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def _gif(frames: UInt8[np.ndarray, "s H W 3"], told: str) -> bytes:
    """Colors of each frame's own, 256 at most; it is shown again and again."""
    first, *others = [Image.fromarray(frame).quantize(256, kmeans=1) for frame in frames]
    buffer = io.BytesIO()
    first.save(
        buffer, "GIF", save_all=True, append_images=others, duration=SLOT_US // 1000, loop=0,
        comment=told.encode(),
    )  # fmt: skip
    return buffer.getvalue()
