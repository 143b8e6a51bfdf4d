"""A Ray head of this machine's own, with its dashboard on loopback.

Run as a program, it keeps a head until stdin closes, prints one JSON line when it is ready, and
takes every process of the head with it. Nothing else ends a head, and nobody else's is touched.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from nuwa_model.errors import NuwaError

OBJECT_STORE_BYTES = 256 * 2**20
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class RayHeadError(NuwaError):
    """A local Ray head did not start."""


class RayHead:
    """A head that runs as long as this process, or until ``stop``.

    Args:
        dashboard_port: Port of the dashboard; 0 takes the first free one from 8265.
    """

    def __init__(self, *, dashboard_port: int = 0) -> None:
        environment = {**os.environ, **ENVIRONMENT}
        # The head must not look for another cluster, and has its own idea of these.
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            environment.pop(name, None)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, lives as long as the head
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.ray_head", "--dashboard-port", str(dashboard_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
            text=True,
        )
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Address of the dashboard; the first look waits until the head is ready."""
        if self._url is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise RayHeadError(f"The local Ray head did not start: {self._last_words()}")
            self._url = json.loads(line)["url"]
        return self._url

    def is_alive(self) -> bool:
        """Whether the head's own process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the head and wait until its processes are gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.wait()}"


def main() -> None:
    """Keep a head until stdin closes, or a signal comes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dashboard-port", type=int, default=0)
    parser.add_argument("--stay", action="store_true", help="until SIGTERM, not stdin's end")
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = Path(tempfile.mkdtemp(prefix="nuwa-ray-"))
    try:
        _keep_head(root, arguments.dashboard_port, stay=arguments.stay)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _keep_head(root: Path, port: int, *, stay: bool) -> None:
    import ray  # here, so that importing this module costs nothing

    context = ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port or None,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.WARNING,
        _temp_dir=str(root),
    )
    try:
        # A job's driver finds its cluster by this file as soon as the machine runs two of them;
        # `ray start` writes it and `ray.init` does not.
        address = ray.get_runtime_context().gcs_address
        (root / "ray_current_cluster").write_text(address)
        print(
            json.dumps({"url": f"http://{context.dashboard_url}", "address": address}), flush=True
        )
        signal.pause() if stay else sys.stdin.read()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
