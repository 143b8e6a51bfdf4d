"""In which order slots are computed: one at a time, or in waves that need nothing of each other.

To compute a slot, its own token (the cell to its left) must have been sampled in an *earlier*
pass, and every slot in its window must have been computed in an earlier pass or in the *same* one,
because a pass writes all its keys and values at a layer before any of its slots attends. And
whoever reads the slot whose place in the ring cache this one takes must be done. The earliest pass
of each slot follows from these three sentences by one walk in raster order (spec §4).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple

from nuwa_model.decoder import slot_grid
from nuwa_model.grid import Extent, Grid

Schedule = Literal["wavefront", "sequential"]


class Pass(NamedTuple):
    """Slots ``(f, r, c)`` that are computed together."""

    slots: tuple[tuple[int, int, int], ...]


@lru_cache(maxsize=16)
def plan_passes(
    target_grid: Grid, extent: Extent, schedule: Schedule, known_frames: int = 0
) -> tuple[Pass, ...]:
    """The passes that decode a target.

    Args:
        target_grid: Cells to decode.
        extent: Window of the decoder's self-attention.
        schedule: ``wavefront`` for as few passes as the window allows, ``sequential`` for one
            slot after another.
        known_frames: Leading frames whose tokens are all given; each is one pass.
    """
    slots = slot_grid(target_grid)
    given = [Pass(tuple(product([f], range(slots.h), range(slots.w)))) for f in range(known_frames)]
    free = list(product(range(known_frames, slots.s), range(slots.h), range(slots.w)))
    if schedule == "sequential":
        return (*given, *(Pass((slot,)) for slot in free))
    levels: dict[tuple[int, int, int], int] = {}
    for slot in free:
        levels[slot] = _earliest(slot, slots, extent, levels)
    waves: list[list[tuple[int, int, int]]] = [
        [] for _ in range(max(levels.values(), default=-1) + 1)
    ]
    for slot, level in levels.items():
        waves[level].append(slot)
    return (*given, *(Pass(tuple(wave)) for wave in waves))


def _earliest(
    slot: tuple[int, int, int],
    slots: Grid,
    extent: Extent,
    levels: dict[tuple[int, int, int], int],
) -> int:
    f, r, c = slot
    level = levels.get((f, r, c - 1), -1) + 1  # the slot's own token is sampled there
    for seen in window_slots(slot, slots, extent):
        level = max(level, levels.get(seen, 0))
    for reader in _readers_of_replaced(slot, slots, extent):
        level = max(level, levels.get(reader, -1) + 1)
    return level


def ring_frames(slots: Grid, extent: Extent) -> int:
    """Frames that the ring cache keeps: the window's radius and the current one."""
    return min(slots.s, extent.radius(slots).s + 1)


def _readers_of_replaced(
    slot: tuple[int, int, int], slots: Grid, extent: Extent
) -> Iterator[tuple[int, int, int]]:
    """The last slots that read what this one overwrites: all in the frame before."""
    f, r, c = slot
    if f < ring_frames(slots, extent):
        return
    radius = extent.radius(slots)
    for row in range(max(0, r - radius.h), min(slots.h, r + radius.h + 1)):
        for column in range(max(0, c - 1 - radius.w), min(slots.w, c + radius.w)):
            yield (f - 1, row, column)
    yield (f - 1, r, c)


def window_slots(
    slot: tuple[int, int, int], slots: Grid, extent: Extent
) -> Iterator[tuple[int, int, int]]:
    """Earlier slots that a slot attends to, without itself, in raster order (decision D7)."""
    f, r, c = slot
    radius = extent.radius(slots)
    for ds, dh in product(range(-radius.s, 1), range(-radius.h, radius.h + 1)):
        row = (f + ds, r + dh)
        if row > (f, r) or row[0] < 0 or not 0 <= row[1] < slots.h:
            continue
        last = min(c + 1 + radius.w, slots.w - 1) if row != (f, r) else c - 1
        for column in range(max(0, c + 1 - radius.w), last + 1):
            yield (*row, column)
