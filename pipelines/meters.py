"""Numbers of a running job, which every node of Ray hands to Prometheus (``docs/watching.md``).

Rates are Prometheus's to take (``rate(ray_nuwa_clips_total[1m])``); no label tells of single clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge

_JOB = ("job_name",)  # "job" is Prometheus's own


class Meters:
    """What one job has done so far. Only the driver counts, and each thing once.

    Args:
        job: Its name, such as ``decode_clips``.
    """

    def __init__(self, job: str) -> None:
        self._tags = {"job_name": job}
        self._counters = {
            name: Counter(f"nuwa_{name}", description=f"{name} finished", tag_keys=_JOB)
            for name in ("clips", "frames", "tokens")
        }
        self._errors = Counter(
            "nuwa_errors", description="sources that failed", tag_keys=(*_JOB, "code")
        )
        self._queue = Gauge("nuwa_queue_depth", description="work not yet finished", tag_keys=_JOB)

    def count(self, **done: int) -> None:
        """Add finished ``clips``, ``frames`` or ``tokens``."""
        for name, number in done.items():
            if number:
                self._counters[name].inc(number, self._tags)

    def count_errors(self, codes: Mapping[str, int]) -> None:
        """Add failed sources, by code."""
        for code, number in codes.items():
            self._errors.inc(number, self._tags | {"code": code})

    def waiting(self, items: int) -> None:
        """Say how many items of work are not finished."""
        self._queue.set(items, self._tags)


class TrainingMeters:
    """How a training goes; its first rank tells.

    Args:
        run: Its name.
    """

    def __init__(self, run: str) -> None:
        self._tags = {"run": run}
        self._loss = Gauge(
            "nuwa_training_loss", description="nats a token", tag_keys=("run", "task")
        )
        self._gauges = {
            name: Gauge(f"nuwa_training_{name}", description=what, tag_keys=("run",))
            for name, what in TRAINING.items()
        }

    def show(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Show the newest records of the curve, one a task."""
        for record in records:
            self._loss.set(record["loss"], {**self._tags, "task": record["task"]})
        for name, gauge in self._gauges.items():
            gauge.set(records[-1][name], self._tags)


TRAINING: Mapping[str, str] = {
    "step": "optimizer steps taken",
    "learning_rate": "of the last step",
    "gradient_norm": "of the last step, before clipping",
    "tokens_per_s": "target tokens, over all ranks",
    "mfu": "share of the peak that the model's arithmetic takes",
    "data_wait": "share of the time spent waiting for batches",
    "memory_gb": "most that the first rank ever held",
}
"""What is measured of a training beside its losses."""
