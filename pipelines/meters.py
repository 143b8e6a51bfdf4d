"""Counts of a running job, which every node of Ray hands to Prometheus (``docs/watching.md``).

Rates are Prometheus's to take (``rate(ray_nuwa_clips_total[1m])``); no label tells of single clips.
"""

from collections.abc import Mapping

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
