"""The command in a report resolves to the settings of its run."""

import shlex
from dataclasses import replace

import pytest

from pipelines.evaluation.command import command_for
from pipelines.presets import RUN_PRESETS
from pipelines.settings import load_config

TINY = RUN_PRESETS["tiny"]


@pytest.mark.parametrize("preset", RUN_PRESETS)
def test_a_preset_is_its_own_command(preset):
    assert command_for(RUN_PRESETS[preset], "demo") == f"nuwa run demo --preset {preset}"


def test_changed_settings_are_said_and_give_the_same_settings_again():
    config = replace(
        TINY,
        store="somewhere/with a space",
        dataset=replace(TINY.dataset, name="folder", validation_fraction=0.25),
        training=replace(TINY.training, steps=3, tasks={"V2V": 1.0}, betas=(0.8, 0.9)),
        generation=replace(TINY.generation, tasks=("V2V",)),
    )
    words = shlex.split(command_for(config, "demo"))
    assert words[:5] == ["nuwa", "run", "demo", "--preset", "tiny"]
    assert load_config(preset="tiny", overrides=words[6:]) == config
