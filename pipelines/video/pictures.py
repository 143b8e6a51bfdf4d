"""Single pictures: reading them from files, and the bytes that a clip keeps of a frame."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.errors import ErrorCode, MediaError
from pipelines.video.ffmpeg import MAX_PIXELS
from pipelines.video.window import Window, cover

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_ANIMATED = ("PNG", "WEBP")  # of a TIFF the other pages are previews or scans


def read_image(
    path: str, *, size: int
) -> tuple[UInt8[np.ndarray, "H W 3"], Window, tuple[int, int]]:
    """A photo as one frame: upright (EXIF), resized to cover the square, cut at the middle.

    Returns:
        The frame, the window it shows, and width and height of the whole upright picture.

    Raises:
        MediaError: The file is no whole picture of a format that is read.
    """
    with opened(path, _FORMATS) as picture:
        num_frames = getattr(picture, "n_frames", 1)
        if num_frames > 1 and picture.format in _ANIMATED:
            raise MediaError(
                "unsupported_codec",
                f"an animation of {num_frames} frames; make it a GIF or a video to keep them",
            )
        # Transparent parts become white, as paper would show them.
        upright = _to_rgb(ImageOps.exif_transpose(picture))
        window = cover(upright.width, upright.height, size)
        box = window.box(upright.width, upright.height)
        frame = upright.resize((size, size), Image.Resampling.BICUBIC, box=box)
        return np.asarray(frame), window, upright.size


@contextmanager
def opened(path: str, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """A picture that is read by Pillow, whose complaints become a ``MediaError``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=formats)
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise MediaError("too_large", _too_large(*picture.size))
            picture.load()
            yield picture
    except UnidentifiedImageError:
        raise MediaError("container_unreadable", f"not a picture of {', '.join(formats)}") from None
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", str(error)) from None
    except (PermissionError, FileNotFoundError) as error:
        raise MediaError("io_error", str(error.strerror)) from None
    except (OSError, SyntaxError, ValueError) as error:  # how Pillow tells of damage
        code: ErrorCode = "truncated" if "truncated" in str(error) else "decode_errors"
        raise MediaError(code, str(error)) from None


def encode_frame(frame: UInt8[np.ndarray, "H W 3"], frame_format: str) -> bytes:
    """The bytes that a clip keeps: JPEG of quality 95 with whole chroma, or PNG."""
    buffer = io.BytesIO()
    picture = Image.fromarray(frame)
    if frame_format == "jpeg":
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_labels(labels: UInt8[np.ndarray, "H W"]) -> bytes:
    """A label map as PNG of one channel, one byte a pixel."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        shades = np.asarray(picture).astype(np.uint16) >> 8
        return Image.fromarray(shades.astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        paper = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(paper, layered).convert("RGB")
    return picture.convert("RGB")


def _too_large(width: int, height: int) -> str:
    return f"{width}x{height} pixels; at most {MAX_PIXELS} in all are read"
