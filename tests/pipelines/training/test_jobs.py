"""The jobs, on a store as small as a user's first folder: three clips and no captions."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from nuwa_model.errors import ConfigError
from nuwa_model.export import Export
from nuwa_model.tokenizers.text import TextTokenizer
from pipelines import artifacts, names
from pipelines.errors import ArtifactError, TrainingError
from pipelines.jobs.finetune import finetune
from pipelines.jobs.pretrain import pretrain
from pipelines.published import import_published
from pipelines.store.leases import live_leases
from pipelines.store.table import StoreTable
from pipelines.training import checkpoint
from pipelines.training.plan import build_model, load_text, load_tokenizers, make_plan
from tests.pipelines.training.small_store import commit_tokens, publish
from tests.published import write_merges


def test_a_run_keeps_the_version_of_the_store_that_it_began_with(config):
    plan = make_plan(config, config.training, "run")
    begun = {"tokens": StoreTable(config.store, "tokens").version()}
    assert plan.store_version == begun
    folder = Path(artifacts.artifact_uri(config.store, "checkpoint", "run/step-00000002"))
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"1")
    about = {"config": {}, "metadata": {"store_version": begun}}
    artifacts.publish(config.store, "checkpoint", "run/step-00000002", folder, **about)
    commit_tokens(config, load_tokenizers(plan)[0].fingerprint, 3, "train")
    assert make_plan(config, config.training, "run").store_version == begun
    assert make_plan(config, config.training, "another").store_version != begun


def test_a_run_keeps_the_text_tokenizer_that_it_began_with(config, tmp_path):
    name = names.text_tokenizer_name(config, has_captions=False)
    text = TextTokenizer.train([], config.model.text_vocabulary, config.model.text_length)
    publish(config, "text_tokenizer", name, text, tmp_path / "bytes")
    folder = Path(artifacts.artifact_uri(config.store, "checkpoint", "run/step-00000002"))
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"1")
    about = {"store_version": {}, "text_tokenizer": name}
    artifacts.publish(
        config.store, "checkpoint", "run/step-00000002", folder, config={}, metadata=about
    )
    assert make_plan(config, config.training, "run").text.endswith(name)
    assert not make_plan(config, config.training, "another").text.endswith(name)


def test_imported_merges_of_clip_are_the_text_tokenizer_of_the_plan(config, tmp_path):
    merges = write_merges(tmp_path / "merges.txt.gz")
    imported = import_published(merges, config.store)
    model = replace(config.model, **imported.settings["model"])
    given = replace(config, model=model, text_tokenizer=imported.settings["text_tokenizer"])
    plan = make_plan(given, given.training, names.pretrain_name(given))
    assert plan.text == imported.artifact.uri
    expected = TextTokenizer.from_clip(merges).encode(["the red"])
    assert all(map(torch.equal, load_text(plan).encode(["the red"]), expected))
    assert not make_plan(config, config.training, "run").text.endswith(imported.artifact.name)


def test_a_training_of_no_steps_is_refused(config):
    with pytest.raises(ConfigError, match="nothing would be trained"):
        make_plan(config, replace(config.training, steps=0), "run")


def test_equal_settings_build_equal_models(config):
    plan = make_plan(config, config.training, "run")
    first, second = (build_model(plan, *load_tokenizers(plan)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    frames = load_tokenizers(plan)[0].codebook
    expected = (frames - frames.mean(0)) / (frames.std() + 1e-6)
    assert torch.equal(first["decoder.embedding.codebook"], expected)


def test_layers_are_checkpointed_where_the_settings_say_so(config):
    training = replace(config.training, activation_checkpointing=True)
    plan = make_plan(config, training, "run")
    model = build_model(plan, *load_tokenizers(plan))
    assert model.encoder.layers.is_checkpointed
    assert model.decoder.layers.is_checkpointed


def test_finetuning_without_a_pretrained_model_says_what_to_run(config):
    with pytest.raises(ArtifactError, match="run the flow pretrain first"):
        finetune(config)


def test_a_pretrained_model_of_another_shape_is_refused(config, tmp_path):
    plan = make_plan(config, config.training, "run")
    frames, sketches = load_tokenizers(plan)
    text = TextTokenizer.from_pretrained(plan.text)
    export = Export(model=build_model(plan, frames, sketches), text=text, frames=frames)
    export.save(tmp_path / "export")
    deeper = replace(config, model=replace(config.model, decoder_depth=3))
    with pytest.raises(TrainingError, match="another shape"):
        build_model(replace(plan, config=deeper, initial=str(tmp_path / "export")), frames, None)


@contextmanager
def leases_seen(store):
    """Leases that were held at any time within a ``with`` statement."""
    seen, stop = {}, threading.Event()

    def look():
        while not stop.wait(0.1):
            seen.update(live_leases(store))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_clips_without_captions_become_a_model_and_a_finetuned_one(config):
    versions = {"tokens": StoreTable(config.store, "tokens").version()}
    try:
        with leases_seen(config.store) as seen:
            record = pretrain(config)
        assert [(held.role, held.versions) for held in seen.values()] == [("reader", versions)]
        assert live_leases(config.store) == {}
        assert pretrain(config) == {"was_complete": True, "export": record["export"]}
        pretrained = artifacts.load(record["export"])
        assert pretrained.metadata["validation_loss"] == {}
        assert {point["step"] for point in pretrained.metadata["curve"]} == {5}
        finetuned = finetune(config)
        before, after = (Export.load(r["export"]).model for r in (record, finetuned))
        moved = (before.decoder.head.bias - after.decoder.head.bias).abs().max()
        assert 0 < moved < 0.1
        assert artifacts.load(finetuned["export"]).metadata["initial"] == record["export"]
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_stops_early_ends_with_an_export_of_its_best_checkpoint(config):
    frames = load_tokenizers(make_plan(config, config.training, "run"))[0]
    commit_tokens(config, frames.fingerprint, 3, "validation")
    standstill = {"learning_rate": 0.0, "checkpoint_every": 1, "patience": 2, "export": "best"}
    config = replace(config, training=replace(config.training, **standstill))
    try:
        record = pretrain(config)
    finally:
        ray.shutdown()
    assert (record["step"], record["steps"]) == (1, 5)
    newest = checkpoint.newest(config.store, names.pretrain_name(config))
    assert newest.metadata["step"] == 3
    assert pretrain(config)["was_complete"]
