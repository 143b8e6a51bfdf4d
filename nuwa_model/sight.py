"""Which keys a query sees around its center: three kinds of attention, as data, free of torch."""

import math
from typing import Literal, NamedTuple

from nuwa_model.grid import Extent

AttentionKind = Literal["nearby", "full", "axial"]

EVERYWHERE = Extent(math.inf, math.inf, math.inf)


class Sight(NamedTuple):
    """What a cell sees.

    Attributes:
        kind: ``nearby`` is all inside a window; ``full`` is all there is; ``axial`` is the three
            lines through the center, from border to border.
        extent: Of the window; infinite for the other kinds.
    """

    kind: AttentionKind
    extent: Extent


def sight_of(kind: AttentionKind, extent: Extent) -> Sight:
    """The sight of one kind, where a window would have this extent."""
    return Sight(kind, extent if kind == "nearby" else EVERYWHERE)
