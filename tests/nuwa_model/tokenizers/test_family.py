"""Our state dict is that of the checkpoints published by Esser et al. 2021."""

from dataclasses import replace

import torch

from nuwa_model.presets import VQGANS
from nuwa_model.tokenizers.vqgan import VQGAN

F16 = replace(VQGANS["nuwa_870m"], codebook_size=1024)  # the published one has 1024 codes


class Published(dict):
    """Names and shapes of the ImageNet F16 checkpoint's first stage, written down by hand."""

    def conv(self, name, out, into, size=3):
        self[f"{name}.weight"], self[f"{name}.bias"] = (out, into, size, size), (out,)

    def norm(self, name, width):
        self[f"{name}.weight"], self[f"{name}.bias"] = (width,), (width,)

    def block(self, name, into, out):
        self.norm(f"{name}.norm1", into)
        self.conv(f"{name}.conv1", out, into)
        self.norm(f"{name}.norm2", out)
        self.conv(f"{name}.conv2", out, out)
        if into != out:
            self.conv(f"{name}.nin_shortcut", out, into, 1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)

    def middle(self, name):
        self.block(f"{name}.block_1", 512, 512)
        self.attention(f"{name}.attn_1", 512)
        self.block(f"{name}.block_2", 512, 512)

    def encoder(self):
        self.conv("encoder.conv_in", 128, 3)
        widths = [(128, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
        for level, (into, out) in enumerate(widths):
            self.block(f"encoder.down.{level}.block.0", into, out)
            self.block(f"encoder.down.{level}.block.1", out, out)
            if level < 4:
                self.conv(f"encoder.down.{level}.downsample.conv", out, out)
        self.attention("encoder.down.4.attn.0", 512)
        self.attention("encoder.down.4.attn.1", 512)
        self.middle("encoder.mid")
        self.norm("encoder.norm_out", 512)
        self.conv("encoder.conv_out", 256, 512)

    def decoder(self):
        self.conv("decoder.conv_in", 512, 256)
        self.middle("decoder.mid")
        widths = [(128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]
        for level, (into, out) in enumerate(widths):
            self.block(f"decoder.up.{level}.block.0", into, out)
            self.block(f"decoder.up.{level}.block.1", out, out)
            self.block(f"decoder.up.{level}.block.2", out, out)
            if level > 0:
                self.conv(f"decoder.up.{level}.upsample.conv", out, out)
        for i in range(3):
            self.attention(f"decoder.up.4.attn.{i}", 512)
        self.norm("decoder.norm_out", 128)
        self.conv("decoder.conv_out", 3, 128)

    def quantizer(self):
        self["quantize.embedding.weight"] = (1024, 256)
        self.conv("quant_conv", 256, 256, 1)
        self.conv("post_quant_conv", 256, 256, 1)


def test_every_published_name_and_shape_is_ours_and_no_other():
    with torch.device("meta"):
        ours = {name: tuple(w.shape) for name, w in VQGAN(F16).state_dict().items()}
    published = Published()
    published.encoder()
    published.quantizer()
    published.decoder()
    # Ours alone: the handicap of entropy-constrained codebooks, zero for published weights.
    assert ours.pop("quantize.handicap") == (1024,)
    assert ours == published


def test_wide_networks_normalize_in_32_groups_as_published():
    with torch.device("meta"):
        model = VQGAN(F16)
    groups = {m.num_groups for m in model.modules() if isinstance(m, torch.nn.GroupNorm)}
    assert groups == {32}


def test_attention_stays_at_sizes_it_was_not_configured_for():
    with torch.device("meta"):
        tokens = VQGAN(F16).encode(torch.zeros(1, 3, 336, 336))
    assert tuple(tokens.shape) == (1, 21, 21)
