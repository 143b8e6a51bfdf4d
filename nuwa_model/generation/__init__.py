"""Exact wavefront decoding: the same samples as one token at a time, in far fewer passes."""

from nuwa_model.generation.frozen import Frozen, freeze
from nuwa_model.generation.longer import generate_frames
from nuwa_model.generation.sample import Request, Samples, Wave, generate
from nuwa_model.generation.sampling import Sampling
from nuwa_model.generation.synthesize import Synthesis, synthesize

__all__ = [
    "Frozen",
    "Request",
    "Samples",
    "Sampling",
    "Synthesis",
    "Wave",
    "freeze",
    "generate",
    "generate_frames",
    "synthesize",
]
