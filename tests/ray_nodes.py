"""A Ray cluster of several nodes on this machine, each of which can be taken away whole."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import psutil

from flows.guard import free_port

WAIT = """
import sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.1)
"""
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class Node:
    """A node with one processor; its processes are all that descend from its first one."""

    def __init__(self, *options):
        self._first = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--num-cpus", "1", "--object-store-memory", str(80 << 20)),
                *("--node-ip-address", "127.0.0.1", "--dashboard-agent-listen-port", "0"),
                *options,
            ],
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
            | QUIET,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def family(self):
        """Its processes, the first one included."""
        try:
            first = psutil.Process(self._first.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self):
        """End it as a machine ends that loses its power; nothing of it is left."""
        family = self.family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._first.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive


@contextmanager
def cluster_of(num_workers):
    """Address of a head, and the worker nodes beside it, for the length of a ``with`` statement.

    It lies in a folder of its own, so that no other process of this machine joins it by chance.
    """
    port = free_port()
    address, nodes = f"127.0.0.1:{port}", []
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        try:
            nodes.append(
                Node(
                    *("--head", "--port", str(port), "--temp-dir", folder),
                    *("--include-dashboard", "false", "--ray-client-server-port", str(free_port())),
                )
            )
            for _ in range(num_workers):
                nodes.append(Node("--address", address))
                _wait_for(address, len(nodes))  # two that start at once take each other's ports
            yield address, nodes[1:]
        finally:
            for node in reversed(nodes):
                node.kill()


def _wait_for(address, count, attempts=20):
    """Asks in a process of its own, so that this one joins no cluster."""
    command = [sys.executable, "-c", WAIT, address, str(count)]
    for _ in range(attempts):
        asked = subprocess.run(
            command, env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=120
        )
        if asked.returncode == 0:
            return
        time.sleep(1)  # the head does not answer yet
    raise AssertionError(f"no cluster of {count} nodes: {asked.stderr[-1000:]}")
