"""Encoded pictures to pixels."""

import io

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from pipelines.errors import StoreError


def read_picture(data: bytes, *, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decode a JPEG or PNG to RGB, 0 to 255.

    Args:
        data: The encoded picture.
        where: What it is, for the message.

    Raises:
        StoreError: It is not a picture, or a damaged one.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise StoreError(
            f"{where} is no picture that can be read: {error}. Run the flow that makes it again."
        ) from error


def split_strip(strip: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "s h w 3"]:
    """Cut square frames that lie side by side apart.

    Raises:
        StoreError: The width is not a multiple of the height.
    """
    height, width, _ = strip.shape
    if width % height:
        raise StoreError(
            f"A strip of {width} × {height} pixels holds no whole number of square frames: "
            "generate the samples again."
        )
    return rearrange(strip, "h (s w) c -> s h w c", w=height)
