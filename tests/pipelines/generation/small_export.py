"""An untrained export of videos of three frames of 16×16 pixels, 4×4 tokens each."""

import torch

from nuwa_model.config import NuwaConfig, VQGANConfig
from nuwa_model.export import Export
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa
from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines.generation.outline import Outline

SIZE, FACTOR, NUM_FRAMES, NUM_CLASSES = 16, 4, 3, 4

OUTLINE = Outline(
    name="small",
    fingerprints={"vqgan": "0123"},
    target_grid=Grid(NUM_FRAMES, 4, 4),
    factor=FACTOR,
    num_classes=NUM_CLASSES,
)


def make_export(*, has_sketches=True):
    torch.manual_seed(0)
    config = NuwaConfig(
        dim=16, num_heads=2, encoder_depth=1, decoder_depth=1, target_grid=Grid(NUM_FRAMES, 4, 4),
        text_vocabulary=300, text_length=8, codebook_size=32, codebook_dim=4,
        sketch_codebook_size=6, sketch_codebook_dim=4,
    )  # fmt: skip
    frames = _tokenizer(3, 32)
    sketches = _tokenizer(NUM_CLASSES, 6) if has_sketches else None
    model = Nuwa(config).eval()
    model.set_codebooks(frames.codebook, None if sketches is None else sketches.codebook)
    text = TextTokenizer.train(["a red circle"], 300, 8)
    return Export(model=model, text=text, frames=frames, sketches=sketches)


def _tokenizer(channels, codebook_size):
    shape = {"resolution": SIZE, "width": 4, "width_multipliers": (1, 1, 1), "latent_channels": 4}
    config = VQGANConfig(channels=channels, codebook_size=codebook_size, codebook_dim=4, **shape)
    return VQGAN(config).eval()
