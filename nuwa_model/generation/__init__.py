"""Exact wavefront decoding: the same samples as one token at a time, in far fewer passes."""

from nuwa_model.generation.sample import Samples, Wave, generate
from nuwa_model.generation.sampling import Sampling
from nuwa_model.generation.synthesize import Synthesis, synthesize

__all__ = ["Samples", "Sampling", "Synthesis", "Wave", "generate", "synthesize"]
