"""What a VQ-GAN is trained to do well (Esser et al. 2021, https://arxiv.org/abs/2012.09841)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

MOST_ADAPTIVE_WEIGHT = 1e4
_IGNORED = -100  # no class


def frame_loss(
    reconstruction: Float[Tensor, "b c H W"],
    images: Float[Tensor, "b c H W"],
    *,
    squared_weight: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean absolute difference of frames in [-1, 1], and as much of the squared one as wished.

    The squared term pulls hardest where a small object has a wholly wrong color.
    """
    absolute = F.l1_loss(reconstruction.float(), images)
    return absolute + squared_weight * F.mse_loss(reconstruction.float(), images)


def sketch_loss(
    logits: Float[Tensor, "b c H W"], one_hot: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels of known class, in nats; 0 if there is none.

    Args:
        logits: Of each class.
        one_hot: As ``labels_to_one_hot`` makes it: all zero where the class is unknown.
    """
    is_known = one_hot.any(dim=1)
    target = one_hot.argmax(dim=1).masked_fill(~is_known, _IGNORED)
    total = F.cross_entropy(logits.float(), target, ignore_index=_IGNORED, reduction="sum")
    return total / is_known.sum().clamp(min=1)


def feature_loss(
    fake: Sequence[Float[Tensor, "b d k l"]], real: Sequence[Float[Tensor, "b d k l"]]
) -> Float[Tensor, ""]:
    """Mean absolute difference of the discriminator's features, averaged over its layers.

    The perceptual term that needs no weights of anybody else (Larsen et al. 2016,
    https://arxiv.org/abs/1512.09300).
    """
    differences = [
        F.l1_loss(f.float(), r.detach().float()) for f, r in zip(fake, real, strict=True)
    ]
    return torch.stack(differences).mean()


def discriminator_loss(
    real_scores: Float[Tensor, "b 1 i j"], fake_scores: Float[Tensor, "b 1 i j"]
) -> Float[Tensor, ""]:
    """Hinge loss of the discriminator: zero once originals score above 1 and others below -1."""
    return (F.relu(1 - real_scores.float()).mean() + F.relu(1 + fake_scores.float()).mean()) / 2


def generator_loss(fake_scores: Float[Tensor, "b 1 i j"]) -> Float[Tensor, ""]:
    """Hinge loss of the decoder: higher scores of its pictures are better."""
    return -fake_scores.float().mean()


def adaptive_weight(
    reconstruction: Float[Tensor, ""], adversarial: Float[Tensor, ""], last_layer: Tensor
) -> Float[Tensor, ""]:
    """Ratio of the two losses' gradients at the decoder's last layer, without gradient.

    Multiplying the adversarial loss by it lets both pull on the pixels equally hard.
    """
    (pull,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (push,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    ratio = pull.norm() / (push.norm() + 1e-4)  # 1e-4 as published
    return ratio.clamp(0, MOST_ADAPTIVE_WEIGHT).detach()
