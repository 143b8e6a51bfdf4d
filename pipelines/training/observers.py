"""Who is told of a training on its way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Observers:
    """Who is told of what while training, and who is asked.

    Attributes:
        on_step: Rank 0 calls it with the steps done and a few words.
        on_records: Rank 0 calls it with the newest records of the curve.
        on_checkpoint: Every rank calls it with the checkpoint's metadata.
        is_warned: Every rank asks it once a window of the curve; true if a machine is about to be
            taken away, so that a checkpoint should be saved soon.
        is_told_to_end: Every rank asks it at every step; the answer of one is enough.
    """

    on_step: Callable[[int, str], None] = lambda _done, _note: None
    on_records: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _records: None
    on_checkpoint: Callable[[Mapping[str, Any]], None] = lambda _metadata: None
    is_warned: Callable[[], bool] = lambda: False
    is_told_to_end: Callable[[], bool] = lambda: False

    def after(self, steps: int) -> "Observers":
        """The same for a training that follows on others of so many steps."""
        return replace(self, on_step=lambda done, note: self.on_step(steps + done, note))
