"""`make up`, a deployment that runs, one that is cancelled, `make down`: on a copy of the tree."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from flows import cluster
from flows.job_server import JobServer
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name in ("flows", "pipelines", "nuwa_model", "infra"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", tree)
    return tree


@pytest.fixture(scope="module")
def run(tree):
    """Run a Python program in the copied tree."""

    def run(*arguments):
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return run


@pytest.fixture(scope="module")
def services(tree, run):
    """What `make up` recorded; afterwards `make down` leaves no process."""
    code, said = run("infra/services.py", "up")
    assert code == 0, said
    records = {path.stem: json.loads(path.read_text()) for path in tree.glob(".services/*.json")}
    leaders = [psutil.Process(record["pid"]) for record in records.values()]
    yield records
    family = [p for leader in leaders for p in (leader, *leader.children(recursive=True))]
    code, said = run("infra/services.py", "down")
    assert code == 0, said
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert not (tree / "prefect.toml").exists()


@pytest.fixture
def deploy(run, tmp_path):
    """Start ``prepare-data/local`` with so many videos; returns what Prefect said."""

    def start(videos, *more):
        settings = [f"store={tmp_path / 'store'}", f"dataset.shapes.num_train={videos}"]
        parameters = ["--param", "preset=tiny", "--param", f"overrides={json.dumps(settings)}"]
        command = ["-m", "prefect", "deployment", "run", "prepare-data/local"]
        return run(*command, *parameters, *more)

    return start


def jobs(services, monkeypatch):
    monkeypatch.setenv(cluster.ADDRESS_VARIABLE, services["ray-head"]["url"])
    return JobServer(cluster.connect())


def test_up_twice_starts_nothing_new(services, run, tree):
    code, said = run("infra/services.py", "up")
    assert code == 0, said
    assert services["prefect-server"]["url"] in said
    assert services["ray-head"]["url"] in said
    again = {path.stem: json.loads(path.read_text()) for path in tree.glob(".services/*.json")}
    assert again == services


def test_a_deployment_runs_to_its_end(services, deploy, tmp_path):
    code, said = deploy(4, "--watch")
    assert code == 0, said
    assert (tmp_path / "store/records/train_text_tokenizer.json").exists()


@pytest.fixture
def running(services, deploy, monkeypatch):
    """Start a long run; returns its id and what tells whether it has a job at work."""
    code, said = deploy(2000)
    assert code == 0, said
    run_id = re.search(r"UUID: (\S+)", said)[1]
    server = jobs(services, monkeypatch)
    wait_until(lambda: server.running(flow_run=run_id))
    return run_id, lambda: server.running(flow_run=run_id)


def test_a_cancelled_run_stops_its_job(running, run):
    run_id, is_at_work = running
    code, said = run("-m", "prefect", "flow-run", "cancel", run_id)
    assert code == 0, said
    wait_until(lambda: not is_at_work())


def test_a_run_whose_process_is_killed_stops_its_job(running, services):
    _, is_at_work = running
    (engine,) = psutil.Process(services["worker"]["pid"]).children()
    engine.kill()
    wait_until(lambda: not is_at_work())


def wait_until(holds, timeout_s=180):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)
