"""A VQ-GAN whose tokens depend on their own patch only.

Group normalization and attention mix the whole picture into every latent, and each 3×3 convolution
reaches a cell further: when an object at the other end moves, the token of a plain background tile
changes too. A large network with millions of pictures lives with that; a small one hands the
transformer noise to predict. Where ``VQGANConfig.is_local`` says so, every position is normalized
by itself, attention is left out, and the encoder's convolutions see one cell, so that a token is a
function of its ``factor`` × ``factor`` pixels. The decoder keeps its 3×3 convolutions, which hide
the borders between patches. Names of all weights stay those of the published family.
"""

from collections import OrderedDict
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_model.tokenizers.vqgan.autoencoder import AttentionBlock, Decoder, Downsample, Encoder


class PositionNorm(nn.GroupNorm):
    """Zero mean and unit variance over the channels of each position, then scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__(num_groups=1, num_channels=width, eps=1e-6)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Computed in float32, returned as it came."""
        # Over the last axis torch does it in one pass, and where channels are innermost this view
        # needs no copy.
        cells = x.float().permute(0, 2, 3, 1)
        weight, bias = self.weight.float(), self.bias.float()
        normed = F.layer_norm(cells, weight.shape, weight, bias, self.eps)
        return normed.permute(0, 3, 1, 2).to(x.dtype)


def make_local(encoder: Encoder, decoder: Decoder) -> None:
    """Make each token depend on its own patch, and each pixel on the tokens around it."""
    for module in (encoder, decoder):
        _swap(module, _positionwise)
    _swap(encoder, _narrow)


def _swap(module: nn.Module, swapped: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put what ``swapped`` makes of them in place of parts, at any depth; it may make none."""
    for name, child in module.named_children():
        new = swapped(child)
        if new is None:
            _swap(child, swapped)
        else:
            setattr(module, name, new)


def _positionwise(module: nn.Module) -> nn.Module | None:
    if isinstance(module, AttentionBlock):
        return nn.Identity()
    return PositionNorm(module.num_channels) if isinstance(module, nn.GroupNorm) else None


def _narrow(module: nn.Module) -> nn.Module | None:
    """Convolutions that see one cell, and halving by whole 2×2 blocks."""
    if isinstance(module, Downsample):
        width = module.conv.in_channels
        return nn.Sequential(OrderedDict(conv=nn.Conv2d(width, width, kernel_size=2, stride=2)))
    if isinstance(module, nn.Conv2d):
        return nn.Conv2d(module.in_channels, module.out_channels, kernel_size=1)
    return None
