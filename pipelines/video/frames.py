"""One video to the frames of its clips, in one run of ffmpeg."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import ffmpeg as builder
import numpy as np
from jaxtyping import UInt8

from pipelines.errors import MediaError
from pipelines.video import ffmpeg
from pipelines.video.faults import refuse
from pipelines.video.sampling import FPS_FILTER
from pipelines.video.window import Window, cover, crop_filter, scale_filter

# ffmpeg tells these of every frame it sends out: index of the source frame, its presentation
# time, and the unit of that time.
_SLOT_FORMAT = "{ni} {ptsi} {tbi}"


@dataclass(frozen=True)
class Slot:
    """Where one frame of a clip comes from.

    Args:
        index: Of the source frame, counted in order of presentation.
        time_us: When that frame appears, in microseconds after the source's first.
    """

    index: int
    time_us: int


@dataclass(frozen=True)
class DecodedVideo:
    """What one video gave.

    Args:
        slots: One for each frame handed out, in order.
        window: What those frames show of the picture.
        aspect: Width over height of the upright picture as it is seen.
        num_source_frames: Frames of the whole video.
    """

    slots: tuple[Slot, ...]
    window: Window
    aspect: Fraction
    num_source_frames: int


def read_frames(
    path: str,
    *,
    size: int,
    deadline_s: float,
    take: Callable[[UInt8[np.ndarray, "H W 3"]], object],
) -> DecodedVideo:
    """Decode a video at 2.5 frames a second, upright, in square pixels, cut to a square.

    Args:
        path: A local file.
        size: Height and width of a frame in pixels.
        deadline_s: Wall seconds after which the video is given up.
        take: Given each frame as it comes.

    Raises:
        MediaError: The video cannot be decoded from beginning to end without a fault. ``take``
            may have been given frames by then; they are not to be used.
    """
    assembler = _Assembler(size, take)
    with ExitStack() as stack:
        slots = stack.enter_context(ffmpeg.memory_file())
        source = stack.enter_context(ffmpeg.memory_file())
        finished = ffmpeg.run(
            _outputs(path, size, slots, source),
            deadline_s=deadline_s,
            take=assembler.feed,
            files=(slots, source),
        )
        refuse(finished, num_frames=assembler.num_frames)
        taken = _read_slots(slots.read().decode())
        if len(taken) != assembler.num_frames:
            raise MediaError(
                "decode_errors",
                f"ffmpeg told of {len(taken)} frames and gave {assembler.num_frames}",
            )
        return _describe(taken, source.read().decode(), size)


def _outputs(
    path: str, size: int, slots: IO[bytes], source: IO[bytes]
) -> builder.nodes.OutputStream:
    video = builder.input(**ffmpeg.input_options(path))["V:0"]
    frames = (
        video.filter("fps", **FPS_FILTER)
        .filter("scale", **scale_filter(size))
        .filter("crop", **crop_filter(size))
        .output(
            "pipe:1",
            format="rawvideo",
            pix_fmt="rgb24",
            fps_mode="passthrough",
            **{
                "stats_enc_pre:v": ffmpeg.fd_path(slots),
                "stats_enc_pre_fmt:v": _SLOT_FORMAT,
            },
        )
    )
    # A second output that copies no pixels: it tells the picture's shape and counts its frames.
    told = video.output(
        ffmpeg.fd_path(source), format="framecrc", vcodec="wrapped_avframe", fps_mode="passthrough"
    )
    return builder.merge_outputs(frames, told).overwrite_output()


class _Assembler:
    """Cuts a stream of bytes into frames."""

    def __init__(self, size: int, take: Callable[[UInt8[np.ndarray, "H W 3"]], object]) -> None:
        self._shape = (size, size, 3)
        self._frame_bytes = size * size * 3
        self._take = take
        self._rest = bytearray()
        self.num_frames = 0

    def feed(self, data: bytes) -> None:
        self._rest += data
        whole = len(self._rest) // self._frame_bytes * self._frame_bytes
        frames, self._rest = self._rest[:whole], self._rest[whole:]
        for start in range(0, whole, self._frame_bytes):
            frame = np.frombuffer(frames, np.uint8, self._frame_bytes, start)
            self._take(frame.reshape(self._shape))
            self.num_frames += 1


def _read_slots(text: str) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    first = Fraction(0)
    for line in text.splitlines():
        index, time, unit = line.split()
        time_s = int(time) * Fraction(unit)
        first = time_s if not slots else first
        slots.append(Slot(int(index), round((time_s - first) * 1_000_000)))
    return tuple(slots)


def _describe(slots: tuple[Slot, ...], told: str, size: int) -> DecodedVideo:
    """Read the second output: ``#name 0: value`` lines, then one line for each frame."""
    headers: dict[str, str] = {}
    num_frames = 0
    for line in told.splitlines():
        if line.startswith("#"):
            name, _, value = line.removeprefix("#").partition(":")
            headers[name] = value.strip()
        else:
            num_frames += 1
    width, height = (int(part) for part in headers["dimensions 0"].split("x"))
    across, down = (int(part) for part in headers["sar 0"].split("/"))
    pixel_aspect = Fraction(across, down) if across and down else Fraction(1)
    return DecodedVideo(
        slots=slots,
        window=cover(width, height, size, pixel_aspect),
        aspect=Fraction(width, height) * pixel_aspect,
        num_source_frames=num_frames,
    )
