"""How well one label map agrees with another, where the other's labels are known."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL, has_unknown


def pixel_accuracy(
    predicted: Int[Tensor, "b H W"], target: Int[Tensor, "b H W"], *, num_classes: int
) -> Float[Tensor, ""]:
    """Share of pixels with the right label (PA), in [0, 1]; 0 if no pixel is known.

    Args:
        predicted: Labels below ``num_classes``.
        target: Labels below ``num_classes``, or ``UNKNOWN_LABEL``, whose pixels do not count.
        num_classes: Labels there are.
    """
    ignored = UNKNOWN_LABEL if has_unknown(num_classes) else None
    return multiclass_accuracy(
        predicted, target, num_classes, average="micro", ignore_index=ignored
    )


def frequency_weighted_iou(
    predicted: Int[Tensor, "b H W"], target: Int[Tensor, "b H W"], *, num_classes: int
) -> Float[Tensor, ""]:
    """Intersection over union of each class, weighted by its share of the target (FWIoU).

    As in Long et al. 2015 and in NÜWA's VQ-GAN-Seg table; in [0, 1]; 0 if no pixel is known.

    Args:
        predicted: Labels below ``num_classes``.
        target: Labels below ``num_classes``, or ``UNKNOWN_LABEL``, whose pixels do not count.
        num_classes: Labels there are.
    """
    ignored = UNKNOWN_LABEL if has_unknown(num_classes) else None
    mean = multiclass_jaccard_index(
        predicted, target, num_classes, average="weighted", ignore_index=ignored
    )
    return torch.nan_to_num(mean, nan=0.0)
