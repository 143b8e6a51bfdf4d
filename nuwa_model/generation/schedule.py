"""In which order slots are computed: one at a time, or in waves that need nothing of each other.

To compute a slot, its own token (the cell to its left) must have been sampled in an *earlier*
pass, and every slot that it sees must have been computed in an earlier pass or in the *same* one,
because a pass writes all its keys and values at a layer before any of its slots attends. And
whoever reads the slot whose place in the ring cache this one takes must be done. The earliest pass
of each slot follows from these three sentences by one walk in raster order (spec §4).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, product
from typing import Literal, NamedTuple

from nuwa_model.decoder import slot_grid
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import Sight

Schedule = Literal["wavefront", "sequential"]


class Pass(NamedTuple):
    """Slots ``(f, r, c)`` that are computed together."""

    slots: tuple[tuple[int, int, int], ...]

    def cells(self, target_grid: Grid) -> list[int]:
        """Number of the cell that each slot predicts; those of the last column predict none."""
        _, h, w = target_grid
        return [(f * h + r) * w + c for f, r, c in self.slots if c < w]


@lru_cache(maxsize=16)
def plan_passes(
    target_grid: Grid, sight: Sight, schedule: Schedule, num_given: int = 0
) -> tuple[Pass, ...]:
    """The passes that decode a target.

    Args:
        target_grid: Cells to decode.
        sight: Of the decoder's self-attention.
        schedule: ``wavefront`` for as few passes as the sight allows, ``sequential`` for one
            slot after another.
        num_given: Leading cells in raster order whose slots are computed before, all at once.
    """
    slots = slot_grid(target_grid)
    free = list(_free_slots(slots, target_grid, num_given))
    if schedule == "sequential":
        return tuple(Pass((slot,)) for slot in free)
    levels: dict[tuple[int, int, int], int] = {}
    for slot in free:
        levels[slot] = _earliest(slot, slots, sight, levels)
    waves: list[list[tuple[int, int, int]]] = [
        [] for _ in range(max(levels.values(), default=-1) + 1)
    ]
    for slot, level in levels.items():
        waves[level].append(slot)
    return tuple(Pass(tuple(wave)) for wave in waves)


def _free_slots(slots: Grid, target_grid: Grid, num_given: int) -> Iterator[tuple[int, int, int]]:
    """Slots but those of given cells, and the last of all, which predicts nothing for nobody.

    Those of the last column belong to the cell before them.
    """
    for f, r, c in islice(product(*map(range, slots)), slots.num_cells - 1):
        cell = (f * target_grid.h + r) * target_grid.w + min(c, target_grid.w - 1)
        if cell >= num_given:
            yield (f, r, c)


def _earliest(
    slot: tuple[int, int, int],
    slots: Grid,
    sight: Sight,
    levels: dict[tuple[int, int, int], int],
) -> int:
    f, r, c = slot
    level = levels.get((f, r, c - 1), -1) + 1  # the slot's own token is sampled there
    if sight.kind == "full":  # the slot before has seen all others: none is in a later pass
        return max(level, next(reversed(levels.values()), 0))
    for seen in seen_slots(slot, slots, sight):
        level = max(level, levels.get(seen, 0))
    for reader in _readers_of_replaced(slot, slots, sight.extent):
        level = max(level, levels.get(reader, -1) + 1)
    return level


def ring_frames(slots: Grid, extent: Extent) -> int:
    """Frames that the ring cache keeps: as many as are seen before the current one, and that."""
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


def seen_slots(
    slot: tuple[int, int, int], slots: Grid, sight: Sight
) -> Iterator[tuple[int, int, int]]:
    """Earlier slots that a slot attends to, without itself, in raster order (decision D7)."""
    if sight.kind == "axial":
        return _slots_on_lines(slot, slots)
    return _slots_in_window(slot, slots, sight.extent)


def _slots_on_lines(slot: tuple[int, int, int], slots: Grid) -> Iterator[tuple[int, int, int]]:
    f, r, c = slot
    if c + 1 < slots.w:  # else the center, one column to the right, is outside
        yield from ((frame, r, c + 1) for frame in range(f))
        yield from ((f, row, c + 1) for row in range(r))
    yield from ((f, r, column) for column in range(c))


def _slots_in_window(
    slot: tuple[int, int, int], slots: Grid, extent: Extent
) -> Iterator[tuple[int, int, int]]:
    f, r, c = slot
    radius = extent.radius(slots)
    for ds, dh in product(range(-radius.s, 1), range(-radius.h, radius.h + 1)):
        row = (f + ds, r + dh)
        if row > (f, r) or row[0] < 0 or not 0 <= row[1] < slots.h:
            continue
        last = min(c + 1 + radius.w, slots.w - 1) if row != (f, r) else c - 1
        for column in range(max(0, c + 1 - radius.w), last + 1):
            yield (*row, column)
