"""How well a trained VQ-GAN does, in numbers and in one picture."""

import io

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nuwa_model.metrics.fidelity import psnr, ssim
from nuwa_model.metrics.segmentation import frequency_weighted_iou, pixel_accuracy
from nuwa_model.tokenizers.pixels import images_to_pixels, logits_to_labels
from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.quantize import codebook_use
from pipelines.label_colors import label_colors
from pipelines.loading.pictures import Content, Pictures, to_images

MOST_MEASURED = 512
"""Pictures measured: enough for two digits, few enough to take seconds."""
MOST_DRAWN = 12
_BATCH = 32


@torch.no_grad()
def reconstruct(
    model: VQGAN, pixels: UInt8[np.ndarray, "b H W *c"]
) -> tuple[UInt8[Tensor, "b H W *c"], Int[Tensor, " v"]]:
    """Pictures through the tokens and back, in float32, and how often each token was used."""
    device, channels = next(model.parameters()).device, model.config.channels
    content: Content = "sketches" if model.is_for_sketches else "frames"
    to_pixels = logits_to_labels if model.is_for_sketches else images_to_pixels
    counts = torch.zeros(model.config.codebook_size, dtype=torch.int64)
    decoded = []
    for start in range(0, len(pixels), _BATCH):
        images = to_images(pixels[start : start + _BATCH], content, channels=channels)
        tokens = model.encode(images.to(device))
        decoded.append(to_pixels(model.decode(tokens)).cpu())
        counts += torch.bincount(tokens.flatten().cpu(), minlength=len(counts))
    return torch.cat(decoded), counts


def measure(model: VQGAN, pictures: Pictures) -> dict[str, float]:
    """Fidelity and use of the codebook, on evenly spread pictures.

    Returns:
        ``psnr`` (dB) and ``ssim`` of frames, ``pixel_accuracy`` and ``fwiou`` of sketches, and for
        both ``codebook_size``, ``codes_alive``, ``perplexity`` and ``num_validation``.
    """
    originals = pictures.at(evenly(len(pictures), MOST_MEASURED))
    decoded, counts = reconstruct(model, originals)
    use = codebook_use(counts)
    common = {
        "codebook_size": len(counts),
        "codes_alive": use.alive,
        "perplexity": round(use.perplexity, 2),
        "num_validation": len(originals),
    }
    if model.is_for_sketches:
        labels, classes = torch.from_numpy(originals).long(), model.config.channels
        found = decoded.long()
        accuracy = pixel_accuracy(found, labels, num_classes=classes)
        fwiou = frequency_weighted_iou(found, labels, num_classes=classes)
        return {"pixel_accuracy": float(accuracy), "fwiou": float(fwiou), **common}
    return {**fidelity(decoded, torch.from_numpy(originals)), **common}


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Places of so many pictures at most, evenly spread over all of them."""
    return np.arange(min(count, most)) * count // min(count, most)


def fidelity(
    decoded: UInt8[Tensor, "b H W c"], originals: UInt8[Tensor, "b H W c"]
) -> dict[str, float]:
    """``psnr`` (dB) and ``ssim`` of frames."""
    pair = [_to_unit(decoded), _to_unit(originals)]
    return {"psnr": float(psnr(*pair)), "ssim": float(ssim(*pair))}


def to_draw(pictures: Pictures) -> UInt8[np.ndarray, "b H W *c"]:
    """The few pictures that people are shown, evenly spread and always the same."""
    return pictures.at(evenly(len(pictures), MOST_DRAWN))


def draw_reconstructions(model: VQGAN, originals: UInt8[np.ndarray, "b H W *c"]) -> bytes:
    """A PNG with a row of originals above a row of what the model makes of them."""
    decoded, _ = reconstruct(model, originals)
    rows = np.stack([originals, decoded.numpy()])
    if model.is_for_sketches:
        rows = label_colors(model.config.channels)[rows]
    stream = io.BytesIO()
    Image.fromarray(rearrange(rows, "r b H W c -> (r H) (b W) c")).save(stream, "PNG")
    return stream.getvalue()


def _to_unit(pixels: UInt8[Tensor, "b H W c"]) -> Float[Tensor, "b c H W"]:
    return rearrange(pixels, "b H W c -> b c H W").float() / 255
