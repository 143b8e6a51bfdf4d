"""A job's log, read line by line while it grows, and what it says about the end."""

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

TAIL_LINES = 20

_LOST = re.compile(
    r"ray\.exceptions\.(Actor|Worker|Node|Owner|Object|OutOfMemory|RaySystem|RayActor|Raylet|Rpc)"
    r"|WorkerGroupError|WorkerHealthCheck"
)
"""How a traceback names what a cluster lost, as opposed to a bug in the job."""


class JobLog:
    """The lines of a growing text, each exactly once."""

    def __init__(self) -> None:
        self._seen = 0
        self._error = ""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.record: dict[str, Any] | None = None

    @property
    def error(self) -> str | None:
        """What the job said was wrong, if it ended in an ``error:`` line of its own."""
        return self._error or None

    @property
    def last_line(self) -> str:
        """The last thing the job said."""
        return self._tail[-1] if self._tail else "it said nothing"

    @property
    def blames_the_cluster(self) -> bool:
        """Whether a job that broke off points at a process or machine that was lost."""
        return any(_LOST.search(line) for line in self._tail)

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
        self._tail.append(line.strip())
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
