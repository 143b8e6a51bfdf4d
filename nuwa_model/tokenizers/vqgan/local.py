"""A VQ-GAN whose tokens depend on their own patch only.

Group normalization and attention mix the whole picture into every latent, and each 3×3 convolution
reaches a cell further: when an object at the other end moves, the token of a plain background tile
changes too. A large network with millions of pictures lives with that; a small one hands the
transformer noise to predict. Where ``VQGANConfig.is_local`` says so, every position is normalized
by itself, attention is left out, and the encoder's convolutions see one cell, so that a token is a
function of its ``factor`` × ``factor`` pixels. The decoder keeps its 3×3 convolutions, which hide
the borders between patches. Names of all weights stay those of the published family.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nuwa_model.tokenizers.vqgan.autoencoder import AttentionBlock, Decoder, Downsample, Encoder


class PositionNorm(nn.GroupNorm):
    """Zero mean and unit variance over the channels of each position, then scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__(num_groups=1, num_channels=width, eps=1e-6)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Computed in float32, returned as it came."""
        centered = x.float()
        centered = centered - centered.mean(dim=1, keepdim=True)
        variance = centered.square().mean(dim=1, keepdim=True)
        normed = centered * torch.rsqrt(variance + self.eps)
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class PatchDownsample(nn.Module):
    """Halves a picture by whole 2×2 blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size=2, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """Each output cell reads its own four."""
        return self.conv(x)


def make_local(encoder: Encoder, decoder: Decoder) -> None:
    """Make each token depend on its own patch, and each pixel on the tokens around it."""
    for module in (encoder, decoder):
        _make_positionwise(module)
    _narrow_convolutions(encoder)


def _make_positionwise(module: nn.Module) -> None:
    """Swap norms for ``PositionNorm`` and attention for nothing, everywhere inside."""
    for name, child in module.named_children():
        if isinstance(child, AttentionBlock):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.GroupNorm):
            setattr(module, name, PositionNorm(child.num_channels))
        else:
            _make_positionwise(child)


def _narrow_convolutions(module: nn.Module) -> None:
    """Swap convolutions for ones that see one cell, everywhere inside."""
    for name, child in module.named_children():
        if isinstance(child, Downsample):
            setattr(module, name, PatchDownsample(child.conv.in_channels))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, nn.Conv2d(child.in_channels, child.out_channels, kernel_size=1))
        else:
            _narrow_convolutions(child)
