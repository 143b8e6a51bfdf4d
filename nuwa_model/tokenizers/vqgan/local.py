"""A VQ-GAN whose tokens depend on their surroundings only.

Group normalization and attention mix the whole picture into every latent: when an object at the
other end changes its size, the token of a plain background tile changes too. A large network with
millions of pictures lives with that; a small one hands the transformer noise to predict. Where
``VQGANConfig.is_local`` says so, every position is normalized by itself and attention is left out.
Names and shapes of all other weights stay those of the published family.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nuwa_model.tokenizers.vqgan.autoencoder import AttentionBlock


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


def make_local(module: nn.Module) -> None:
    """Swap norms for ``PositionNorm`` and attention for nothing, everywhere inside."""
    for name, child in module.named_children():
        if isinstance(child, AttentionBlock):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.GroupNorm):
            setattr(module, name, PositionNorm(child.num_channels))
        else:
            make_local(child)
