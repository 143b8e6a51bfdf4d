"""Moving shapes: the vocabulary, and scenes made of it.

The generator of videos and the judge of samples share this one vocabulary. Coordinates are in
units of the frame's side, x to the right and y down; times are in seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

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
    return Scene(tuple(things), pick(rng, BACKGROUNDS), int(rng.integers(2**31)))


def pick(rng: np.random.Generator, choices: Iterable[str]) -> str:
    """One of the choices by chance, all equally likely."""
    ordered = tuple(choices)
    return ordered[int(rng.integers(len(ordered)))]


def _random_thing(
    rng: np.random.Generator, colors: Iterable[str], directions: Iterable[str]
) -> Thing:
    direction, speed = pick(rng, directions), pick(rng, SPEEDS)
    start = []
    for step in DIRECTIONS[direction]:
        travel = step * SPEEDS[speed] * PATH_SECONDS
        room = 1.0 - 2 * RADIUS - abs(travel)
        corner = int(rng.integers(int(room * PLACES) + 1)) / PLACES
        start.append(corner + RADIUS - min(travel, 0.0))
    return Thing(
        color=pick(rng, colors),
        shape=pick(rng, SHAPES),
        direction=direction,
        speed=speed,
        radius=RADIUS,
        start=(start[0], start[1]),
    )
