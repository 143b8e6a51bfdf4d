"""A job's log, read line by line while it grows, and what it says about the end."""

import json
from collections.abc import Iterator
from typing import Any


class JobLog:
    """The lines of a growing text, each exactly once."""

    def __init__(self) -> None:
        self._seen = 0
        self._error = ""
        self._last = ""
        self.record: dict[str, Any] | None = None

    @property
    def error(self) -> str | None:
        """What the job said was wrong, if it ended in an ``error:`` line of its own."""
        return self._error or None

    @property
    def last_line(self) -> str:
        """The last thing the job said."""
        return self._last or "it said nothing"

    def new_lines(self, text: str, *, is_whole: bool) -> Iterator[str]:
        """The lines that earlier calls have not seen.

        Args:
            text: All that has been printed so far.
            is_whole: Whether the job has ended, so that an unfinished last line is whole.
        """
        end = len(text) if is_whole else text.rfind("\n") + 1
        lines = text[self._seen : end].split("\n")
        self._seen = max(self._seen, end)
        for line in lines:
            if line.strip():
                self._note(line)
                yield line

    def _note(self, line: str) -> None:
        self._last = line.strip()
        if line.startswith("error: "):
            self._error = line.removeprefix("error: ").strip()
        elif line.startswith('{"job": '):
            self.record = _record(line)


def _record(line: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record
