"""TensorBoard files of a run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Board:
    """Writes scalars; use it in a ``with`` statement.

    Args:
        path: Folder for the files, or ``None`` to write none, as on every rank but the first.
        first_step: Steps at or after this one, left by a run that was stopped, are hidden.
    """

    def __init__(self, path: Path | None, *, first_step: int) -> None:
        self._writer: Any = None
        if path is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(path), purge_step=first_step + 1)

    def __enter__(self) -> "Board":
        """Nothing; the files are open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Draw records of the curve."""
        for record in records:
            self._writer.add_scalar(f"loss/{record['task']}", record["loss"], record["step"])
            for name in ("learning_rate", "gradient_norm", "tokens_per_s"):
                self._writer.add_scalar(name, record[name], record["step"])

    def add_validation(self, step: int, losses: Mapping[str, float]) -> None:
        """Draw a validation."""
        for task, loss in losses.items():
            self._writer.add_scalar(f"validation_loss/{task}", loss, step)
