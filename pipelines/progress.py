"""Progress of long work: a bar on a terminal, parsable lines in a job's log."""

import re
import sys
import time
from types import TracebackType
from typing import NamedTuple

from tqdm import tqdm

_LINE = re.compile(r"^progress (?P<what>.+?) (?P<done>\d+)/(?P<total>\d+)(?: (?P<note>.*))?$")


class ProgressLine(NamedTuple):
    """One line of a job's log that tells how far it is."""

    what: str
    done: int
    total: int
    note: str


class Progress:
    """Counts work done; use it in a ``with`` statement.

    Args:
        what: One or two words, such as ``decode clips``.
        total: Units of work.
        every_s: Seconds between lines where there is no terminal.
    """

    def __init__(self, what: str, total: int, *, every_s: float = 2.0) -> None:
        self._what, self._total, self._every_s = what, total, every_s
        self._done, self._note = 0, ""
        self._first: tuple[float, int] | None = None  # when units were first done, and how many
        self._last_line = 0.0
        self._bar = tqdm(total=total, desc=what, unit="") if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        """Show the start."""
        self._show(force=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the end, also of work that failed."""
        self._show(force=True)
        if self._bar is not None:
            self._bar.close()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units; ``note`` is a few words such as ``loss 2.31``."""
        self._done += units
        self._first = self._first or (time.monotonic(), self._done)
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(units)
        self._show(force=False)

    def _show(self, *, force: bool) -> None:
        now = time.monotonic()
        if self._bar is not None or (not force and now - self._last_line < self._every_s):
            return
        self._last_line = now
        line = f"progress {self._what} {self._done}/{self._total} {self._note}".rstrip()
        print(f"{line}{self._eta(now)}", flush=True)

    def _eta(self, now: float) -> str:
        """How long the rest will take; what passed before the first units was starting up."""
        if self._first is None or not self._first[1] < self._done < self._total:
            return ""
        began, done = self._first
        return f" eta {(now - began) / (self._done - done) * (self._total - self._done):.0f}s"


def parse_progress(line: str) -> ProgressLine | None:
    """Read one line of a log, or ``None`` if it tells no progress."""
    match = _LINE.match(line.strip())
    if match is None:
        return None
    return ProgressLine(match["what"], int(match["done"]), int(match["total"]), match["note"] or "")
