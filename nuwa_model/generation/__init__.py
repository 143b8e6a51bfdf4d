"""Exact wavefront decoding: the same samples as one token at a time, in far fewer passes."""

from nuwa_model.generation.sample import Samples, Sampling, generate

__all__ = ["Samples", "Sampling", "generate"]
