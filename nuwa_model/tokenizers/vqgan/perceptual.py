"""How different two pictures look (Zhang et al. 2018, https://arxiv.org/abs/1801.03924).

LPIPS compares the features of a VGG16 that was trained on ImageNet, channel by channel, with
weights that people's judgements taught. Both files are the user's: nothing is downloaded. Without
them the discriminator's own features are compared (``losses.feature_loss``).
"""

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nuwa_model.errors import WeightsError
from nuwa_model.tokenizers.checkpoints import read_tensors

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Mean and deviation of ImageNet's colors, for pictures in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TINY = 1e-10


class LPIPS(nn.Module):
    """A frozen judge of pictures; make one with ``load``.

    The names of its weights are those of torchvision's VGG16 (``features.0.weight``) and of the
    published comparison (``lin0.model.1.weight``).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features, self._ends = _vgg16()
        for number, widths in enumerate(_BLOCKS):
            lin = nn.Module()
            lin.model = nn.Sequential(nn.Identity(), nn.Conv2d(widths[-1], 1, 1, bias=False))
            self.add_module(f"lin{number}", lin)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    @classmethod
    def load(cls, vgg16: Path | str, comparison: Path | str) -> "LPIPS":
        """Read both files; of each, only what is needed, and nothing is executed.

        Args:
            vgg16: torchvision's VGG16 of ImageNet.
            comparison: The linear layers that were published for it, ``vgg.pth`` (7 kB).

        Raises:
            WeightsError: A file cannot be read, or lacks weights.
        """
        model = cls()
        wanted = model.state_dict()
        for path, beginning in ((vgg16, "features."), (comparison, "lin")):
            found = read_tensors(path)
            for name in (name for name in wanted if name.startswith(beginning)):
                if name not in found or found[name].shape != wanted[name].shape:
                    has = tuple(found[name].shape) if name in found else "none"
                    raise WeightsError(
                        f"{path} should have {name} of shape {tuple(wanted[name].shape)}, but has "
                        f"{has}; expected torchvision's VGG16 and the LPIPS layers made for it."
                    )
                wanted[name] = found[name]
        model.load_state_dict(wanted)
        return model.eval()

    def forward(
        self, images: Float[Tensor, "b 3 H W"], others: Float[Tensor, "b 3 H W"]
    ) -> Float[Tensor, ""]:
        """Mean distance of pairs of pictures in [-1, 1]; at least 16 pixels on a side."""
        total = torch.zeros((), device=images.device)
        pairs = zip(self._levels(images), self._levels(others), strict=True)
        for number, (one, other) in enumerate(pairs):
            weights = self.get_submodule(f"lin{number}.model.1")
            difference = (_unit(one) - _unit(other)).square()
            total = total + weights(difference).float().mean()
        return total

    def _levels(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b d h w"]]:
        x = (images - self.shift) / self.scale
        levels = []
        for start, end in pairwise((0, *self._ends)):
            x = self.features[start:end](x)
            levels.append(x)
        return levels


def _vgg16() -> tuple[nn.Sequential, tuple[int, ...]]:
    """VGG16 (Simonyan and Zisserman 2015) without its last pooling, and where its blocks end."""
    layers: list[nn.Module] = []
    ends = []
    before = 3
    for widths in _BLOCKS:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        ends.append(len(layers))
    return nn.Sequential(*layers), tuple(ends)


def _unit(features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
    """Features of length one at each position."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _TINY)
