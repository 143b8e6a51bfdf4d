"""A Ray head of this machine's own, with its dashboard on loopback.

Run as a program, it keeps a head until stdin closes or SIGTERM comes, and takes every process
of the head with it. Nothing else ends a head, and nobody else's is touched.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from flows.errors import JobLostError
from flows.guard import free_port, keep, start_keeper, stop_guarded

OBJECT_STORE_BYTES = 256 * 2**20
START_TIMEOUT_S = 600.0  # seconds on an idle machine, minutes on one that is not
DASHBOARD_PORT = 8265
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_COLOR_PREFIX": "0",  # in logs that are read in Prefect
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # from SIGTERM to SIGKILL: a training saves a checkpoint
}


class RayHeadError(JobLostError):
    """A local Ray head did not start; Ray gives up early on a machine that is very busy."""


class RayHead:
    """A head that runs as long as this process, or until ``stop``."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, lives as long as the head
        # Not the usual port: of two commands started at once, both might find it free, and one
        # would then give its jobs to the other's head.
        port = free_port()
        self._url, self._is_ready = f"http://127.0.0.1:{port}", False
        program = ["-m", "flows.ray_head", "--dashboard-port", str(port)]
        self._process: subprocess.Popen[str] = start_keeper(program, ENVIRONMENT, self._log)

    @property
    def url(self) -> str:
        """Address of the dashboard; the first look waits until it answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready:
            self._is_ready = answers(self._url)
            if not self._is_ready and (not self.is_alive() or time.monotonic() > deadline):
                raise RayHeadError(f"The local Ray head did not start: {self._last_words()}")
            time.sleep(0.1)
        return self._url

    def is_alive(self) -> bool:
        """Whether the head still runs."""
        return self._process.poll() is None

    def release(self) -> None:
        """Begin to end the head; ``stop`` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        """End the head and wait until its processes are gone."""
        stop_guarded(self._process)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def answers(url: str, *, timeout_s: float = 5.0) -> bool:
    """Whether a Ray dashboard answers at this address and has a node to run jobs on.

    It answers long before its node is there, and on a busy machine the node may never come.
    """
    try:
        reply = requests.get(f"{url}/nodes?view=hostNameList", timeout=timeout_s)
        return reply.ok and bool(reply.json()["data"]["hostNameList"])
    except (requests.RequestException, KeyError, ValueError):
        return False


def usual_port(port: int) -> int:
    """This port, or a free one where somebody has it."""
    try:
        requests.get(f"http://127.0.0.1:{port}", timeout=5)
    except requests.ConnectionError:
        return port
    except requests.RequestException:
        return free_port()
    return free_port()


def main() -> None:
    """Keep a head until stdin closes or SIGTERM comes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dashboard-port", type=int, default=DASHBOARD_PORT)
    parser.add_argument("--stay", action="store_true", help="do not look at stdin")
    arguments = parser.parse_args()
    # The head must not take itself for a part of another cluster, and what asks the dashboard
    # from inside a job must find this one, however many the machine runs.
    os.environ.pop("RAY_ADDRESS", None)
    dashboard = f"http://127.0.0.1:{arguments.dashboard_port}"
    os.environ.update(ENVIRONMENT, RAY_API_SERVER_ADDRESS=dashboard)
    root = Path(tempfile.mkdtemp(prefix="nuwa-ray-"))
    try:
        code = keep(_command(root, arguments.dashboard_port), until_stdin_ends=not arguments.stay)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(code)


def _command(root: Path, dashboard_port: int) -> list[str]:
    """``ray start`` with a folder and ports of its own.

    Two heads that share a folder hand each other's jobs to the wrong cluster, and of two that
    share a port of the dashboard's agent, 52365 by default, the later takes no jobs.
    """
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = {
        "port": 0,
        "ray-client-server-port": free_port(),
        "include-dashboard": "true",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard_port,
        "dashboard-agent-listen-port": 0,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": root,
    }
    return [*ray, *(f"--{name}={value}" for name, value in options.items())]


if __name__ == "__main__":
    main()
