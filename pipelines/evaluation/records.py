"""One number of the report, or the reason why it is not there."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of the report.

    Attributes:
        task: A synthesis task, or ``judge``, ``vqgan``, ``vqgan_seg``, ``training``.
        metric: Its name, such as ``color`` or ``FID[shapes-net]``.
        value: In the metric's own unit.
        unit: ``share`` lies in [0, 1]; empty is a plain number.
        num_samples: Samples, clips or frames it was measured on; 0 if its maker did not say.
        interval: Where the share of endlessly many samples lies, with 95 % confidence.
        extractor: Name and weights' hash of the network whose features were used.
        note: What a reader must know to read the number right.
    """

    task: str
    metric: str
    value: float
    num_samples: int
    unit: str = ""
    interval: tuple[float, float] | None = None
    extractor: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields that say something, as JSON values."""
        fields: dict[str, Any] = {
            "task": self.task,
            "metric": self.metric,
            "value": self.value,
            "num_samples": self.num_samples,
        }
        more = {
            "unit": self.unit,
            "interval": self.interval,
            "extractor": self.extractor,
            "note": self.note,
        }
        return fields | {name: value for name, value in more.items() if value}


class LeftOut(NamedTuple):
    """A number that could not be measured, and why."""

    task: str
    metric: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return self._asdict()


def share(task: str, metric: str, value: float, num_samples: int, *, note: str = "") -> Score:
    """A share of samples, with Wilson's 95 % interval (Wilson 1927)."""
    z = 1.96
    spread = 1 + z * z / num_samples
    middle = (value + z * z / (2 * num_samples)) / spread
    variance = value * (1 - value) / num_samples + z * z / (4 * num_samples**2)
    half = z * math.sqrt(variance) / spread
    return Score(
        task=task,
        metric=metric,
        value=value,
        num_samples=num_samples,
        unit="share",
        interval=(round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)),
        note=note,
    )
