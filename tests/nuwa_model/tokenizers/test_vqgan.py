"""The VQ-GAN as a whole: shapes, files, identity, and that it can learn."""

import json
from dataclasses import replace

import pytest
import torch

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import GridError, PixelsError, WeightsError
from nuwa_model.tokenizers.base import VisualTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.losses import frame_loss, sketch_loss
from nuwa_model.tokenizers.vqgan.quantize import CodebookTrainer

TINY = VQGANConfig(resolution=16, width=8, width_multipliers=(1, 2, 2), latent_channels=16)
SKETCH = replace(TINY, channels=5)


def make(config=TINY, seed=0):
    torch.manual_seed(seed)
    return VQGAN(config).eval()


def pictures(count=2, size=16, channels=3):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(count, channels, size, size, generator=generator) * 2 - 1


@pytest.mark.parametrize("attention", [(), (8,), (16, 4)])
def test_a_picture_becomes_one_token_for_each_square_of_pixels(attention):
    model = make(replace(TINY, attention_resolutions=attention))
    tokens = model.encode(pictures(size=24))
    assert tokens.shape == (2, 6, 6)
    assert model.decode(tokens).shape == (2, 3, 24, 24)


def test_tokens_lie_in_the_codebook():
    tokens = make().encode(pictures(4))
    assert 0 <= tokens.min() <= tokens.max() < TINY.codebook_size


def test_frames_stay_in_range_and_sketches_are_logits_of_classes():
    tokens = torch.randint(64, (2, 4, 4))
    wild = make()
    wild.decoder.conv_out.bias.data += 10
    assert wild.decode(tokens).abs().max() <= 1
    assert make(SKETCH).decode(tokens).shape == (2, 5, 16, 16)


def test_both_tokenizers_keep_the_one_contract():
    assert isinstance(make(), VisualTokenizer)
    assert isinstance(make(SKETCH), VisualTokenizer)


def test_pictures_that_do_not_fit_the_grid_are_refused_by_size():
    with pytest.raises(GridError, match=r"3×18×18.*multiples of 4"):
        make().encode(pictures(size=18))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 255.0])
def test_pixels_that_are_no_colors_are_refused_in_one_line(value):
    images = pictures()
    images[1, 2, 3, 4] = value
    with pytest.raises(PixelsError, match=r"expected numbers in \[-1, 1\]"):
        make().encode(images)


@pytest.mark.parametrize("token", [-1, 64])
def test_tokens_of_another_codebook_are_refused_in_one_line(token):
    tokens = torch.zeros(1, 4, 4, dtype=torch.int64)
    tokens[0, 1, 2] = token
    with pytest.raises(GridError, match=r"but this VQ-GAN has 64: another one made them"):
        make().decode(tokens)


def test_what_was_saved_loads_and_gives_the_same_tokens(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    loaded = VQGAN.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert loaded.fingerprint == model.fingerprint
    assert torch.equal(loaded.encode(pictures()), model.encode(pictures()))
    assert not loaded.training


def test_the_size_of_latents_changes_no_token_of_a_cosine_codebook():
    model = make(replace(TINY, is_cosine=True))
    images = pictures()
    before = model.encode(images)
    with torch.no_grad():
        model.quant_conv.weight.mul_(3)
        model.quant_conv.bias.mul_(3)
    assert torch.equal(model.encode(images), before)
    assert before.unique().numel() > 1


def test_settings_that_came_later_leave_the_fingerprints_of_older_tokenizers():
    assert "is_cosine" not in TINY.as_dict()
    assert replace(TINY, is_cosine=True).as_dict()["is_cosine"]
    assert make().fingerprint != make(replace(TINY, is_cosine=True)).fingerprint


def test_the_fingerprint_tells_weights_and_settings_apart():
    plain = make().fingerprint
    assert plain == make().fingerprint
    assert len(plain) == 16
    touched = make()
    touched.decoder.conv_out.bias.data[0] += 1e-6
    elsewhere = make(replace(TINY, resolution=32))
    assert len({plain, touched.fingerprint, elsewhere.fingerprint, make(SKETCH).fingerprint}) == 4


def test_damage_is_one_line_that_names_the_folder(tmp_path):
    with pytest.raises(WeightsError, match=str(tmp_path)):
        VQGAN.from_pretrained(tmp_path)
    make().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError) as refusal:
        VQGAN.from_pretrained(tmp_path)
    assert "\n" not in str(refusal.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    make().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"width": 16}))
    with pytest.raises(WeightsError, match="size mismatch"):
        VQGAN.from_pretrained(tmp_path)


@pytest.mark.parametrize("config", [TINY, SKETCH], ids=["frames", "sketches"])
def test_one_batch_can_be_learned_by_heart(config):
    model = make(config).train()
    codebook = CodebookTrainer(model.quantize, seed=0)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    images, loss_of = blocks(config.channels)
    losses = []
    for _ in range(80):
        output = model(images)
        loss = loss_of(output.reconstruction, images)
        optimizer.zero_grad()
        (loss + 0.25 * output.commitment).backward()
        optimizer.step()
        codebook.update(output.latents, output.tokens)
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def blocks(channels):
    """Four pictures of colored quarters, or of labels in quarters."""
    generator = torch.Generator().manual_seed(0)
    if channels == 3:
        coarse = torch.rand(4, 3, 2, 2, generator=generator) * 2 - 1
        return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3), frame_loss
    labels = torch.randint(channels, (4, 2, 2), generator=generator)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return torch.nn.functional.one_hot(labels, channels).movedim(-1, 1).float(), sketch_loss


def pixels_that_reach(model, cell):
    """Which pixels of a 32-pixel picture change the latent of one cell, as a drawn mask."""
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    row, column = cell
    (gradient,) = torch.autograd.grad(model(images).latents[0, :, row, column].sum(), images)
    return gradient[0].abs().sum(dim=0) > 0


def test_a_local_token_depends_on_exactly_the_pixels_under_it():
    model = make(replace(TINY, is_local=True))
    factor = model.config.factor
    reached = pixels_that_reach(model, (1, 2))
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[factor : 2 * factor, 2 * factor : 3 * factor] = True
    assert torch.equal(reached, expected)


def test_a_published_token_depends_on_more_than_the_pixels_under_it():
    model = make()
    assert pixels_that_reach(model, (1, 2)).sum() > model.config.factor**2


def test_a_local_network_has_the_published_names_less_its_attention():
    local = set(make(replace(TINY, is_local=True)).state_dict())
    published = set(make().state_dict())
    assert local < published
    assert all(".attn_1." in name for name in published - local)
