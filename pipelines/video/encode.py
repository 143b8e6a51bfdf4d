"""Frames to an H.264 file that every player shows."""

import os
from fractions import Fraction
from pathlib import Path

import ffmpeg as builder
import numpy as np
from jaxtyping import UInt8

from pipelines.errors import StorageError
from pipelines.video import ffmpeg

_DEADLINE_S = 300.0
_COLORS = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}


def write_mp4(
    path: Path | str,
    frames: UInt8[np.ndarray, "s H W 3"],
    fps: Fraction | float,
    *,
    crf: int = 18,
    preset: str = "veryfast",
    comment: str = "",
) -> None:
    """Write a video whole or not at all.

    Args:
        path: Where to; a file that is there is replaced at once when the new one is finished.
        frames: RGB, height and width even.
        fps: Frames a second.
        crf: Quality of x264, 0 (lossless) to 51.
        preset: Of x264: how long it may look for a smaller file.
        comment: What the file says of itself.

    Raises:
        StorageError: ffmpeg could not write the file.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    num_frames, height, width, _ = frames.shape
    try:
        with ffmpeg.memory_file() as raw:
            raw.write(np.ascontiguousarray(frames).data)
            raw.seek(0)
            source = builder.input(
                "pipe:0",
                format="rawvideo",
                pix_fmt="rgb24",
                video_size=(width, height),
                framerate=str(Fraction(fps).limit_denominator(100_000)),
            )
            output = source.filter(
                "scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd"
            ).output(
                f"file:{unfinished}",
                format="mp4",
                vcodec="libx264",
                pix_fmt="yuv420p",
                crf=crf,
                preset=preset,
                threads=1,
                movflags="faststart",
                metadata=f"comment={comment}",
                **_COLORS,
            )
            finished = ffmpeg.run(output.overwrite_output(), deadline_s=_DEADLINE_S, stdin=raw)
        if finished.returncode != 0:
            raise StorageError(
                f"ffmpeg could not write {path} ({num_frames} frames of {width}x{height}): "
                f"{finished.stderr.splitlines()[0] if finished.stderr else finished.returncode}"
            )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
