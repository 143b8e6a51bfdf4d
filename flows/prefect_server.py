"""A Prefect server for one command, where the settings name none.

Prefect would start one by itself, but that one outlives a process ended by SIGKILL.
"""

import socket
import sys
import tempfile
import time

import requests

from flows.guard import start_guarded, stop_guarded
from nuwa_model.errors import NuwaError

START_TIMEOUT_S = 120.0


class PrefectServerError(NuwaError):
    """A local Prefect server did not start."""


class PrefectServer:
    """A server that runs as long as this process, or until ``stop``."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, lives as long as the server
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}/api"
        prefect = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
        command = [*prefect, "--host", "127.0.0.1", "--port", str(port)]
        self._process = start_guarded(command, log=self._log)

    def wait(self) -> None:
        """Return once the server answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_healthy(self.api_url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PrefectServerError(
                    f"The local Prefect server did not start: {self._last_words()}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server."""
        stop_guarded(self._process)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        return requests.get(f"{api_url}/health", timeout=5).ok
    except requests.RequestException:
        return False


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
