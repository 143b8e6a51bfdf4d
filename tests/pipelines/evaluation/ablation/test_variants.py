"""What is compared follows from the settings alone."""

from dataclasses import replace

import pytest

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import ConfigError
from nuwa_model.presets import VQGANS
from pipelines.evaluation.ablation.variants import half_compression, make_variants
from pipelines.presets import RUN_PRESETS
from pipelines.settings import load_config

LARGE = ("clips.size=64", "model.target_grid=[10,8,8]")


def variants_of(*settings):
    return make_variants(load_config(overrides=[*LARGE, *settings]))


def names_of(*settings):
    return [
        variant.artifact_name(training)
        for variant in variants_of(*settings)
        for training in variant.trainings(2)
    ]


@pytest.mark.parametrize(
    "config",
    [load_config(overrides=LARGE), RUN_PRESETS["base"], RUN_PRESETS["nuwa_256"]],
    ids=lambda config: config.store,
)
def test_two_variants_have_four_times_the_tokens_of_the_other_two(config):
    few = (config.clips.size // config.vqgan.factor) ** 2 // 4
    vqvae, vqgan, large, half = make_variants(config)
    assert [v.num_tokens for v in (vqvae, vqgan, large, half)] == [few, few, 4 * few, 4 * few]
    assert [v.size * v.shrink for v in (vqvae, vqgan, large, half)] == [config.clips.size] * 4
    assert large.compression == vqgan.compression
    assert half.compression == vqgan.compression / 4


def test_bits_count_every_token_at_its_fixed_length():
    vqgan = variants_of("vqgan.codebook_size=128", "model.codebook_size=128")[1]
    assert (vqgan.num_tokens, vqgan.bits) == (16, 16 * 7)
    assert vqgan.compression == 32 * 32 * 24 / 112


def test_at_half_the_compression_the_papers_vqgan_is_the_one_of_its_256_pixels():
    assert half_compression(VQGANS["nuwa_870m"]) == VQGANS["nuwa_256"]


def test_levels_that_stay_keep_their_attention():
    vqgan = VQGANConfig(resolution=32, width_multipliers=(1, 2, 4), attention_resolutions=(32, 16))
    assert half_compression(vqgan).attention_resolutions == (32, 16)


def test_a_vqvae_differs_from_its_vqgan_in_the_losses_alone():
    vqvae, vqgan, *_ = variants_of()
    assert vqvae.vqgan == vqgan.vqgan
    assert (vqvae.training.adversarial_weight, vqvae.training.perceptual_weight) == (0, 0)
    losses = ("adversarial_weight", "adversarial_start", "perceptual_weight")
    same = {name: getattr(vqgan.training, name) for name in losses}
    assert replace(vqvae.training, **same) == vqgan.training


def test_equal_settings_give_equal_names_and_all_others_differ():
    assert names_of() == names_of("store=elsewhere", "vqgan_training.log_every=3")
    assert len(set(names_of())) == 8
    assert set(names_of()).isdisjoint(names_of("vqgan_training.learning_rate=2e-3"))


def test_the_losses_of_a_vqgan_leave_its_vqvae_what_it_is():
    changed = names_of(
        "vqgan_training.adversarial_weight=0.3", "vqgan_training.adversarial_start=9"
    )
    assert changed[:2] == names_of()[:2]
    assert set(changed[2:]).isdisjoint(names_of())


def test_in_other_steps_the_discriminator_joins_after_the_same_share_of_them():
    settings = ("vqgan_training.steps=200", "vqgan_training.adversarial_start=50")
    training = variants_of(*settings, "ablation.steps=20")[1].training
    assert (training.steps, training.adversarial_start) == (20, 5)


def test_seeds_follow_each_other_from_that_of_the_tokenizer():
    vqgan = variants_of("vqgan_training.seed=7")[1]
    assert [training.seed for training in vqgan.trainings(3)] == [7, 8, 9]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["vqgan_training.adversarial_weight=0"], "adversarial_weight is 0.*set it above 0"),
        (
            ["vqgan_training.adversarial_start=40"],
            r"adversarial_start \(40\) of .* leaves the discriminator none",
        ),
        (["clips.size=72", "model.target_grid=[10,9,9]"], r"clips.size \(72\).*multiple of 16"),
        (["clips.size=32", "model.target_grid=[10,4,4]"], r"clips.size \(32\).*at least 48"),
        (
            ["vqgan.width_multipliers=[1]", "model.target_grid=[10,64,64]"],
            "is one level.*cannot be halved",
        ),
    ],
)
def test_settings_that_leave_nothing_to_compare_are_refused_in_one_line(settings, says):
    with pytest.raises(ConfigError, match=says) as refusal:
        variants_of(*settings)
    assert "\n" not in str(refusal.value)


def test_an_odd_number_of_tokens_along_a_side_cannot_be_halved():
    with pytest.raises(ConfigError, match=r"clips.size \(336\) must be a multiple of 32"):
        make_variants(RUN_PRESETS["nuwa_870m"])
