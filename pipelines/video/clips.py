"""One source to its clips: rows of the clips table."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pipelines.config import ClipsConfig
from pipelines.datasets.base import SourceRef
from pipelines.errors import MediaError
from pipelines.video.cuts import cut_clips, frames_left
from pipelines.video.frame_folder import frame_files, read_frame_folder
from pipelines.video.frames import Slot, read_frames
from pipelines.video.pictures import encode_frame, read_image
from pipelines.video.sampling import RULE, SLOT_US
from pipelines.video.sketch import label_maps, read_sketch

Row = dict[str, Any]
"""One row of ``pipelines.store.schema.CLIPS``."""

_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class DecodedSource:
    """What one source gave.

    Args:
        sha256: What ``hash_source`` says.
        rows: Clips, each followed by its sketch if it has one.
        frames_read: Frames at 2.5 a second.
        num_clips: Clips, sketches not counted.
        frames_left: Frames that no clip holds.
    """

    sha256: str
    rows: list[Row]
    frames_read: int
    num_clips: int
    frames_left: int


class _LabelMap(NamedTuple):
    """One frame's label map as the clip keeps it, and the hash of the file it was cut from."""

    png: bytes
    sha256: str


@dataclass(frozen=True)
class _Frames:
    """All frames of a source, encoded, its label maps if it has them, and where scenes start."""

    slots: tuple[Slot, ...]
    pictures: list[bytes]
    sketches: list[_LabelMap]
    scenes: tuple[int, ...] = ()


def decode_rule(config: ClipsConfig) -> str:
    """Name of everything that decides a clip's pixels; part of its identity."""
    pixels = "jpeg95" if config.frame_format == "jpeg" else "png"
    stride = f";stride={config.stride}" if config.stride else ""
    cuts = f";cuts={config.cut_threshold:g}" if config.cut_threshold else ""
    return f"{RULE};cover={config.size};frames={config.num_frames}{stride}{cuts};{pixels};v2"


def decode_source(
    ref: SourceRef, path: Path, config: ClipsConfig, *, dataset: str, sketch: str = ""
) -> DecodedSource:
    """Cut one video or image into clips.

    A video gives clips of ``config.num_frames`` as ``cuts.cut_clips`` says; one that is shorter
    gives a single clip with the frames it has, marked short. An image gives one of one frame.

    Args:
        ref: The source.
        path: Where it lies on this machine.
        config: Size, length and format of clips.
        dataset: Written into the rows.
        sketch: Where its label maps lie on this machine; empty leaves them out.

    Raises:
        MediaError: The source, or its sketch, cannot be used as a whole.
    """
    before = _state(path)
    sha256 = hash_source(ref, path)
    read = _read_image if ref.kind == "image" else _read_video
    frames = read(ref, str(path), sketch, config)
    if _state(path) != before:
        raise MediaError("io_error", "the file changed while it was read")
    length = 1 if ref.kind == "image" else config.num_frames
    shared: Row = {
        "dataset": dataset,
        "split": ref.split,
        "source_uri": ref.source_uri,
        "source_sha256": sha256,
        "text": list(ref.text),
        "decode_rule": decode_rule(config),
    }
    count = len(frames.pictures)
    clips = cut_clips(count, length=length, stride=config.stride, scenes=frames.scenes)
    rows = [row for clip in clips for row in _clip_rows(ref, frames, clip, length, shared)]
    return DecodedSource(sha256, rows, count, len(clips), frames_left(count, clips))


def hash_source(ref: SourceRef, path: Path) -> str:
    """SHA-256 that tells a source's content: of its file, where that alone is the source.

    Of a folder of frames it is the hash of their names, hashes and rate; a span is hashed with it.

    Args:
        ref: The source.
        path: Where it lies on this machine.

    Raises:
        MediaError: A file cannot be read.
    """
    parts = [ref.frame_rate, str(ref.span_us)]
    if not ref.frame_rate:
        sha256 = hash_file(path)
        if ref.span_us is None:
            return sha256
        parts.append(sha256)
    else:
        parts += [f"{frame.name} {hash_file(frame)}" for frame in frame_files(path)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def hash_file(path: Path | str) -> str:
    """SHA-256 of a file as hex digits.

    Raises:
        MediaError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise MediaError("io_error", error.strerror or str(error)) from None
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise MediaError("io_error", error.strerror or str(error)) from None
    return status.st_size, status.st_mtime_ns


def _read_image(ref: SourceRef, path: str, sketch: str, config: ClipsConfig) -> _Frames:
    frame, window, (width, height) = read_image(path, size=config.size)
    sketches = []
    if sketch:
        png = read_sketch(sketch, window, aspect=Fraction(width, height))
        sketches.append(_LabelMap(png, hash_file(sketch)))
    return _Frames((Slot(0, 0),), [encode_frame(frame, config.frame_format)], sketches)


def _read_video(ref: SourceRef, path: str, sketch: str, config: ClipsConfig) -> _Frames:
    pictures: list[bytes] = []

    def take(frame: UInt8[np.ndarray, "H W 3"]) -> None:
        pictures.append(encode_frame(frame, config.frame_format))

    if ref.frame_rate:
        video = read_frame_folder(
            path, rate=ref.frame_rate, size=config.size, take=take, span_us=ref.span_us
        )
    else:
        video = read_frames(
            path,
            size=config.size,
            deadline_s=config.deadline_s,
            take=take,
            span_us=ref.span_us,
            cut_threshold=config.cut_threshold,
        )
    sketches: list[_LabelMap] = []
    if sketch:
        maps = label_maps(sketch, num_source_frames=video.num_source_frames)
        kept: dict[int, _LabelMap] = {}  # a slow source shows one frame in several slots
        for slot in video.slots:
            if slot.index not in kept:
                file = maps[slot.index]
                png = read_sketch(file, video.window, aspect=video.aspect)
                kept[slot.index] = _LabelMap(png, hash_file(file))
            sketches.append(kept[slot.index])
    return _Frames(video.slots, pictures, sketches, video.scenes)


def _clip_rows(
    ref: SourceRef, frames: _Frames, clip_frames: range, length: int, shared: Row
) -> Iterator[Row]:
    """The clip of some frames, and its sketch."""
    held = slice(clip_frames.start, clip_frames.stop)
    slots = frames.slots[held]
    sketches = frames.sketches[held]
    start_us = clip_frames.start * SLOT_US + (ref.span_us or (0, 0))[0]
    # The sketch's content is part of the name: tokens of a sketch that was mended are not its own.
    made_from = [shared["source_sha256"], str(start_us), shared["decode_rule"]]
    made_from += [label_map.sha256 for label_map in sketches]
    clip: Row = {
        **shared,
        "clip_id": hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:32],
        "kind": ref.kind,
        "start_us": start_us,
        "frames": frames.pictures[held],
        "frame_times_us": [slot.time_us - slots[0].time_us for slot in slots],
        "is_short": len(slots) < length,
    }
    yield clip
    if sketches:
        pictures = [label_map.png for label_map in sketches]
        yield {**clip, "kind": f"{ref.kind}_sketch", "frames": pictures}
