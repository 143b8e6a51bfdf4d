"""Whatever ends, nothing stays behind, and the same command finishes the rest."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from pipelines.artifacts import is_complete, list_names
from pipelines.names import text_tokenizer_name
from pipelines.settings import load_config
from tests.pipelines.training.small_store import make_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 20_000
ENDLESS = (f"training.steps={STEPS}", f"training.checkpoint_every={STEPS}")
MANY = ("dataset.shapes.num_train=300", "dataset.shapes.num_validation=20")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def start_flow(store, tmp_path_factory):
    """``start_flow(name, *settings)``: start a flow on the store by ``nuwa run``."""
    home = tmp_path_factory.getbasetemp() / "prefect"
    started = []

    def start(flow, *settings):
        program = "from flows.cli import main; main()"
        said = (store.parent / f"said-{len(started)}.txt").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-c", program, "run", flow, "--set", f"store={store}", *settings],
            env={**os.environ, "PREFECT_HOME": str(home)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        started.append((process, said))
        return process

    yield start
    for process, said in started:
        process.kill()
        said.seek(0)
        print(said.read())  # pytest shows it if the test failed
        said.close()


@pytest.fixture
def prepare(start_flow):
    """Start ``nuwa run prepare-data`` on enough videos to be in time for an accident."""
    return partial(start_flow, "prepare-data", *MANY)


def wait_for(find, what, timeout_s=600):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError(f"no {what} within {timeout_s} s")


def descendants(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def family_at_work(process, store):
    """All processes of a run, once its first job is writing or decoding videos."""

    def look():
        return list((store / "media/train").glob("*.mp4")) and descendants(process)

    return wait_for(look, "video of the first job")


def named(family, name):
    for process in family:
        try:
            if any(name in word for word in process.cmdline()):
                return process
        except psutil.NoSuchProcess:
            continue
    raise AssertionError(f"no {name} among {family}")


def end(process, store):
    """What the last run had said when it ended."""
    process.wait(600)
    return sorted(store.parent.glob("said-*.txt"))[-1].read_text()


def is_done(store):
    return is_complete(str(store), "text_tokenizer", text_tokenizer_name(load_config()))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_flow_leaves_no_process_and_goes_on(prepare, store, sign):
    run = prepare()
    family = family_at_work(run, store)
    run.send_signal(sign)
    assert run.wait(120) != 0
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive
    assert not is_done(store)
    again = prepare()
    said = end(again, store)
    assert again.returncode == 0, said
    assert "320 sources: 320 with clips" in said
    assert is_done(store)


@pytest.mark.parametrize("victim", ["pipelines.jobs.decode_clips", "raylet", "flows.ray_head"])
def test_a_process_that_is_killed_costs_a_retry(prepare, store, victim):
    run = prepare()
    named(family_at_work(run, store), victim).kill()
    said = end(run, store)
    assert run.returncode == 0, said
    assert said.count("▸ python -m pipelines.jobs.decode_clips") == 2
    assert "320 sources: 320 with clips" in said


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_interrupted_saves_a_checkpoint_first(start_flow, store, sign):
    make_store(store.parent)
    run = start_flow("pretrain", "training.tasks={V2V: 1}", *ENDLESS)

    def is_on_its_way():
        (progress,) = list(store.glob("runs/*/progress.json")) or [None]
        return progress and json.loads(progress.read_text())["done"] > 0

    wait_for(is_on_its_way, "step")
    family = descendants(run)
    run.send_signal(sign)
    assert run.wait(120) != 0
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive
    (saved,) = list_names(str(store), "checkpoint")
    assert 0 < int(saved[-8:]) < STEPS
