"""A published VQ-GAN's shape is read off its weights."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import WeightsError
from nuwa_model.presets import SKETCH_VQGANS, VQGANS
from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.shape import published_config

F16 = replace(VQGANS["nuwa_870m"], codebook_size=1024)
F8 = replace(
    F16, width_multipliers=(1, 2, 2, 4), attention_resolutions=(32,), latent_channels=4,
    codebook_dim=4, codebook_size=16_384,
)  # fmt: skip


def weights_of(config):
    """A state dict as published, without the memory it would take."""
    with torch.device("meta"):
        weights = VQGAN(config).state_dict()
    del weights["quantize.handicap"]
    return weights


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(F16, id="ImageNet f16"),
        pytest.param(F8, id="f8"),
        pytest.param(replace(F8, attention_resolutions=()), id="f8 without attention"),
        pytest.param(SKETCH_VQGANS["nuwa_870m"], id="sketches"),
    ],
)
def test_weights_tell_the_config_that_made_them(config):
    assert published_config(weights_of(config)) == config


@st.composite
def published_configs(draw):
    multipliers = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple))
    levels = draw(st.sets(st.integers(0, len(multipliers) - 1)))
    small = st.integers(1, 9)
    return VQGANConfig(
        channels=draw(small),
        resolution=256,
        width=draw(st.sampled_from([128, 160, 192])),
        width_multipliers=multipliers,
        num_res_blocks=draw(st.integers(1, 3)),
        attention_resolutions=tuple(256 >> level for level in sorted(levels)),
        latent_channels=draw(small),
        codebook_size=draw(small),
        codebook_dim=draw(small),
    )


@settings(max_examples=25, deadline=None)
@given(published_configs())
def test_weights_of_any_shape_tell_it(config):
    assert published_config(weights_of(config)) == config


def test_attention_lies_where_it_was_whatever_size_it_was_placed_for():
    placed_for_512 = replace(F16, resolution=512, attention_resolutions=(32,))
    weights = weights_of(placed_for_512)
    assert published_config(weights) == F16
    assert {n: w.shape for n, w in weights.items()} == {
        n: w.shape for n, w in weights_of(F16).items()
    }


def gumbel(weights):
    """The quantizer of DALL-E's kind, which the same code can train."""
    weights["quantize.embed.weight"] = weights.pop("quantize.embedding.weight")


def uneven(weights):
    weights["encoder.down.1.block.0.conv1.weight"] = torch.empty(200, 128, 3, 3, device="meta")


def vast(weights):
    weights["quantize.embedding.weight"] = torch.empty(100_000, 256, device="meta")


def flat(weights):
    weights["encoder.conv_in.weight"] = torch.empty(128, 3, device="meta")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict.clear, "encoder.conv_in.weight is not there"),
        (flat, r"encoder.conv_in.weight is of shape \(128, 3\)"),
        (gumbel, "quantize.embedding.weight is not there"),
        (uneven, "200 channels wide, no multiple of the first convolution's 128"),
        (vast, "must be at most 65536"),
    ],
)
def test_what_cannot_be_read_off_is_named_in_one_line(change, said):
    weights = dict(weights_of(F16))
    change(weights)
    with pytest.raises(WeightsError, match=said) as told:
        published_config(weights)
    assert "\n" not in str(told.value)


def test_a_network_that_ours_would_normalize_otherwise_is_refused():
    with pytest.raises(WeightsError, match="64 channels wide, but below 128"):
        published_config(weights_of(VQGANS["base"]))


def test_a_decoder_that_does_not_fit_its_encoder_is_refused():
    weights = dict(weights_of(replace(F16, width_multipliers=(1, 1), attention_resolutions=())))
    del weights["decoder.up.1.upsample.conv.bias"]
    with pytest.raises(WeightsError, match=r"missing: decoder\.up\.1\.upsample\.conv\.bias\."):
        VQGAN.from_published(weights)
