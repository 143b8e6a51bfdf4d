"""The lowest validation loss of a run, and how long ago it was."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any


@dataclass
class Best:
    """The best validation so far; its whole state goes into the checkpoint.

    Attributes:
        step: Steps taken when it was made; 0 before the first.
        loss: Mean over its tasks.
        num_since: Validations since then, none of them lower.
    """

    step: int = 0
    loss: float = math.inf
    num_since: int = 0

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Take in a validation; one without tasks is none."""
        if not losses:
            return
        loss = fmean(losses.values())
        if loss < self.loss:
            self.step, self.loss, self.num_since = step, loss, 0
        else:
            self.num_since += 1

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self) if self.step else {}
