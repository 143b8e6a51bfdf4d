"""A machine of the cluster that is announced to be taken away, as a spot instance is."""

import os
import re
import subprocess
import sys
import time

import pytest

from pipelines.training import checkpoint
from tests.conftest import ROOT
from tests.pipelines.training import spread_toy
from tests.pipelines.training.spread_toy import STEPS
from tests.ray_nodes import QUIET, cluster_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def start(address, store):
    return subprocess.Popen(
        [sys.executable, "-m", spread_toy.__name__, str(store)],
        cwd=ROOT,
        env={**os.environ, **QUIET, "RAY_ADDRESS": address},
    )


def announce_the_end(address, worker):
    (raylet,) = [process for process in worker.family() if process.name() == "raylet"]
    node = re.search(r"--node_id=(\w+)", " ".join(raylet.cmdline()))[1]
    command = [*RAY, "drain-node", "--address", address, "--node-id", node]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
    command += ["--deadline-remaining-seconds", "60"]
    subprocess.run(command, env={**os.environ, **QUIET}, check=True, timeout=60)


def hosts_a_rank(worker, store):
    ranks = {int(file.read_text()) for file in store.glob("rank-*.pid")}
    return any(process.pid in ranks for process in worker.family())


def wait_for(found, job):
    while not (something := found()):
        assert job.poll() is None
        time.sleep(0.2)
    return something


def test_ranks_save_before_an_announced_end_and_go_on_elsewhere(tmp_path):
    def newest():
        return checkpoint.newest(str(tmp_path), "toy")

    with cluster_of(num_workers=2) as (address, workers):
        job = start(address, tmp_path)
        try:
            wait_for((tmp_path / "runs/toy/curve.jsonl").exists, job)  # the first step is taken
            victim = next(worker for worker in workers if hosts_a_rank(worker, tmp_path))
            announce_the_end(address, victim)
            assert wait_for(newest, job).metadata["step"] < STEPS
            victim.kill()
            (tmp_path / "go").touch()
            assert job.wait() == 0
        finally:
            job.kill()
    assert (newest().metadata["step"], newest().metadata["world_size"]) == (STEPS, 2)
