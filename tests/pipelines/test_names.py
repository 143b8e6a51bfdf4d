"""A store that stands keeps its names."""

from dataclasses import replace

import pytest

from pipelines import names
from pipelines.settings import load_config

NAMED = {
    "tiny": ("vqgan-6b98cfd8", "bpe-33cc64ed", "pretrain-1d6909cb", "finetune-d5d51ac6"),
    "demo": ("vqgan-c1496a77", "bpe-74cd1e79", "pretrain-ffa942a0", "finetune-e2efc537"),
    "nuwa_870m": ("vqgan-7fc09f1f", "bpe-f468808c", "pretrain-79fc8875", "finetune-d76c2675"),
}


@pytest.mark.parametrize("preset", NAMED)
def test_artifacts_of_existing_stores_are_found_under_the_names_they_were_given(preset):
    config = load_config(preset=preset)
    made = (names.vqgan_name, names.text_tokenizer_name, names.pretrain_name, names.finetune_name)
    assert tuple(name(config) for name in made) == NAMED[preset]


def test_a_run_with_a_given_frame_tokenizer_keeps_its_name_too():
    config = replace(load_config(), tokenizer="mine")
    assert names.pretrain_name(config) == "pretrain-c0e59239"


def test_a_run_keeps_its_name_when_its_layers_are_checkpointed_from_now_on():
    config = load_config()
    training = replace(config.training, activation_checkpointing=True)
    assert names.pretrain_name(replace(config, training=training)) == names.pretrain_name(config)


@pytest.mark.parametrize("run_name", [names.pretrain_name, names.finetune_name])
def test_runs_that_differ_in_a_given_tokenizer_differ_in_name(run_name):
    settings = ("tokenizer", "sketch_tokenizer", "text_tokenizer")
    given = [{}, *({setting: name} for setting in settings for name in ("a", "b"))]
    given.append({"sketch_tokenizer": "a", "text_tokenizer": "a"})
    config = load_config()
    found = {run_name(replace(config, **some)) for some in given}
    assert len(found) == len(given)


def test_a_run_goes_on_with_any_number_of_ranks():
    more = ("training.num_workers=4", "vqgan_training.num_workers=4")
    config, moved = load_config(), load_config(overrides=more)
    for name in (names.pretrain_name, names.finetune_name, names.vqgan_name):
        assert name(config) == name(moved)


def test_a_fine_tuning_is_named_by_given_frames_only_where_its_tasks_are_given_any():
    made = {
        (task, count): names.finetune_name(load_config(overrides=(
            f"finetuning.tasks={{{task}: 1.0}}", f"finetuning.given_frames={count}"
        )))
        for task in ("T2V", "V2V")
        for count in (0, 1)
    }  # fmt: skip
    assert made["T2V", 0] == made["T2V", 1]
    assert made["V2V", 0] != made["V2V", 1]


def test_a_fine_tuning_that_reads_whole_videos_is_not_taken_for_one_that_read_excerpts_of_them():
    def name(*overrides):
        return names.finetune_name(load_config(preset="demo_full", overrides=overrides))

    assert name() == "finetune-83660fe6"  # finetune-b7818c23 read excerpts
    assert name("finetuning.excerpt_share=0") == "finetune-caaf9e9b"
    assert name("finetuning.given_frames=0") == "finetune-02282e3d"
    assert name("finetuning.tasks={T2V: 1.0}") == "finetune-583d175f"


def test_runs_of_other_kinds_of_attention_have_other_names():
    config = load_config()
    kinds = [{}, {"encoder_attention": "full"}, {"decoder_attention": "full"}]
    kinds += [{"decoder_attention": "axial"}, {"decoder_attention": "nearby"}]
    found = [names.pretrain_name(replace(config, model=replace(config.model, **k))) for k in kinds]
    assert len(set(found)) == 4
    assert found[0] == found[-1]


def test_what_a_run_exports_has_a_name_of_its_own_but_the_run_has_not():
    config, best = load_config(), load_config(overrides=("training.export=best",))
    assert names.pretrain_name(config) == names.pretrain_name(best)
    assert names.pretrain_export_name(config) == names.pretrain_name(config)
    assert names.pretrain_export_name(best) == f"{names.pretrain_name(config)}-best"
