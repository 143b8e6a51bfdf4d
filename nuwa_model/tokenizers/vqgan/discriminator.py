"""The critic that tells originals from reconstructions, patch by patch.

After PatchGAN (Isola et al. 2017, https://arxiv.org/abs/1611.07004) with group norm in place of
batch norm, which needs larger batches than a CPU likes.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Discriminator(nn.Module):
    """Scores each patch of a picture; high means original.

    Args:
        channels: Channels of a picture.
        width: Channels of the first layer.
        num_layers: Layers that halve the picture.
    """

    def __init__(self, channels: int, *, width: int, num_layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(num_layers + 1)]
        self.first = nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1)
        self.rest = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    before,
                    after,
                    kernel_size=4,
                    stride=1 if i == num_layers - 1 else 2,
                    padding=1,
                    bias=False,
                ),
                nn.GroupNorm(max(1, after // 16), after),
            )
            for i, (before, after) in enumerate(pairwise(widths))
        )
        self.score = nn.Conv2d(widths[-1], 1, kernel_size=4, padding=1)

    def forward(
        self, images: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, "b 1 i j"], list[Float[Tensor, "b d k l"]]]:
        """Scores of the patches, and the features of every layer on the way."""
        features = [F.leaky_relu(self.first(images), 0.2)]
        for layer in self.rest:
            features.append(F.leaky_relu(layer(features[-1]), 0.2))
        return self.score(features[-1]), features
