"""TensorBoard files of a run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from pipelines import storage

_OF_A_TASK = {"step", "task", "loss", "num_steps"}


class Board:
    """Writes scalars; use it in a ``with`` statement.

    Args:
        uri: Folder for the files, or ``None`` to write none, as on every rank but the first. They
            are written on this machine, and copied where they belong with every validation.
        first_step: Steps at or after this one, left by a run that was stopped, are hidden.
    """

    def __init__(self, uri: str | None, *, first_step: int) -> None:
        self._writer: Any = None
        self._uri, self._scratch = uri or "", None
        if uri is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder = uri
        if not storage.is_local(uri):
            self._scratch = TemporaryDirectory(prefix="tensorboard-")
            folder = self._scratch.name
        self._writer = SummaryWriter(folder, purge_step=first_step + 1)

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
            self._copy()
        if self._scratch is not None:
            self._scratch.cleanup()

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Draw records of the curve."""
        for record in records:
            self._writer.add_scalar(f"loss/{record['task']}", record["loss"], record["step"])
            for name in sorted(record.keys() - _OF_A_TASK):
                self._writer.add_scalar(name, record[name], record["step"])

    def add_validation(self, step: int, losses: Mapping[str, float]) -> None:
        """Draw a validation."""
        for task, loss in losses.items():
            self._writer.add_scalar(f"validation_loss/{task}", loss, step)
        self._writer.flush()
        self._copy()

    def _copy(self) -> None:
        if self._scratch is not None:
            for path in Path(self._scratch.name).iterdir():
                storage.upload(path, storage.join(self._uri, path.name))
