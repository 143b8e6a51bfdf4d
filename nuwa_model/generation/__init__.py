"""Exact wavefront decoding: the same samples as one token at a time, in far fewer passes."""

from nuwa_model.generation.sample import Samples, Sampling, generate
from nuwa_model.generation.synthesize import Synthesis, synthesize

__all__ = ["Samples", "Sampling", "Synthesis", "generate", "synthesize"]
