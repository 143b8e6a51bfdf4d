"""What a job's progress lines become: a bar on a terminal, an artifact in Prefect."""

import logging
import sys
import time
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from tqdm import tqdm

from pipelines.progress import ProgressLine

ARTIFACT_EVERY_S = 5.0
LOG_EVERY_S = 30.0


class JobProgress:
    """Mirrors how far a job is; use it in a ``with`` statement.

    Args:
        name: The job.
        logger: Of the Prefect run; gets a line now and then, and the last one of each count.
    """

    def __init__(self, name: str, logger: logging.Logger | logging.LoggerAdapter) -> None:
        self._name, self._logger = name, logger
        self._artifact: UUID | None = None
        self._mirrored_at = self._logged_at = 0.0
        self._shown: ProgressLine | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> "JobProgress":
        """Nothing is shown until the job counts something."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal tidy, also after a job that failed."""
        self._close_bar()

    def show(self, line: ProgressLine) -> None:
        """Show one progress line wherever somebody may be looking."""
        if line == self._shown:
            return
        self._shown = line
        self._draw(line)
        is_last = line.done >= line.total
        now = time.monotonic()
        if is_last or now - self._mirrored_at >= ARTIFACT_EVERY_S:
            self._mirrored_at = now
            self._mirror(line)
        if is_last or now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            self._logger.info("%s %d/%d %s", line.what, line.done, line.total, line.note)

    def _mirror(self, line: ProgressLine) -> None:
        percent = 100.0 * line.done / max(line.total, 1)
        description = f"{self._name}: {line.what} {line.done}/{line.total} {line.note}".rstrip()
        if self._artifact is None:
            key = f"progress-{self._name.replace('_', '-')}"
            artifact = create_progress_artifact(percent, key=key, description=description)
            assert isinstance(artifact, UUID)  # outside an event loop the call is synchronous
            self._artifact = artifact
        else:
            update_progress_artifact(self._artifact, percent, description=description)

    def _draw(self, line: ProgressLine) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None or self._bar.desc != f"{line.what}: ":
            self._close_bar()
            self._bar = tqdm(total=line.total, desc=line.what, unit="", leave=False)
        self._bar.set_postfix_str(line.note.split("eta")[0].strip(), refresh=False)
        self._bar.update(line.done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
