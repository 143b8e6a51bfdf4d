"""The tokenizers that settings give are used, and only if they fit."""

import re
from dataclasses import replace

import pytest
from prefect.logging import disable_run_logger

from flows.stages import Settings, run_stage
from nuwa_model.config import NuwaConfig, VQGANConfig
from nuwa_model.errors import ConfigError
from pipelines import artifacts
from pipelines.command import refuse_unusable
from pipelines.config import RunConfig
from pipelines.errors import ArtifactError
from pipelines.jobs.train_text_tokenizer import train_text_tokenizer
from pipelines.jobs.train_vqgan import train_vqgan
from pipelines.published import import_published
from pipelines.run_tokenizers import find_sketch_tokenizer, find_tokenizer, fingerprint_of
from pipelines.settings import load_config
from tests.published import SMALL, write_checkpoint, write_merges


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with nothing but a tokenizer of each kind, of other shapes than ``tiny``."""
    folder = tmp_path_factory.mktemp("store")
    sketches = replace(SMALL, channels=5, codebook_size=16)
    shallow = replace(SMALL, width_multipliers=(1, 1, 1), attention_resolutions=())
    write_checkpoint(folder / "f.ckpt", shallow)
    write_checkpoint(folder / "s.ckpt", sketches)
    store = str(folder / "store")
    import_published(folder / "f.ckpt", store, "frames")
    import_published(folder / "s.ckpt", store, "sketches")
    import_published(write_merges(folder / "m.txt.gz"), store, "text")
    return store


GIVEN = ("tokenizer=frames", "sketch_tokenizer=sketches", "text_tokenizer=text")


@pytest.mark.parametrize("given", GIVEN)
def test_a_tokenizer_that_does_not_fit_is_refused_before_anything_starts(store, given):
    settings = [f"store={store}", given]
    with pytest.raises(ConfigError) as refused:
        refuse_unusable(load_config(overrides=settings))
    said = str(refused.value)
    assert "\n" not in said
    repair = re.findall(r"[\w.]+=[\w\[\],]+(?<!,)", said)
    assert repair, said
    grid = ["clips.size=32", "model.target_grid=[10,8,8]"] if given == GIVEN[0] else []
    refuse_unusable(load_config(overrides=[*settings, *repair, *grid]))


def test_the_refusal_says_what_is_set_and_what_is_there(store):
    with pytest.raises(ConfigError) as refused:
        find_tokenizer(RunConfig(store=store), "vqgan")
    said = str(refused.value)
    assert "artifacts/vqgan/frames does not fit the settings" in said
    assert "vqgan.codebook_dim is 32 and not 8" in said
    assert "vqgan.width_multipliers=[1,1,1]" in said
    assert "vqgan.width is" not in said, "its width is nobody's business"


@pytest.mark.parametrize("setting", ["tokenizer", "sketch_tokenizer", "text_tokenizer"])
def test_a_tokenizer_that_is_not_there_is_named_before_anything_starts(store, setting):
    config = RunConfig(store=store, **{setting: "nobody"})
    with pytest.raises(ArtifactError, match=r"nobody is neither .* \(known: \w+\)"):
        refuse_unusable(config)


def test_a_sketch_tokenizer_may_lie_elsewhere(store, tmp_path):
    config = RunConfig(
        store=str(tmp_path),
        vqgan_seg=VQGANConfig(channels=5, codebook_size=16, codebook_dim=8),
        model=NuwaConfig(sketch_codebook_size=16, sketch_codebook_dim=8),
    )
    assert find_sketch_tokenizer(config) is None
    given = replace(config, sketch_tokenizer=f"{store}/artifacts/vqgan_seg/sketches")
    found = find_sketch_tokenizer(given)
    assert found is not None
    assert found.name == "sketches"


def test_a_folder_that_was_put_without_a_fingerprint_says_how_to_bring_it(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/config.json").write_text("{}")
    put = artifacts.put(tmp_path / "made", str(tmp_path / "store"), "vqgan", "mine")
    with pytest.raises(ArtifactError, match=r"does not say its fingerprint.*artifacts import"):
        fingerprint_of(put)


def test_a_given_text_tokenizer_is_not_trained(store):
    model = NuwaConfig(text_vocabulary=518, text_length=77)
    record = train_text_tokenizer(RunConfig(store=store, text_tokenizer="text", model=model))
    uri = artifacts.artifact_uri(store, "text_tokenizer", "text")
    assert record == {"was_complete": True, "artifact": uri}
    assert artifacts.list_names(store, "text_tokenizer") == ["text"]


def test_given_tokenizers_of_pictures_are_not_trained(store):
    given = RunConfig(store=store, tokenizer="frames", sketch_tokenizer="sketches")
    assert train_vqgan(given) == {
        "skipped": "frames is given",
        "was_complete": True,
        "sketches": {"skipped": "sketches is given"},
    }


@pytest.mark.parametrize("job", ["train_text_tokenizer", "train_vqgan"])
def test_a_flow_does_not_start_a_job_whose_artifacts_are_given(store, job):
    settings = Settings("tiny", None, (f"store={store}", *GIVEN))
    with disable_run_logger():
        assert run_stage(job, settings) == {"job": job, "was_complete": True}
