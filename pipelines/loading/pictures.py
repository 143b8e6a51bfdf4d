"""The pictures of the clips table, for those who read frames one by one."""

import io
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from einops import reduce
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.pixels import labels_to_one_hot, pixels_to_images
from pipelines.errors import StoreError
from pipelines.store.table import StoreTable

Content = Literal["frames", "sketches"]

KINDS: dict[Content, tuple[str, str]] = {
    "frames": ("image", "video"),
    "sketches": ("image_sketch", "video_sketch"),
}
"""Which kinds of rows hold what."""

_MODES: dict[Content, str] = {"frames": "RGB", "sketches": "L"}


class Pictures:
    """All frames or sketches of a split, in memory as the clips keep them and decoded on demand.

    An encoded picture is about a tenth of a decoded one, and decoding costs a small part of what
    training on it does.

    Args:
        encoded: One JPEG or PNG each.
        content: Frames or sketches.
        size: Height and width that each must have.
        shrink: Pixels along each side of a frame that are averaged into one.
    """

    def __init__(
        self, encoded: pa.ChunkedArray, content: Content, *, size: int, shrink: int = 1
    ) -> None:
        self._encoded, self._content = encoded, content
        self._size, self._shrink = size, shrink

    @classmethod
    def load(
        cls,
        store: str,
        content: Content,
        split: str,
        *,
        size: int,
        shrink: int = 1,
        version: int | None = None,
    ) -> "Pictures":
        """Read a split of one version of the clips table; none are there if nothing fits.

        Raises:
            StoreError: There is no clips table, or a shard is damaged.
        """
        where = {"kind": KINDS[content], "split": split}
        table = StoreTable(store, "clips")
        parts = [
            chunk.flatten()
            for rows in table.iter_shards(["frames"], where=where, version=version)
            for chunk in rows.column("frames").chunks
        ]
        return cls(pa.chunked_array(parts, type=pa.binary()), content, size=size, shrink=shrink)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._encoded)

    def at(self, places: NDArray[np.int64]) -> UInt8[np.ndarray, "b H W *c"]:
        """Decode some pictures: RGB, or labels without a channel.

        Raises:
            ConfigError: A picture is not as large as promised.
            StoreError: A picture is damaged.
        """
        pixels = np.stack(
            [
                decode_picture(self._encoded[int(place)].as_py(), self._content, size=self._size)
                for place in places
            ]
        )
        return pixels if self._shrink == 1 else average_down(pixels, self._shrink)


def decode_picture(encoded: bytes, content: Content, *, size: int) -> UInt8[np.ndarray, "H W *c"]:
    """RGB bytes of a frame, or the labels of a sketch.

    Raises:
        ConfigError: The picture is not ``size`` pixels high and wide.
        StoreError: It cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            if picture.size != (size, size):
                raise ConfigError(
                    f"The clips table has {content} of {picture.width}×{picture.height} pixels, "
                    f"but clips.size is {size}: set it to theirs, or run prepare-data into "
                    "another store."
                )
            return np.asarray(picture.convert(_MODES[content]))
    except (UnidentifiedImageError, OSError) as error:
        raise StoreError(f"A picture of the clips table cannot be decoded: {error}.") from error


def average_down(pixels: UInt8[np.ndarray, "b H W c"], times: int) -> UInt8[np.ndarray, "b h w c"]:
    """Average squares of ``times`` × ``times`` pixels, to the nearest byte; halves are rounded up.

    Sums are whole numbers, so that the result is the same everywhere.
    """
    area = times * times
    sums = reduce(pixels.astype(np.uint32), "b (h i) (w j) c -> b h w c", "sum", i=times, j=times)
    return ((sums + area // 2) // area).astype(np.uint8)


def to_images(
    pixels: UInt8[np.ndarray, "b H W *c"] | UInt8[Tensor, "b H W *c"],
    content: Content,
    *,
    channels: int,
) -> Float[Tensor, "b c H W"]:
    """Decoded pictures as a VQ-GAN of that many channels reads them, where they are.

    Raises:
        ConfigError: A label is neither below the number of channels nor unknown.
    """
    tensor = torch.as_tensor(pixels)
    if content == "sketches":
        return labels_to_one_hot(tensor, num_classes=channels)
    return pixels_to_images(tensor)
