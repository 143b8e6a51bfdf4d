import pytest

from nuwa_model.errors import ConfigError
from pipelines.settings import load_config


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.step=5", "there is no setting training.step. Did you mean training.steps?"),
        ("trainig.steps=5", "there is no setting trainig.steps. Did you mean training.steps?"),
        ("dataset.shapes.num_v=3", "there is no setting dataset.shapes.num_v"),
        ("training.batch_size=0", "training.batch_size (0) must be at least 1"),
        ("training.gradient_accumulation=0", "training.gradient_accumulation (0) must be"),
        ("training.text_dropout=5", "training.text_dropout (5.0) must be from 0 to 1"),
        ("generation.given_frames=99", "must be less than clips.num_frames (10)"),
        ("training.given_frames=-1", "training.given_frames (-1) must be at least 0"),
        ("training.given_frames=10", "(10) must be less than clips.num_frames (10), or nothing is"),
        ("generation.num_samples=-1", "generation.num_samples (-1) must be at least 1"),
        ("generation.tasks=[]", "must name at least one task"),
        ('generation.prompts=["a dog"]', "set generation.tasks to T2I, T2V or both"),
        ('generation.prompts=[" "]', "holds an empty text"),
        ('generation.num_candidates={"TI2I": 0}', "must be at least 1 for TI2I"),
        ('generation.num_candidates={"V2V": 2}', "must be 1 for V2V, of which all fit as well"),
        ("clips.size=31", "clips.size (31) must be a multiple of 8"),
        ("fetch.concurrency=0", "fetch.concurrency (0) must be at least 1"),
        ("clips.shard_sources=0", "clips.shard_sources (0) must be at least 1"),
        ("dataset.validation_fraction=2", "dataset.validation_fraction (2.0) must be from 0 to 1"),
        ("model.num_heads=0", "model.num_heads (0) must be at least 1"),
        ("training.betas=[2,3]", "must be two numbers of at least 0 and below 1"),
        ("training.tasks={T2V: .nan}", "must give at least one task a positive weight"),
        ("training.tasks={T2V: .inf}", "must give at least one task a positive weight"),
        ("training.patience=-1", "training.patience (-1) must be at least 0"),
        ("training.export=worst", "training.export"),
        ("finetuning.steps=-1", "finetuning.steps (-1) must be at least 0"),
        ("dataset.shapes.size=2", "dataset.shapes.size (2) must be from 8 to 4096"),
        (
            "training.learning_rate=.inf",
            "training.learning_rate (inf) must be finite, and at least",
        ),
        ("vqgan_training.commitment_weight=.nan", "vqgan_training.commitment_weight (nan) must be"),
        ("ablation.seeds=100000000", "ablation.seeds (100000000) must be from 1 to 100"),
        ("vqgan.width_multipliers=[]", "vqgan.width_multipliers (()) must be one number a level"),
        ("vqgan_seg.resolution=12", "vqgan_seg.resolution (12) must be a multiple of"),
        ("vqgan.codebook_size=65537", "vqgan.codebook_size (65537) must be at most 65536"),
        ("vqgan.attention_resolutions=[5]", "must be some of [32, 16, 8, 4], the pixels of each"),
        ("vqgan.channels=4", "vqgan.channels is 4, but frames are RGB; expected 3"),
        ("vqgan_seg.channels=3", "vqgan_seg.channels is 3, which means RGB frames: set it to 4"),
        ("vqgan_seg.channels=257", "vqgan_seg.channels (257) must be from 1 to 256"),
        ("vqgan_seg.codebook_size=99", "model.sketch_codebook_size is 32 and vqgan_seg.codebook_"),
        (
            "vqgan_training.num_workers=3",
            "batch_size (16) must be a multiple of num_workers (3)",
        ),
        ("store=", "store is empty"),
        ("noequals", "--set: 'noequals' sets nothing; expected key=value"),
        ("training.steps=x", "--set: training.steps: Expected int. Got value: x"),
        ("clips.frame_format=gif", "clips.frame_format: Expected jpeg, png. Got value: gif"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(setting, said):
    with pytest.raises(ConfigError) as refused:
        load_config(overrides=[setting])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_misspelled_key_of_a_run_file_is_refused_by_name(tmp_path):
    run = tmp_path / "run.yaml"
    run.write_text("training: {step: 5}\n")
    with pytest.raises(ConfigError, match=r"no setting training\.step\. Did you mean .*steps\?"):
        load_config(str(run))


def test_a_number_of_a_run_file_is_refused_by_its_whole_name(tmp_path):
    run = tmp_path / "run.yaml"
    run.write_text("finetuning: {batch_size: 0}\n")
    with pytest.raises(ConfigError, match=r"^finetuning\.batch_size \(0\) must be at least 1"):
        load_config(str(run))
