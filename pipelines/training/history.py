"""What a run has been through: all state that is not the engine's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.training.best import Best
from pipelines.training.curve import Curve


@dataclass
class History:
    """Goes into every checkpoint, so that a resumed run is one never stopped.

    Attributes:
        step: Optimizer steps taken.
        seconds: Spent on them.
        tokens: Trained on, over all ranks.
        curve: Of the losses.
        best: The best validation.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    curve: Curve = field(default_factory=Curve)
    best: Best = field(default_factory=Best)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "curve": self.curve.state(),
            "best": self.best.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.step, self.seconds, self.tokens = (state[k] for k in ("step", "seconds", "tokens"))
        self.curve.restore(state["curve"])
        self.best = Best(**state.get("best", {}))
