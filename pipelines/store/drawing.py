"""Rows of small pictures with labels, as one picture."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_LARGEST = 160  # pixels of a picture's side on the sheet
_GAP, _MARGIN, _LABEL_WIDTH, _LINE = 6, 20, 190, 19
_INK, _FAINT, _PAPER = (20, 22, 28), (110, 116, 128), (255, 255, 255)
_GOLDEN = 0.618034


@dataclass(frozen=True)
class Strip:
    """One row of a sheet.

    Attributes:
        label: Lines beside it; the first one is its name.
        pictures: RGB, of any size; each is drawn as large as the others of the sheet.
    """

    label: tuple[str, ...]
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]]


def token_colors(tokens: Integer[np.ndarray, "s h w"]) -> UInt8[np.ndarray, "s h w 3"]:
    """A color for each cell: equal tokens have equal ones, the most frequent one is light grey."""
    ids, where, counts = np.unique(tokens, return_inverse=True, return_counts=True)
    colors = [
        colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.3 + 0.2 * (i % 3), 0.95 - 0.12 * (i % 4))
        for i in ids.tolist()
    ]
    colors[counts.argmax()] = (0.9, 0.9, 0.9)
    return (np.array(colors) * 255).astype(np.uint8)[where].reshape(*tokens.shape, 3)


def draw_sheet(
    title: str, notes: Sequence[str], columns: Sequence[str], strips: Sequence[Strip]
) -> Image.Image:
    """Draw rows of pictures below each other.

    Args:
        title: The first line.
        notes: Lines below it; long ones are wrapped.
        columns: What stands above each picture of the first row.
        strips: At least one.
    """
    side = _side(strips)
    step = side + _GAP
    num_columns = max(len(strip.pictures) for strip in strips)
    width = max(760, 2 * _MARGIN + _LABEL_WIDTH + num_columns * step)
    lines = [part for note in notes for part in _wrapped(note, width - 2 * _MARGIN)]
    top = _MARGIN + 26 + _LINE * len(lines) + 14 + _LINE
    height = top + len(strips) * (step + _GAP) - 2 * _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, fill=_INK, font=_font(17))
    for number, line in enumerate(lines):
        at = (_MARGIN, _MARGIN + 26 + number * _LINE)
        draw.text(at, line, fill=_FAINT, font=_font(13))
    for number, column in enumerate(columns):
        center = _MARGIN + _LABEL_WIDTH + number * step + side // 2
        draw.text((center, top - 5), column, fill=_FAINT, font=_font(11), anchor="ms")
    for number, strip in enumerate(strips):
        _draw_strip(sheet, strip, top + number * (step + _GAP), side)
    return sheet


def _draw_strip(sheet: Image.Image, strip: Strip, top: int, side: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(strip.label):
        at = (_MARGIN, top + number * (_LINE - 1))
        size, color = (14, _INK) if number == 0 else (11, _FAINT)
        draw.text(at, line, fill=color, font=_font(size))
    for number, pixels in enumerate(strip.pictures):
        at = (_MARGIN + _LABEL_WIDTH + number * (side + _GAP), top)
        sheet.paste(_resized(pixels, side), at)
        draw.rectangle((at[0] - 1, at[1] - 1, at[0] + side, at[1] + side), outline=(205, 208, 214))


def _side(strips: Sequence[Strip]) -> int:
    """The largest picture's side, a whole number of times if it is small."""
    largest = max(max(p.shape[:2]) for strip in strips for p in strip.pictures)
    return largest * max(1, _LARGEST // largest) if largest < _LARGEST else _LARGEST


def _resized(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """Enlarged pixels stay squares: what is there is seen."""
    is_smaller = max(pixels.shape[:2]) <= side
    filtering = Image.Resampling.NEAREST if is_smaller else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((side, side), filtering)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(13).getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """A font that knows more than Latin letters; Pillow's own has no multiplication sign."""
    return ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
