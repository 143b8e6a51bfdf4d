"""Tokenizers as others publish them, small enough to be made by a test."""

import gzip
from dataclasses import replace

import torch

from nuwa_model.presets import VQGANS
from nuwa_model.tokenizers.vqgan import VQGAN

# As narrow as published networks may be; placed for 256 pixels, as a file's shape is read.
SMALL = replace(
    VQGANS["tiny"], resolution=256, width=128, width_multipliers=(1, 1, 1, 1),
    attention_resolutions=(32,), latent_channels=8, codebook_dim=8,
)  # fmt: skip


def published_weights(config=SMALL, seed=0):
    """A state dict as published: random weights whose latents use the whole codebook."""
    torch.manual_seed(seed)
    weights = VQGAN(config).state_dict()
    del weights["quantize.handicap"]
    weights["quantize.embedding.weight"].normal_(0, 0.3)
    return weights


def write_checkpoint(path, config=SMALL, **more):
    """A checkpoint as Lightning writes it in training, and the weights in it."""
    weights = published_weights(config)
    beside = {"loss.discriminator.main.0.weight": torch.zeros(2), **more}
    torch.save({"epoch": 7, "callbacks": {}, "state_dict": {**weights, **beside}}, path)
    return weights


def write_merges(path):
    """A list of merges as CLIP's, packed."""
    path.write_bytes(gzip.compress(b"#version: 0.2\nt h\nth e</w>\nr e\nre d</w>\n"))
    return path
