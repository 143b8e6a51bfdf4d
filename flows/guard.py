"""Run a command for as long as the process that started it lives.

The starter holds the other end of this program's stdin. When it ends, in whatever way, SIGKILL
included, the kernel closes that end, and the command's whole process group is ended too.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


def start_guarded(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command that ends with this process, out of reach of the terminal's Ctrl-C."""
    return start_keeper([str(Path(__file__).resolve()), *command], environment, log)


def start_keeper(
    program: Sequence[str], environment: Mapping[str, str] | None, log: IO[str] | None
) -> subprocess.Popen[str]:
    """Start a Python program that calls ``keep`` and is told by its stdin when to end."""
    return subprocess.Popen(
        [sys.executable, *program],
        stdin=subprocess.PIPE,
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        text=True,
    )


def stop_guarded(process: subprocess.Popen[str], *, timeout_s: float = 2 * GRACE_S) -> None:
    """End a command started by ``start_guarded`` and wait until it is gone."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep(command: Sequence[str], *, until_stdin_ends: bool = True) -> int:
    """Run a command until it ends, SIGTERM comes or stdin ends; return its exit code.

    Should this process be the one that SIGKILL takes, the kernel sends the command a SIGTERM.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent
    )
    signal.signal(signal.SIGTERM, lambda *_: _end_later(process))
    if until_stdin_ends:
        threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever its leader left behind
    return code


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_with_stdin(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.read()
    _end(process)


def _end_later(process: subprocess.Popen[bytes]) -> None:
    threading.Thread(target=_end, args=(process,), daemon=True).start()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the leader, which knows how to end its family; then end whoever is left."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
