"""Which source frames a clip takes: the frame on screen at t = 0.4 k seconds.

ffmpeg does it with its filter ``fps=5/2:round=up`` and tells which source frame it took. What is
here is the definition that ffmpeg is tested against. Not ``2.5`` and not the filter's default
rounding: that one takes the frame on screen 0.2 s later.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

FRAME_RATE = Fraction(5, 2)
"""Frames a second of every clip."""

SLOT_US = 400_000
"""Microseconds from one frame of a clip to the next."""

FPS_FILTER = {"fps": "5/2", "round": "up"}
"""Arguments of ffmpeg's ``fps`` filter."""

RULE = "fps=5/2:round=up"
"""Name of this rule in the identity of a clip."""


def slot_of(time_s: Fraction) -> int:
    """The first slot at whose time a frame shown from ``time_s`` on is on the screen."""
    return ceil(time_s * FRAME_RATE)


def frames_on_screen(times_s: Sequence[Fraction], end_s: Fraction) -> list[int]:
    """Index of the source frame that each slot takes.

    Args:
        times_s: When each source frame appears, rising.
        end_s: When the last one disappears.

    Returns:
        One index a slot, the first slot at the first frame. An index repeats where the source has
        fewer than 2.5 frames a second; a source too short for one slot gives none.
    """
    if not times_s:
        return []
    taken: list[int] = []
    index, first = 0, slot_of(times_s[0])
    for slot in range(first, slot_of(end_s)):
        while index + 1 < len(times_s) and slot_of(times_s[index + 1]) <= slot:
            index += 1
        taken.append(index)
    return taken
