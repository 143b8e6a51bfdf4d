"""Where given pixels and generated ones meet: nothing given is changed, nothing hidden is used."""

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F


def continued(
    pixels: UInt8[Tensor, "s H W c"], is_free: Bool[Tensor, "s H W"]
) -> UInt8[Tensor, "s H W c"]:
    """Given pixels as they are, and their colors spread smoothly over the free ones.

    It is what a tokenizer reads in place of a hole: what lay under a mask has no say.
    """
    known = ~rearrange(is_free, "s H W -> s 1 H W")
    colors = _spread(rearrange(pixels, "s H W c -> s c H W").float() * known, known)
    return rearrange(colors, "s c H W -> s H W c").round().to(torch.uint8)


def compose(
    generated: UInt8[Tensor, "b s H W c"],
    pixels: UInt8[Tensor, "s H W c"],
    is_free: Bool[Tensor, "s H W"],
    *,
    feather: int,
) -> UInt8[Tensor, "b s H W c"]:
    """Generated pixels where they are free, the given ones, bit for bit, everywhere else.

    Args:
        generated: Whole frames of each sample.
        pixels: The given ones; what is free of them is not looked at.
        is_free: Where.
        feather: Width in pixels of the edge, all of it on the free side, along which generated
            pixels fade into what continues the given ones.
    """
    share = rearrange(opacity(is_free, feather), "s H W -> s H W 1")
    mixed = share * generated + (1 - share) * continued(pixels, is_free)
    return torch.where(is_free[..., None], mixed.round().to(torch.uint8), pixels)


def opacity(is_free: Bool[Tensor, "s H W"], feather: int) -> Float[Tensor, "s H W"]:
    """How much of a generated pixel is shown: 0 where it is given, 1 deep inside of what is free.

    Between, it rises by one step a pixel, diagonals counted as one.
    """
    known = rearrange((~is_free).float(), "s H W -> s 1 H W")
    total = 1 - known
    for _ in range(feather):
        known = F.max_pool2d(known, 3, stride=1, padding=1)
        total = total + 1 - known
    return rearrange(total / (feather + 1), "s 1 H W -> s H W")


def _spread(
    colors: Float[Tensor, "s c H W"], known: Bool[Tensor, "s 1 H W"]
) -> Float[Tensor, "s c H W"]:
    """Fill what is unknown, and zero, from the same picture at half the size, and so on."""
    height, width = colors.shape[-2:]
    if known.all() or height * width == 1:
        return colors
    # Blocks of three overlap, so that an edge has known pixels near it wherever it lies.
    shrink = partial(F.avg_pool2d, kernel_size=3, stride=2, padding=1)
    share = shrink(known.float())
    half = shrink(colors) / share.clamp(min=1 / 9)
    rough = F.interpolate(_spread(half, share > 0), size=(height, width), mode="bilinear")
    return torch.where(known, colors, rough)
