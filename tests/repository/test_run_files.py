import pytest

from nuwa_model.errors import ConfigError
from pipelines.presets import RUN_PRESETS
from pipelines.settings import load_config
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "infra/runs").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_shipped_run_file_loads(path):
    load_config(str(path))


@pytest.mark.parametrize("preset", RUN_PRESETS)
def test_a_preset_loads(preset):
    assert load_config(preset=preset) == RUN_PRESETS[preset]


def test_a_run_of_still_images_needs_no_word_about_excerpts():
    overrides = ["clips.num_frames=1", "model.target_grid=[1,4,4]"]
    assert load_config(overrides=overrides).clips.num_frames == 1
    with pytest.raises(ConfigError, match="excerpt_frames"):
        load_config(overrides=[*overrides, "training.excerpt_share=0.5"])


def test_as_many_frames_may_be_given_as_an_excerpt_of_another_task_has():
    settings = ("excerpt_share=0.5", "excerpt_frames=2", "given_frames=2", "tasks={V2V: 1, S2V: 1}")
    config = load_config(overrides=[f"finetuning.{setting}" for setting in settings])
    assert config.finetuning.most_frames_given == config.finetuning.excerpt_frames
