"""Videos to test with, made by the real ffmpeg."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.video.ffmpeg import binary

REAL = Path(os.environ.get("NUWA_TEST_MEDIA", "/nonexistent")) / "clips"
needs_media = pytest.mark.skipif(
    not REAL.is_dir(), reason="set NUWA_TEST_MEDIA to a folder that holds clips/"
)


def make(path, *arguments):
    """Run ffmpeg with arguments as on a command line; the output's path comes last."""
    subprocess.run(
        [binary(), "-nostdin", "-v", "error", "-y", *map(str, arguments), str(path)],
        check=True,
        timeout=60,
    )
    return path


def counting(path, *, rate, seconds, size="64x48", more=()):
    """A video whose frame number can be read back: frame i has the shade 2 i."""
    return make(
        path,
        *("-f", "lavfi", "-i", f"color=black:s={size}:r={rate}:d={seconds}"),
        *("-vf", "format=gray,geq=lum='min(255,2*N)',format=yuvj420p"),
        *("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuvj420p", *more),
    )


def write_map(path, label):
    """A label map of one label everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((48, 64), label, np.uint8)).save(path)


def quadrants(size):
    """Red, green, blue and white quarters: tells up from down and left from right."""
    picture = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    picture[:half, :half] = 255, 0, 0
    picture[:half, half:] = 0, 255, 0
    picture[half:, :half] = 0, 0, 255
    picture[half:, half:] = 255, 255, 255
    return picture


def corners(frame):
    """Names of the colors in the middle of the four quarters, in reading order."""
    height, width = frame.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    return [
        names.get(tuple(int(c > 127) for c in frame[int(height * y), int(width * x)]), "other")
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    ]


def clouds(width, height):
    """A smooth colored picture without any symmetry."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.cos(7 * x + 3 * y + 1), np.sin(5 * y - 4 * x), np.cos(9 * x * y + 2 * y)]
    return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def psnr(first, second):
    """Likeness of two pictures in dB."""
    error = np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))
