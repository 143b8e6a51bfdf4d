"""Moving shapes: the vocabulary, how a scene is drawn, and how it is told in words.

The generator of videos and the judge of samples share this one vocabulary. Coordinates are in
units of the frame's side, x to the right and y down; times are in seconds.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from pipelines.errors import SourceError

# Six hues about 60 degrees apart: the chroma plane holds no six that are easier to tell from
# each other after 4:2:0 subsampling and a small codebook.
COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (215, 25, 25),
    "yellow": (240, 205, 0),
    "green": (20, 155, 40),
    "cyan": (0, 190, 215),
    "blue": (25, 50, 215),
    "purple": (170, 30, 185),
}
"""Name of a color to its red, green and blue, each 0 to 255."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle")
"""A shape's label in a sketch is its place here plus one; 0 is background."""

DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
"""Direction to its unit vector (x, y)."""

STEP = 1 / 32
"""Frame sides that a slow thing moves from one frame of a clip to the next.

A clip of 32 pixels then shows each thing at whole pixels, so that a small codebook has a vector
for every patch there is; videos are drawn as large as wanted.
"""

PLACES = 8
"""Steps of a side on which the box around a thing begins or ends its path. It must fit, so that a
plain scene of one thing is one of 2,592."""

FRAME_SECONDS = 0.4
"""From one frame of a clip to the next."""

SPEEDS: Mapping[str, float] = {
    "slowly": STEP / FRAME_SECONDS,
    "quickly": 2 * STEP / FRAME_SECONDS,
}
"""Adverb to frame sides a second."""

BACKGROUNDS: Mapping[str, int] = {"white": 240, "light grey": 210, "grey": 180}
"""Background to its shade, 0 to 255; none of them has a color of ``COLORS``."""

PLAIN = "white"
"""The background of scenes without texture."""

SKETCH_CLASSES: tuple[str, ...] = ("background", *SHAPES)
"""Names of the labels in a sketch, by label."""

PATH_SECONDS = 9 * FRAME_SECONDS
"""From the first frame of a clip of ten to the last; every thing stays wholly inside the frame."""

RADIUS = 4.5 * STEP
"""Half the side of the box around a thing: it lets a quick one cross for the whole clip."""

_TEXTURE_AMPLITUDE = 22.0


@dataclass(frozen=True)
class Thing:
    """One moving shape.

    Args:
        color: A key of ``COLORS``.
        shape: One of ``SHAPES``.
        direction: A key of ``DIRECTIONS``.
        speed: A key of ``SPEEDS``.
        radius: Half the side of the box around the shape.
        start: Centre (x, y) of that box at time 0.
    """

    color: str
    shape: str
    direction: str
    speed: str
    radius: float
    start: tuple[float, float]

    def center(self, time_s: float) -> tuple[float, float]:
        """Where the middle of the box is at a time."""
        (x, y), (dx, dy) = self.start, DIRECTIONS[self.direction]
        distance = SPEEDS[self.speed] * time_s
        return x + dx * distance, y + dy * distance


@dataclass(frozen=True)
class Scene:
    """What one video shows.

    Args:
        things: The first is the one that captions tell and sketches show on top.
        background: A key of ``BACKGROUNDS``.
        texture_seed: Seed of the background's texture; ``None`` leaves it plain.
    """

    things: tuple[Thing, ...]
    background: str
    texture_seed: int | None = None


class Attributes(NamedTuple):
    """What a caption says of its first thing."""

    color: str
    shape: str
    direction: str
    speed: str


def random_scene(
    rng: np.random.Generator, *, textured_background: bool = False, second_object: bool = False
) -> Scene:
    """Draw a scene by chance; every combination of attributes is equally likely.

    A textured background may have any shade. A second thing has another color and another
    direction than the first.
    """
    first = _random_thing(rng, tuple(COLORS), tuple(DIRECTIONS))
    things = [first]
    if second_object:
        colors = [color for color in COLORS if color != first.color]
        directions = [direction for direction in DIRECTIONS if direction != first.direction]
        things.append(_random_thing(rng, colors, directions))
    if not textured_background:
        return Scene(tuple(things), PLAIN)
    return Scene(tuple(things), _pick(rng, BACKGROUNDS), int(rng.integers(2**31)))


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


_MOTIONS = (
    "a {color} {shape} moves {speed} {toward}",
    "a {color} {shape} is moving {toward} {speed}",
    "a {color} {shape} {speed} moves {toward}",
    "{speed} a {color} {shape} moves {toward}",
    "the {color} {shape} goes {toward} {speed}",
)
_TOWARD = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Tell the scene in words.

    Always names color, shape, direction and speed of the first thing before it says anything of
    a second one; names the background in one caption out of four.
    """
    text = " while ".join(_tell(thing, rng) for thing in scene.things)
    if rng.random() < 0.25:
        texture = "" if scene.texture_seed is None else "textured "
        text += f" on a {texture}{scene.background} background"
    return text


def read_caption(text: str) -> Attributes:
    """What a caption says of the thing it tells first.

    Raises:
        SourceError: A color, shape, direction or speed is not named.
    """
    words = re.findall(r"[a-z]+", text.lower().replace("wards", ""))
    return Attributes(
        color=_first_named("color", COLORS, words, text),
        shape=_first_named("shape", SHAPES, words, text),
        direction=_first_named("direction", DIRECTIONS, words, text),
        speed=_first_named("speed", SPEEDS, words, text),
    )


def _first_named(kind: str, names: Iterable[str], words: list[str], text: str) -> str:
    known = set(names)
    for word in words:
        if word in known:
            return word
    raise SourceError(
        f"The caption {text!r} names no {kind}; expected one of {', '.join(sorted(known))}."
    )


def _tell(thing: Thing, rng: np.random.Generator) -> str:
    return _pick(rng, _MOTIONS).format(
        color=thing.color,
        shape=thing.shape,
        speed=thing.speed,
        toward=_pick(rng, _TOWARD[thing.direction]),
    )


def _random_thing(
    rng: np.random.Generator, colors: Iterable[str], directions: Iterable[str]
) -> Thing:
    direction, speed = _pick(rng, directions), _pick(rng, SPEEDS)
    start = []
    for step in DIRECTIONS[direction]:
        travel = step * SPEEDS[speed] * PATH_SECONDS
        room = 1.0 - 2 * RADIUS - abs(travel)
        corner = int(rng.integers(int(room * PLACES) + 1)) / PLACES
        start.append(corner + RADIUS - min(travel, 0.0))
    return Thing(
        color=_pick(rng, colors),
        shape=_pick(rng, SHAPES),
        direction=direction,
        speed=speed,
        radius=RADIUS,
        start=(start[0], start[1]),
    )


def _pick(rng: np.random.Generator, choices: Iterable[str]) -> str:
    ordered = tuple(choices)
    return ordered[int(rng.integers(len(ordered)))]


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
