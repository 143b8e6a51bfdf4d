"""How a scene of moving shapes is told in words, and what such words say."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipelines.datasets.shapes import COLORS, DIRECTIONS, SHAPES, SPEEDS, Scene, Thing, pick
from pipelines.errors import SourceError

_MOTIONS = (
    "a {color} {shape} moves {speed} {toward}",
    "a {color} {shape} is moving {toward} {speed}",
    "a {color} {shape} {speed} moves {toward}",
    "{speed} a {color} {shape} moves {toward}",
    "the {color} {shape} goes {toward} {speed}",
)
TOWARD = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
}
"""Direction to the ways it is told, the same ones for all in the same order."""


class Attributes(NamedTuple):
    """What a caption says of its first thing."""

    color: str
    shape: str
    direction: str
    speed: str


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
    return pick(rng, _MOTIONS).format(
        color=thing.color,
        shape=thing.shape,
        speed=thing.speed,
        toward=pick(rng, TOWARD[thing.direction]),
    )
