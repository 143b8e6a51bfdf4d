"""SIGTERM, as a scheduler sends it before it takes a machine away."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.errors import TrainingError
from pipelines.training import checkpoint
from tests.conftest import ROOT
from tests.pipelines.training import toy
from tests.pipelines.training.test_resume import weights
from tests.pipelines.training.toy import ToyBatches, toy_training, train_toy

SETTINGS = {"steps": 30, "checkpoint_every": 30, "num_workers": 2}


class NoticedBatches(ToyBatches):
    """At step 3 this process is told to end."""

    def batch_at(self, step, micro_batch=0):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch_at(step, micro_batch)


def test_a_notice_saves_the_step_that_runs_and_the_run_goes_on_as_if_there_had_been_none(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingError, match=r"toy was told to end and saved step 4 as .*00000004"):
        train_toy(tmp_path / "told", batches=NoticedBatches(toy_training()), checkpoint_every=100)
    assert signal.getsignal(signal.SIGTERM) is handler
    again = train_toy(tmp_path / "told", checkpoint_every=100)
    whole = train_toy(tmp_path / "whole", checkpoint_every=100)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def train(store, **settings):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", toy.__name__, str(store)]
    command.append(json.dumps({**SETTINGS, **settings}))
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def average(store):
    return load_file(Path(checkpoint.newest(str(store), "toy").uri) / checkpoint.EMA_FILE)


@pytest.mark.slow
def test_two_ranks_that_are_told_to_end_save_the_same_step(tmp_path):
    told = train(tmp_path / "told", pause_s=0.2)
    while not (tmp_path / "told/runs/toy/tensorboard").exists():  # the first step is near
        assert told.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    told.terminate()
    assert "was told to end and saved step" in told.communicate()[1]
    assert 0 < checkpoint.newest(str(tmp_path / "told"), "toy").metadata["step"] < 30
    for store in ("told", "whole"):
        assert train(tmp_path / store).wait() == 0
    again, whole = average(tmp_path / "told"), average(tmp_path / "whole")
    assert all(torch.equal(again[name], whole[name]) for name in whole)
