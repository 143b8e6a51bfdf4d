"""The curve of a run: losses by task, learning rate, gradient norm, speed."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from pipelines import storage

_KEPT = ("step", "task", "loss", "codes_alive", "perplexity")


class Curve:
    """One record for each task of each window of ``log_every`` steps.

    Its whole state goes into the checkpoint, open window included, so that the curve of a resumed
    run is that of one never stopped.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._window: dict[str, list[float]] = defaultdict(list)

    def add(self, task: str, loss: float) -> None:
        """Take in one step."""
        self._window[task].append(loss)

    def close_window(self, step: int, **values: float) -> list[dict[str, Any]]:
        """Make records of the steps since the last call.

        Args:
            step: Steps taken so far.
            values: Whatever else holds at this step, such as ``learning_rate``.
        """
        new = [
            {"step": step, "task": task, "loss": fmean(losses), "num_steps": len(losses), **values}
            for task, losses in sorted(self._window.items())
        ]
        self.records += new
        self._window.clear()
        return new

    def newest(self, *keys: str) -> dict[str, Any]:
        """These values of the last record, if there is one."""
        last = self.records[-1] if self.records else {}
        return {key: last[key] for key in keys if key in last}

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"records": self.records, "window": dict(self._window)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.records = list(state["records"])
        self._window = defaultdict(list, {task: list(x) for task, x in state["window"].items()})

    def write(self, uri: str) -> None:
        """Write all records as JSON lines, whole, so that the file never lies."""
        storage.replace_bytes(uri, "".join(f"{json.dumps(r)}\n" for r in self.records).encode())


def decimate(records: Iterable[Mapping[str, Any]], most: int = 500) -> list[dict[str, Any]]:
    """What matters of at most ``most`` records, evenly spread, the last one included."""
    points = [{key: record[key] for key in _KEPT if key in record} for record in records]
    stride = -(-len(points) // most) or 1
    return points[::-1][::stride][::-1]
