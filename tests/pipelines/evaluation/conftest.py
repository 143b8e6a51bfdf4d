"""Drawn videos for the judge and the report, as a decoder would hand them over."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipelines.datasets.shapes import Scene, Thing, draw_scene


def _film(scene, *, size=64, num_frames=10, blur=0.0, noise=0.0):
    """Frames of a scene, 0.4 s apart, shrunk from 128 pixels, blurred, through JPEG, noisy."""
    rng = np.random.default_rng(0)
    frames = [_frame(draw_scene(scene, 0.4 * step, 128), size, blur) for step in range(num_frames)]
    film = np.stack(frames)
    return (film + rng.normal(0, noise, film.shape)).clip(0, 255).astype(np.uint8)


def _frame(pixels, size, blur):
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(blur)).save(stream, "JPEG", quality=95)
    return np.asarray(Image.open(stream))


def _scene(color="blue", shape="square", direction="right", speed="slowly", radius=0.16):
    start = {"right": (0.25, 0.5), "left": (0.75, 0.5), "up": (0.5, 0.75), "down": (0.5, 0.25)}
    thing = Thing(color, shape, direction, speed, radius, start[direction])
    return Scene((thing,), "white")


@pytest.fixture
def film():
    return _film


@pytest.fixture
def scene():
    return _scene
