"""Run a command for as long as the process that started it lives.

The starter holds the other end of this program's stdin. When it ends, in whatever way, SIGKILL
included, the kernel closes that end, and the command's whole process group is ended too.
"""

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


def start_guarded(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command that ends with this process, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *command],
        stdin=subprocess.PIPE,
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        text=True,
    )


def stop_guarded(process: subprocess.Popen[str], *, timeout_s: float = GRACE_S + 5) -> None:
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


def main() -> None:
    """Run the command of the command line until it ends or stdin does."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_stdin, args=(command,), daemon=True).start()
    sys.exit(command.wait())


def _end_with_stdin(command: subprocess.Popen[bytes]) -> None:
    sys.stdin.read()
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(command.pid, sign)
            command.wait(GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main()
