"""How near a picture is to the one it should be."""

from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def psnr(
    pictures: Float[Tensor, "b c H W"], originals: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB, of the squared error averaged over all pixels.

    Averaging errors before the logarithm, not ratios after it, keeps one perfect picture from
    making the mean infinite.

    Args:
        pictures: In [0, 1].
        originals: In [0, 1].
    """
    return peak_signal_noise_ratio(pictures, originals, data_range=1.0)


def ssim(
    pictures: Float[Tensor, "b c H W"], originals: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Structural similarity (Wang et al. 2004), 1 for equal pictures; Gaussian window, σ 1.5.

    Args:
        pictures: In [0, 1], at least 11 pixels a side.
        originals: In [0, 1].
    """
    value = structural_similarity_index_measure(pictures, originals, data_range=1.0)
    assert isinstance(value, Tensor)  # a tuple only when the full map is asked for
    return value
