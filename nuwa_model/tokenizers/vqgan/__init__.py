"""The VQ-GAN of Esser et al. 2021 (https://arxiv.org/abs/2012.09841)."""

from nuwa_model.tokenizers.vqgan.model import VQGAN, VQGANOutput

__all__ = ["VQGAN", "VQGANOutput"]
