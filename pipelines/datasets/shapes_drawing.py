"""How a scene of moving shapes is drawn: as a frame, and as the sketch of that frame."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

from pipelines.datasets.shapes import BACKGROUNDS, COLORS, SHAPES, Scene, Thing

_TEXTURE_AMPLITUDE = 22.0


def draw_scene(scene: Scene, time_s: float, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """Paint the scene at a time as a square RGB frame of ``size`` pixels, with smooth edges."""
    frame = _background(scene.background, scene.texture_seed, size).copy()
    for thing in reversed(scene.things):
        rows, columns, coverage = _coverage(thing, time_s, size)
        window = frame[rows, columns]
        window += coverage[..., None] * (np.array(COLORS[thing.color], np.float32) - window)
    return (frame + 0.5).astype(np.uint8)


def draw_labels(scene: Scene, time_s: float, size: int) -> UInt8[np.ndarray, "H W"]:
    """The sketch of the same frame: 0 background, 1 circle, 2 square, 3 triangle."""
    labels = np.zeros((size, size), np.uint8)
    for thing in reversed(scene.things):
        rows, columns, coverage = _coverage(thing, time_s, size)
        labels[rows, columns][coverage >= 0.5] = SHAPES.index(thing.shape) + 1
    return labels


@lru_cache(maxsize=64)
def _background(name: str, texture_seed: int | None, size: int) -> Float[np.ndarray, "H W 3"]:
    """A plain or textured background, neutral in color; shared, so never to be written to."""
    shade = np.full((size, size), BACKGROUNDS[name], np.float32)
    if texture_seed is not None:
        shade += _texture(np.random.default_rng(texture_seed), size)
    return np.repeat(shade.clip(0, 255)[..., None], 3, axis=2)


def _texture(rng: np.random.Generator, size: int) -> Float[np.ndarray, "H W"]:
    """Four plane waves of random direction and phase."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    waves = np.zeros((size, size), np.float32)
    for _ in range(4):
        frequency, phase = rng.uniform(-5, 5, size=2), rng.uniform(0, 2 * np.pi)
        waves += np.cos(2 * np.pi * (frequency[0] * x + frequency[1] * y) + phase)
    return _TEXTURE_AMPLITUDE * waves / 4


def _coverage(
    thing: Thing, time_s: float, size: int
) -> tuple[slice, slice, Float[np.ndarray, "y x"]]:
    """The window of pixels around a thing, and how much of each pixel the thing covers, 0 to 1."""
    (center_x, center_y), radius = thing.center(time_s), thing.radius * size
    columns, x = _window(center_x * size, radius, size)
    rows, y = _window(center_y * size, radius, size)
    return rows, columns, _INSIDE[thing.shape](x[None, :], y[:, None], radius)


def _window(center: float, radius: float, size: int) -> tuple[slice, np.ndarray]:
    """Pixels that a thing can touch along one axis, and their middles relative to its own."""
    first = min(max(int(np.floor(center - radius - 1)), 0), size)
    last = min(max(int(np.ceil(center + radius + 1)), 0), size)
    return slice(first, last), np.arange(first, last, dtype=np.float32) + np.float32(0.5 - center)


def _inside_circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return _soft(np.sqrt(x * x + y * y) - radius)


def _inside_square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    half = 0.9 * radius
    return _soft(np.abs(x) - half) * _soft(np.abs(y) - half)


def _inside_triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Point up: apex at the top of the box, base along its bottom."""
    slope = np.float32(5.0**-0.5)  # the sides climb 2 radii over 1 radius
    side = (2 * np.abs(x) - y - radius) * slope
    return _soft(np.maximum(side, y - radius))


def _soft(distance: np.ndarray) -> np.ndarray:
    """Coverage of a pixel whose middle lies so far (pixels) outside a straight edge."""
    return np.clip(0.5 - distance, 0.0, 1.0, dtype=np.float32)


_INSIDE = {"circle": _inside_circle, "square": _inside_square, "triangle": _inside_triangle}
