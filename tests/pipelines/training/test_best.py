"""The best validation: kept, exported, and the reason to stop early."""

import math

import pytest
import torch

from pipelines import artifacts
from pipelines.errors import TrainingError
from pipelines.training.best import Best
from pipelines.training.loop import train
from pipelines.training.saved import is_final
from tests.pipelines.training.test_resume import train_with_a_cut, weights
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_run, train_toy

STANDSTILL = {"learning_rate": 0.0, "checkpoint_every": 1, "keep_checkpoints": 1, "steps": 20}


def test_the_best_validation_is_the_lowest_mean_of_its_tasks():
    best = Best()
    for step, losses in enumerate([{"T2I": 3.0, "T2V": 1.0}, {}, {"T2V": 1.5}, {"T2V": 1.5}], 1):
        best.add(step, losses)
    assert (best.step, best.loss, best.num_since) == (3, 1.5, 1)
    assert Best(**best.state()) == best
    assert Best(**Best().state()).loss == math.inf


def test_training_that_stands_still_stops_early_and_keeps_its_best_and_last_checkpoint(
    tmp_path,
):
    last = train_toy(tmp_path, patience=3, **STANDSTILL)
    assert last.name == "toy/step-00000004"
    assert last.metadata["best_step"] == 1
    assert is_final(last, 20)
    kept = artifacts.list_names(str(tmp_path), "checkpoint")
    assert kept == ["toy/step-00000001", "toy/step-00000004"]
    assert train_toy(tmp_path, patience=3, **STANDSTILL) == last  # nothing is left to do


def test_a_cut_changes_nothing_about_when_training_stops_early(tmp_path):
    settings = {**STANDSTILL, "patience": 4}
    whole, cut = train_toy(tmp_path / "whole", **settings), train_with_a_cut(tmp_path, **settings)
    assert (cut.name, cut.metadata["best_step"]) == (whole.name, 1) == ("toy/step-00000005", 1)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(cut), strict=True))


@pytest.mark.parametrize("settings", [{"patience": 1}, {"export": "best"}])
def test_what_needs_validation_is_refused_where_nothing_is_held_out(tmp_path, settings):
    run = toy_run(tmp_path, **settings)
    with pytest.raises(TrainingError, match="no held-out examples"):
        train(run, toy_model(), ToyBatches(run.training))
    assert not list(tmp_path.iterdir())
