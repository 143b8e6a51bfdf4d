"""The notice before the end: SIGTERM, which schedulers send some time before SIGKILL."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Notice:
    """Whether this process was told to end, for the length of a ``with`` statement.

    Nothing is interrupted: who has state to save looks when it can. A process whose main thread is
    somebody else's, as under Ray, is not listened for here.
    """

    def __init__(self) -> None:
        self.is_given = False
        self._previous: Any = None

    def __enter__(self) -> "Notice":
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the signal as it was."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.is_given = True
