"""Published checkpoints give the tokens and pixels of the code that trained them."""

import os
import sys
from collections import OrderedDict
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from nuwa_model.errors import WeightsError
from nuwa_model.presets import VQGANS
from nuwa_model.tokenizers.checkpoints import read_tensors
from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.quantize import VectorQuantizer

F16 = replace(VQGANS["nuwa_870m"], codebook_size=1024)
F8 = replace(
    F16, width_multipliers=(1, 2, 2, 4), attention_resolutions=(32,), latent_channels=4,
    codebook_dim=4,
)  # fmt: skip
SMALL = replace(VQGANS["tiny"], attention_resolutions=(4,))


class Reference:
    """The published network written down again, from its paper and the names of its weights.

    It knows weights by name only and computes with torch's primitives.
    """

    def __init__(self, weights, resolution, attention_resolutions):
        self.w, self.attended = weights, {resolution // size for size in attention_resolutions}
        self.num_levels = 1 + max(int(n.split(".")[2]) for n in weights if "encoder.down" in n)

    def conv(self, name, x, **more):
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **more)

    def norm(self, name, x):
        return F.group_norm(x, 32, self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps=1e-6)

    def swish(self, x):
        return x * torch.sigmoid(x)

    def block(self, name, x):
        y = self.conv(f"{name}.conv1", self.swish(self.norm(f"{name}.norm1", x)), padding=1)
        y = self.conv(f"{name}.conv2", self.swish(self.norm(f"{name}.norm2", y)), padding=1)
        if f"{name}.nin_shortcut.weight" in self.w:
            x = self.conv(f"{name}.nin_shortcut", x)
        return x + y

    def attention(self, name, x):
        b, c, h, w = x.shape
        normed = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{p}", normed).reshape(b, c, h * w) for p in "qkv")
        share = torch.softmax(torch.bmm(q.transpose(1, 2), k) * c**-0.5, dim=2)
        attended = torch.bmm(v, share.transpose(1, 2)).reshape(b, c, h, w)
        return x + self.conv(f"{name}.proj_out", attended)

    def middle(self, name, x):
        x = self.attention(f"{name}.attn_1", self.block(f"{name}.block_1", x))
        return self.block(f"{name}.block_2", x)

    def level(self, name, x, number, count):
        for i in range(count):
            x = self.block(f"{name}.block.{i}", x)
            if 2**number in self.attended:
                x = self.attention(f"{name}.attn.{i}", x)
        return x

    def latents(self, images):
        x = self.conv("encoder.conv_in", images, padding=1)
        for number in range(self.num_levels):
            x = self.level(f"encoder.down.{number}", x, number, 2)
            if number < self.num_levels - 1:
                padded = F.pad(x, (0, 1, 0, 1))
                x = self.conv(f"encoder.down.{number}.downsample.conv", padded, stride=2)
        x = self.norm("encoder.norm_out", self.middle("encoder.mid", x))
        x = self.conv("encoder.conv_out", self.swish(x), padding=1)
        return self.conv("quant_conv", x)

    def encode(self, images):
        z = self.latents(images).permute(0, 2, 3, 1)
        book = self.w["quantize.embedding.weight"]
        distances = ((z[..., None, :] - book) ** 2).sum(-1)
        return distances.argmin(-1)

    def decode(self, tokens):
        z = self.w["quantize.embedding.weight"][tokens].permute(0, 3, 1, 2)
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", z), padding=1)
        x = self.middle("decoder.mid", x)
        for number in reversed(range(self.num_levels)):
            x = self.level(f"decoder.up.{number}", x, number, 3)
            if number:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x = self.conv(f"decoder.up.{number}.upsample.conv", x, padding=1)
        x = self.swish(self.norm("decoder.norm_out", x))
        return self.conv("decoder.conv_out", x, padding=1).clamp(-1, 1)


def published(config, seed=0):
    """A state dict as published: random weights whose latents use the whole codebook."""
    torch.manual_seed(seed)
    weights = VQGAN(config).state_dict()
    del weights["quantize.handicap"]
    weights["quantize.embedding.weight"].normal_(0, 0.3)
    return weights


@pytest.mark.parametrize("config", [F16, F8], ids=["f16", "f8"])
def test_tokens_and_pixels_are_those_of_the_published_code(config):
    weights = published(config)
    reference = Reference(weights, config.resolution, config.attention_resolutions)
    model = VQGAN.from_taming(weights, config)
    images = torch.rand(1, 3, 48, 80) * 2 - 1
    with torch.no_grad():
        tokens = reference.encode(images)
        pixels = reference.decode(tokens)
    assert len(tokens.unique()) > 3, "else the test could not fail"
    assert torch.equal(model.encode(images), tokens)
    assert (model.decode(tokens) - pixels).abs().max() < 1e-4


class Shout:
    """What a hostile file would have unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def lightning(monkeypatch):
    """A module that is there when a checkpoint is written and not when it is read."""
    module = ModuleType("pytorch_lightning_of_old")

    class ModelCheckpoint(OrderedDict):
        pass

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = module.__name__, "ModelCheckpoint"
    module.ModelCheckpoint = ModelCheckpoint
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip file", "file of before 2020"])
def test_nothing_in_a_file_is_executed_and_its_weights_are_read(tmp_path, lightning, is_zip):
    weights = published(SMALL)
    touched = tmp_path / "touched"
    callback = lightning.ModelCheckpoint(best=1, more=[2])
    callback.state = {"path": Shout(touched)}
    tree = {
        "epoch": 7,
        "callbacks": {lightning.ModelCheckpoint: callback},
        "hyper_parameters": [Shout(touched)],
        "state_dict": OrderedDict(weights, **{"loss.logvar": torch.zeros(1)}),
    }
    path = tmp_path / "last.ckpt"
    torch.save(tree, path, _use_new_zipfile_serialization=is_zip)
    del sys.modules[lightning.__name__]
    model = VQGAN.from_taming(path, SMALL)
    assert not touched.exists()
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in weights.items())


def test_weights_of_another_network_are_named(tmp_path):
    weights = published(SMALL)
    weights["quantize.vectors"] = weights.pop("quantize.embedding.weight")
    weights["quant_conv.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError) as told:
        VQGAN.from_taming(weights, SMALL)
    said = str(told.value)
    assert "missing: quantize.embedding.weight;" in said
    assert "unexpected: quantize.vectors;" in said
    assert "quant_conv.bias is (7,) and not (32,)" in said
    assert "\n" not in said


def test_a_model_saved_by_many_ranks_is_read_as_it_is():
    weights = published(SMALL)
    wrapped = {f"module.{name}": weight for name, weight in weights.items()}
    assert VQGAN.from_taming(wrapped, SMALL).fingerprint == (
        VQGAN.from_taming(weights, SMALL).fingerprint
    )


def test_a_quantizer_of_gumbel_noise_is_called_by_its_name():
    weights = published(SMALL)
    weights["quantize.embed.weight"] = weights.pop("quantize.embedding.weight")
    with pytest.raises(WeightsError, match=r"as a GumbelVQ .* expected a VQModel"):
        VQGAN.from_taming(weights, SMALL)


def test_a_file_of_which_one_byte_changed_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    content = path.read_bytes()
    middle = content.index(bytes(4000)) + 2000
    path.write_bytes(content[:middle] + b"\1" + content[middle + 1 :])
    with pytest.raises(WeightsError, match=r"is damaged, .*data/0 in it .* fetch it again"):
        read_tensors(path)


def test_a_file_that_was_cut_off_is_called_so(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(WeightsError, match=r"is cut off; .* fetch it again"):
        read_tensors(path)


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "x.ckpt").touch()
    with pytest.raises(WeightsError, match=r"x\.ckpt is empty"):
        read_tensors(tmp_path / "x.ckpt")


@pytest.mark.parametrize("content", [b"no checkpoint", b"\x80\x04\x95"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.ckpt cannot be read as a checkpoint"):
        read_tensors(tmp_path / "x.ckpt")


def test_a_checkpoint_that_is_missing_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.ckpt cannot be read"):
        read_tensors(tmp_path / "nowhere.ckpt")


def test_a_program_is_not_loaded(tmp_path):
    torch.jit.script(torch.nn.Identity()).save(str(tmp_path / "x.pt"))
    with pytest.raises(WeightsError, match="is a TorchScript program"):
        read_tensors(tmp_path / "x.pt")


def test_a_checkpoint_without_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {"a": 1}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_tensors(tmp_path / "x.pt")


def test_the_nearest_vector_is_the_one_of_the_whole_formula():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(50, 6)
    latents = torch.randn(2, 6, 3, 4)
    z = latents.permute(0, 2, 3, 1)[..., None, :]
    expected = ((z - quantizer.embedding.weight) ** 2).sum(-1).argmin(-1)
    assert torch.equal(quantizer.nearest(latents), expected)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(odd):
    weights = published(SMALL)
    weights["encoder.conv_in.bias"] = torch.full_like(weights["encoder.conv_in.bias"], odd)
    with pytest.raises(WeightsError, match=r"not finite numbers: encoder\.conv_in\.bias"):
        VQGAN.from_taming(weights, SMALL)


@pytest.mark.parametrize("held", [[1, 2], torch.zeros(3), "text"])
def test_a_state_dict_that_is_none_is_refused_in_one_line(tmp_path, held):
    torch.save({"state_dict": held}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        VQGAN.from_taming(tmp_path / "x.ckpt", SMALL)
