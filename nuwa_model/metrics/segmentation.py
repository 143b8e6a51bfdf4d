"""How well one label map agrees with another."""

from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index


def pixel_accuracy(
    predicted: Int[Tensor, "b H W"], target: Int[Tensor, "b H W"], *, num_classes: int
) -> Float[Tensor, ""]:
    """Share of pixels with the right label (PA), in [0, 1].

    Args:
        predicted: Labels below ``num_classes``.
        target: Labels below ``num_classes``.
        num_classes: Labels there are.
    """
    return multiclass_accuracy(predicted, target, num_classes, average="micro")


def frequency_weighted_iou(
    predicted: Int[Tensor, "b H W"], target: Int[Tensor, "b H W"], *, num_classes: int
) -> Float[Tensor, ""]:
    """Intersection over union of each class, weighted by its share of the target (FWIoU).

    As in Long et al. 2015 and in NÜWA's VQ-GAN-Seg table; in [0, 1].

    Args:
        predicted: Labels below ``num_classes``.
        target: Labels below ``num_classes``.
        num_classes: Labels there are.
    """
    return multiclass_jaccard_index(predicted, target, num_classes, average="weighted")
