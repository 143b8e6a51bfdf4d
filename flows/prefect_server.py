"""A Prefect server for one command, where the settings name none.

Prefect would start one by itself, but that one outlives a process ended by SIGKILL.
"""

import atexit
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.guard import free_port, start_guarded, stop_guarded
from nuwa_model.errors import NuwaError

START_TIMEOUT_S = 600.0  # seconds on an idle machine, minutes on one that is not


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


@contextmanager
def serving() -> Iterator[Callable[[], None]]:
    """Use the Prefect server that the settings name, or one of this process's own.

    Yields:
        What returns once that server answers, so that imports can go on meanwhile.
    """
    given = PREFECT_API_URL.value()
    if given and is_healthy(given):
        print(f"Prefect at {given}", flush=True)
        yield lambda: None
        return
    if "PREFECT_API_URL" in os.environ:
        raise PrefectServerError(f"PREFECT_API_URL={given} does not answer; unset or start it.")
    print("Starting Prefect and Ray on this machine, for this command only", flush=True)
    server = PrefectServer()
    # Not at the end of this block: Prefect sends its last words when the process ends, and what
    # was registered first is called last.
    atexit.register(server.stop)
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield server.wait


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        return requests.get(f"{api_url}/health", timeout=5).ok
    except requests.RequestException:
        return False
