"""The worker that makes tokens of clips, and what it is told and tells."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, memory
from pipelines.config import TokenizeConfig
from pipelines.loading.ahead import on_device
from pipelines.loading.pictures import Content, decode_picture, to_images
from pipelines.store.shards import ShardFile, read_shard, write_shard

KEY = ("dataset", "clip_id", "kind")
"""Columns of ``Key``."""

_COLUMNS = (*KEY, "split", "text", "frames")


class Key(NamedTuple):
    """Names a row of the clips table."""

    dataset: str
    clip_id: str
    kind: str


@dataclass(frozen=True)
class ShardWork:
    """Clips that become one shard of tokens.

    Attributes:
        files: Of the clips table.
        keys: Rows of these files that are wanted.
    """

    files: tuple[str, ...]
    keys: frozenset[Key]


@dataclass(frozen=True)
class ShardResult:
    """What a worker made of one ``ShardWork``.

    Attributes:
        shard: Published, not yet committed.
        num_clips: Clips in it.
        num_tokens: Tokens in it.
        used: For each token of the codebook whether it occurs, a bit each.
    """

    shard: ShardFile
    num_clips: int
    num_tokens: int
    used: bytes


class ClipTokenizer:
    """Holds a tokenizer in memory between shards. A plain class: Ray wraps it where it is used.

    Args:
        vqgan: Artifact or local folder of the VQ-GAN.
        root: Of the tokens table.
        content: Frames or sketches.
        size: Height and width that pictures must have.
        settings: How many pictures are encoded at once, and in which numbers.
    """

    def __init__(
        self, vqgan: str, root: str, content: Content, size: int, settings: TokenizeConfig
    ) -> None:
        memory.keep_freed()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = VQGAN.from_pretrained(artifacts.folder_at(vqgan)).to(self._device)
        self._fingerprint = self._model.fingerprint
        self._root, self._content = root, content
        self._size, self._settings = size, settings

    def write_shard(self, work: ShardWork) -> ShardResult:
        """Encode clips, in the order of their keys, and publish them as one shard.

        Raises:
            ConfigError: A picture has another size or a larger label than the settings say.
            StoreError: A shard of clips is damaged.
        """
        clips = pa.concat_tables([read_shard(uri, _COLUMNS) for uri in work.files])
        rows = sorted(
            (row for row in clips.to_pylist() if Key(*(row[c] for c in KEY)) in work.keys),
            key=lambda row: tuple(row[column] for column in KEY),
        )
        tokens = self._encode([frame for row in rows for frame in row["frames"]])
        table = pa.Table.from_pylist(self._token_rows(rows, tokens))
        used = np.isin(np.arange(self._model.config.codebook_size), tokens)
        shard = write_shard(self._root, table, inputs={"tokenizer": self._fingerprint})
        return ShardResult(shard, len(rows), tokens.size, np.packbits(used).tobytes())

    def _encode(self, frames: list[bytes]) -> np.ndarray:
        """Tokens ``(f, h, w)``, as the store keeps them."""
        size, channels = self._settings.batch_size, self._model.config.channels
        batches = [frames[start : start + size] for start in range(0, len(frames), size)]
        is_low = self._settings.precision == "bfloat16"
        parts = []
        with torch.autocast(self._device.type, torch.bfloat16, enabled=is_low):
            for pixels in on_device(batches, self._decode, self._device):
                images = to_images(pixels, self._content, channels=channels)
                parts.append(self._model.encode(images))
        return torch.cat(parts).cpu().numpy().astype("<u2")

    def _decode(self, frames: list[bytes]) -> np.ndarray:
        return np.stack([decode_picture(f, self._content, size=self._size) for f in frames])

    def _token_rows(self, rows: list[dict[str, Any]], tokens: np.ndarray) -> list[dict[str, Any]]:
        ends = np.cumsum([len(row["frames"]) for row in rows])
        clips = np.split(tokens, ends[:-1])
        return [
            {
                **{column: row[column] for column in (*KEY, "split", "text")},
                "tokens": clip.tobytes(),
                **dict(zip(("grid_s", "grid_h", "grid_w"), clip.shape, strict=True)),
                "tokenizer": self._fingerprint,
            }
            for row, clip in zip(rows, clips, strict=True)
        ]
