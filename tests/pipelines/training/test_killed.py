"""Ranks that are killed while they save: nothing half-written is used, and no weight changes."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from pipelines import artifacts
from pipelines.training import checkpoint
from tests.conftest import ROOT
from tests.pipelines.training import killed_toy, toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def train(store, program=toy, **settings):
    """Exit code of two ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", program.__name__, str(store), json.dumps({"num_workers": 2, **settings})]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def newest(store):
    return checkpoint.newest(str(store), "toy")


def average(store):
    return load_file(artifacts.local_folder(newest(store)) / checkpoint.EMA_FILE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    assert train(store) == 0
    return newest(store).metadata["loss"], average(store)


def refuse_a_difference(store, undisturbed):
    loss, weights = undisturbed
    assert newest(store).metadata["loss"] == loss
    found = average(store)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("killed", "at", "whole"),
    [(1, "shards", 2), (0, "shards", 2), (0, "manifest", 2), (0, "old", 4)],
)
def test_on_a_disk(tmp_path, undisturbed, killed, at, whole):
    assert train(tmp_path, killed_toy, killed=killed, at=at) != 0
    assert newest(tmp_path).metadata["step"] == whole
    assert train(tmp_path) == 0
    refuse_a_difference(tmp_path, undisturbed)


@pytest.mark.parametrize(("killed", "at"), [(1, "upload"), (0, "upload"), (0, "seal")])
def test_in_a_bucket(s3, undisturbed, killed, at):
    assert train(s3, killed_toy, killed=killed, at=at) != 0
    assert newest(s3).metadata["step"] == 2
    assert train(s3) == 0
    refuse_a_difference(s3, undisturbed)
