"""Runs that go on with another number of ranks."""

import json
import os
import subprocess
import sys

import pytest
import torch

from pipelines.training import checkpoint
from tests.conftest import ROOT
from tests.pipelines.training import step_of_ranks, toy
from tests.pipelines.training.toy import train_toy

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def start(ranks, program, store, settings, *more):
    settings = json.dumps({"num_workers": ranks, **settings})
    command = [*TORCHRUN, f"--nproc-per-node={ranks}", "-m", program, str(store), settings, *more]
    # torchrun gives one thread to each of several ranks but all to a single one, and on some
    # processors a sum over the batch is rounded by how many threads share it.
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def stepped(tmp_path, ranks, stage):
    out = str(tmp_path / f"step-of-{ranks}.pt")
    start(ranks, step_of_ranks.__name__, tmp_path / "store", {"zero_stage": stage}, out)
    return torch.load(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "before", "after"), [(0, 2, 1), (1, 1, 2), (1, 2, 1), (2, 2, 1), (3, 2, 1)]
)
def test_other_ranks_take_the_very_same_step(tmp_path, stage, before, after):
    start(before, toy.__name__, tmp_path / "store", {"zero_stage": stage, "steps": 4})
    expected, found = (stepped(tmp_path, ranks, stage) for ranks in (before, after))
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-7, msg=name)


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_and_with_more_ranks(tmp_path):
    settings = {"zero_stage": 2, "warmup_fraction": 0.0, "final_fraction": 1.0}  # at every length
    for ranks, steps in ((2, 2), (1, 4), (2, 6)):
        start(ranks, toy.__name__, tmp_path / "moved", {**settings, "steps": steps})
        last = checkpoint.newest(str(tmp_path / "moved"), "toy")
        assert (last.metadata["step"], last.metadata["world_size"]) == (steps, ranks)
    whole = train_toy(tmp_path / "whole", **settings)
    # Only sums over the batch are rounded elsewhere; bfloat16 has eight bits.
    assert last.metadata["loss"] == pytest.approx(whole.metadata["loss"], rel=5e-3)
