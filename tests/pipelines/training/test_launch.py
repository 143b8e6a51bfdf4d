import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
import torch
from ray.train import WorkerGroupError
from safetensors.torch import load_file

from pipelines.errors import TrainingError
from pipelines.training import checkpoint
from pipelines.training.launch import launch
from pipelines.training.loop import train
from pipelines.training.ranks import Ranks
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_run, train_toy

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def _ray():
    yield
    ray.shutdown()


def average(store):
    return load_file(Path(checkpoint.newest(str(store), "toy").uri) / checkpoint.EMA_FILE)


def test_two_ranks_equal_one_at_the_same_global_batch(tmp_path):
    one = train_toy(tmp_path / "one")
    settings = '{"num_workers": 2}'
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
    ]
    command += ["-m", "tests.pipelines.training.toy", str(tmp_path / "two"), settings]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    two = checkpoint.newest(str(tmp_path / "two"), "toy")
    assert two.metadata["world_size"] == 2
    # Only sums over the batch are rounded elsewhere; bfloat16 has eight bits.
    assert two.metadata["loss"] == pytest.approx(one.metadata["loss"], rel=2e-3)
    assert two.metadata["validation_loss"] == pytest.approx(
        one.metadata["validation_loss"], rel=2e-3
    )


@dataclass(frozen=True)
class KilledBatches(ToyBatches):
    """At step 3 one rank is killed, once."""

    marker: Path = Path()

    def batch_at(self, step, micro_batch=0):
        if step == 3 and self.rank == 1 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch_at(step, micro_batch)


def train_rank(plan, observers):
    store, marker = plan
    run, ranks = toy_run(store, num_workers=2), Ranks.from_environment()
    batches = KilledBatches(run.training, ranks.rank, ranks.world_size, marker=marker)
    train(run, toy_model(), batches, observers=observers)


def launch_toy(store, marker):
    root = toy_run(store).root
    launch(train_rank, (str(store), marker), root=root, num_workers=2, steps=6)
    return average(store)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_ray")
def test_a_rank_that_is_killed_changes_no_weight(tmp_path, caplog):
    killed = launch_toy(tmp_path / "killed", tmp_path / "marker")
    assert "event=restart" in caplog.text
    whole = launch_toy(tmp_path / "whole", tmp_path / "marker")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def train_slowly(store, observers):
    run = toy_run(store, steps=30)
    batches = ToyBatches(run.training, pause_s=0.2)  # leaves time to kill somebody
    train(run, toy_model(), batches, observers=observers)


def launch_slowly(store):
    root = toy_run(store).root
    launch(train_slowly, store, root=root, num_workers=1, steps=30, saves_when_told=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_ray")
def test_a_job_that_is_killed_goes_on_at_once_when_it_is_started_again(tmp_path):
    command = f"from {__name__} import launch_slowly; launch_slowly({str(tmp_path)!r})"
    job = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, start_new_session=True)
    while checkpoint.newest(str(tmp_path), "toy") is None:
        assert job.poll() is None
        time.sleep(0.1)
    job.kill()  # nothing has the time to clean up
    job.wait()
    reached = checkpoint.newest(str(tmp_path), "toy").metadata["step"]
    launch_slowly(str(tmp_path))
    last = checkpoint.newest(str(tmp_path), "toy")
    assert reached < last.metadata["step"] == 30
    torch.set_num_threads(int(ray.cluster_resources()["CPU"]))  # as many as the rank had
    train_toy(tmp_path / "whole", steps=30)
    killed, whole = average(tmp_path), average(tmp_path / "whole")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_told_to_end_saves_first(tmp_path):
    command = f"from {__name__} import launch_slowly; launch_slowly({str(tmp_path)!r})"
    job = subprocess.Popen(
        [sys.executable, "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    progress = tmp_path / "runs/toy/progress.json"
    while not progress.exists() or json.loads(progress.read_text())["done"] == 0:
        assert job.poll() is None
        time.sleep(0.1)
    job.terminate()
    assert "toy was told to end and saved step" in job.communicate()[1]
    assert 0 < checkpoint.newest(str(tmp_path), "toy").metadata["step"] < 30


def refuse(plan, observers):
    raise TrainingError("what is wrong, in one line")


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_deliberate_error_of_a_rank_is_the_error_of_the_job_and_not_tried_again(tmp_path, caplog):
    with pytest.raises(TrainingError, match=r"^what is wrong, in one line$"):
        launch(refuse, None, root=str(tmp_path / "run"), num_workers=1, steps=1)
    assert "event=restart" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_settings_for_this_cluster_are_not_left_to_the_next_one(tmp_path):
    def settings():
        return {name for name in os.environ if name.startswith("RAY_TRAIN_")}

    before = settings()
    with pytest.raises(TrainingError):
        launch(refuse, None, root=str(tmp_path / "run"), num_workers=1, steps=1)
    assert settings() == before


def stumble(plan, observers):
    raise IndexError("a bug")


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_bug_is_not_tried_again(tmp_path, caplog):
    with pytest.raises(WorkerGroupError, match="a bug"):
        launch(stumble, None, root=str(tmp_path / "run"), num_workers=1, steps=1)
    assert "event=restart" not in caplog.text
