import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines import artifacts
from pipelines.errors import TrainingError
from pipelines.training import checkpoint
from pipelines.training.loop import train
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_run, toy_training, train_toy

WINDOWS = {"log_every": 4}  # not in step with checkpoints: a window is open when one is written


class PowerCutError(Exception):
    """What a process that is killed does not see."""


class CutBatches(ToyBatches):
    def batch_at(self, step, micro_batch=0):
        if step == 3:
            raise PowerCutError
        return super().batch_at(step, micro_batch)


def train_with_a_cut(store, **settings):
    with pytest.raises(PowerCutError):
        train_toy(store, batches=CutBatches(toy_training(**settings)), **settings)
    return train_toy(store, **settings)


def weights(artifact):
    shards = (Path(artifact.uri) / "deepspeed").glob("*_states.pt")
    states = [torch.load(path, weights_only=False) for path in sorted(shards)]
    average = load_file(Path(artifact.uri) / checkpoint.EMA_FILE)
    return list(_tensors(states)) + [average[name] for name in sorted(average)]


def curve(store):
    lines = (Path(store) / "runs/toy/curve.jsonl").read_text().splitlines()
    # what the clock decides differs each time
    timed = dict.fromkeys(("tokens_per_s", "mfu", "data_wait", "memory_gb"), 0)
    return [{**json.loads(line), **timed} for line in lines]


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_training_resumed_in_the_middle_equals_training_never_stopped(tmp_path, stage):
    whole = train_toy(tmp_path / "whole", zero_stage=stage, **WINDOWS)
    cut = train_with_a_cut(tmp_path / "cut", zero_stage=stage, **WINDOWS)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(cut), strict=True))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")
    assert [(r["step"], r["task"]) for r in curve(tmp_path / "cut")] == [
        (4, "T2I"), (4, "T2V"), (6, "T2I"), (6, "T2V")
    ]  # fmt: skip


@pytest.mark.parametrize("stage", [1, 3])
def test_training_with_checkpointed_layers_equals_training_without(tmp_path, stage):
    kept = train_toy(tmp_path / "kept", zero_stage=stage)
    again = train_toy(tmp_path / "again", zero_stage=stage, activation_checkpointing=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(kept), weights(again), strict=True))
    assert curve(tmp_path / "kept") == curve(tmp_path / "again")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog):
    whole = train_toy(tmp_path / "whole", **WINDOWS)
    train_toy(tmp_path / "cut", **WINDOWS)
    damaged = Path(tmp_path / "cut/artifacts/checkpoint/toy/step-00000006/ema.safetensors")
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    again = train_toy(tmp_path / "cut", **WINDOWS)
    assert "toy/step-00000006" in caplog.text
    assert str(damaged) in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_a_checkpoint_without_its_manifest_does_not_count(tmp_path):
    train_toy(tmp_path)
    (tmp_path / "artifacts/checkpoint/toy/step-00000006/manifest.json").unlink()
    assert checkpoint.newest(str(tmp_path), "toy").name == "toy/step-00000004"


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    (tmp_path / "artifacts/checkpoint/toy/step-00000001").mkdir(parents=True)  # of a killed run
    train_toy(tmp_path, checkpoint_every=1, keep_checkpoints=3)
    folders = sorted(p.name for p in (tmp_path / "artifacts/checkpoint/toy").iterdir())
    assert folders == ["step-00000004", "step-00000005", "step-00000006"]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    first = train_toy(tmp_path)
    assert train_toy(tmp_path, batches=CutBatches(toy_training())) == first


def test_an_odd_number_of_steps_ends_with_a_checkpoint_that_says_how_it_went(tmp_path):
    last = train_toy(tmp_path, steps=5, log_every=3)
    assert last.name == "toy/step-00000005"
    assert set(last.metadata["validation_loss"]) == {"T2I", "T2V"}
    assert last.metadata["precision"] in ("bfloat16", "float32")
    assert last.metadata["tokens_per_s"] > 0
    assert {record["step"] for record in curve(tmp_path)} == {3, 5}
    assert list((tmp_path / "runs/toy/tensorboard").iterdir())


@pytest.mark.parametrize(("factor", "loss"), [(float("nan"), "nan"), (1000.0, r"\d+")])
def test_a_loss_that_explodes_stops_and_names_the_last_good_checkpoint(tmp_path, factor, loss):
    run = toy_run(tmp_path)
    model, calls = toy_model(), []

    def explode(_module, _inputs, logits):
        calls.append(1)
        return logits * (factor if len(calls) > 3 else 1.0)

    model.register_forward_hook(explode)
    with pytest.raises(TrainingError, match=rf"Step 4 .* loss {loss}.*toy/step-00000002"):
        train(run, model, ToyBatches(run.training))
    assert artifacts.list_names(str(tmp_path), "checkpoint") == ["toy/step-00000002"]


def _tensors(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        for key in sorted(tree, key=str):
            yield from _tensors(tree[key])
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from _tensors(item)
