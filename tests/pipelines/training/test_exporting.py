import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nuwa_model.export import Export
from nuwa_model.model import Nuwa
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, names
from pipelines.errors import ArtifactError
from pipelines.generation.outline import export_folder, read_outline
from pipelines.training import checkpoint
from pipelines.training.exporting import export_checkpoint
from pipelines.training.observers import Observers
from pipelines.training.plan import make_plan, train_rank
from pipelines.training.publish import publish_export
from tests.pipelines.training.small_store import publish


@pytest.fixture
def saved(config):
    """Checkpoints of steps 4 and 5."""
    plan = make_plan(config, config.training, names.pretrain_name(config))
    return train_rank(plan, Observers())


@pytest.mark.parametrize("weights", ["ema", "last"])
@pytest.mark.parametrize("step", [4, 5])
def test_any_checkpoint_becomes_an_export(config, saved, tmp_path, weights, step):
    uri = saved.uri.replace("00000005", f"{step:08d}")
    export = export_checkpoint(uri, tmp_path / "out", weights)
    assert (export.metadata["step"], export.metadata["weights"]) == (step, weights)
    model = Nuwa.from_pretrained(tmp_path / "out")
    average = load_file(Path(uri) / checkpoint.EMA_FILE)
    equal = [torch.equal(p, average[name]) for name, p in model.named_parameters()]
    assert all(equal) == (weights == "ema")
    loaded = Export.load(tmp_path / "out")
    assert loaded.frames.fingerprint == saved.metadata["fingerprint"]
    again = replace(config, checkpoint=str(tmp_path / "out"))
    assert artifacts.find(again.store, "export", "", again.checkpoint) == export


def test_where_an_export_is_wanted_a_checkpoint_will_do(saved):
    with export_folder(saved.uri) as found:
        assert read_outline(found).name == saved.name.replace("/", "-")
        Export.load(found.folder)
    assert not found.folder.exists()


@pytest.mark.parametrize("stage", [0, 3])
def test_the_weights_of_the_last_step_are_found_in_the_shards_of_any_stage(config, tmp_path, stage):
    config = replace(config, training=replace(config.training, zero_stage=stage, ema_decay=0.0))
    plan = make_plan(config, config.training, names.pretrain_name(config))
    saved = train_rank(plan, Observers())
    for weights in ("ema", "last"):  # which are the same where the average forgets at once
        export_checkpoint(saved.uri, tmp_path / weights, weights)
    average, last = (Nuwa.from_pretrained(tmp_path / weights) for weights in ("ema", "last"))
    for name, parameter in average.named_parameters():
        torch.testing.assert_close(last.get_parameter(name), parameter, rtol=0, atol=1e-6)


def test_a_folder_with_something_in_it_is_left_alone(saved, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is not an empty folder"):
        export_checkpoint(saved.uri, tmp_path)


def test_a_store_that_lost_the_tokenizer_is_named(config, saved, tmp_path):
    artifacts.delete(config.store, "vqgan", names.vqgan_name(config))
    torch.manual_seed(1)
    publish(config, "vqgan", names.vqgan_name(config), VQGAN(config.vqgan), tmp_path / "another")
    with pytest.raises(ArtifactError, match="bring the first one back"):
        export_checkpoint(saved.uri, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".export-*"))


def test_a_fine_tuned_checkpoint_of_a_store_that_was_moved_finds_its_text_tokenizer(
    config, saved, tmp_path
):
    start = publish_export(make_plan(config, config.training, names.pretrain_name(config)))
    plan = make_plan(config, config.finetuning, names.finetune_name(config), initial=start)
    finetuned = train_rank(plan, Observers())
    moved = Path(config.store).rename(tmp_path / "moved")
    export_checkpoint(finetuned.uri.replace(config.store, str(moved)), tmp_path / "out")
    assert Export.load(tmp_path / "out").text.length == config.model.text_length


def test_a_checkpoint_is_found_from_where_one_stands(saved, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    export_checkpoint(os.path.relpath(saved.uri), Path())
    assert Export.load(tmp_path / "out").frames.fingerprint == saved.metadata["fingerprint"]


def test_a_checkpoint_outside_of_a_store_is_refused(saved, tmp_path):
    shutil.copytree(saved.uri, tmp_path / "copy")
    with pytest.raises(ArtifactError, match="lies in no store"):
        export_checkpoint(str(tmp_path / "copy"), tmp_path / "out")
