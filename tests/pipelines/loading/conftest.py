"""A small store whose every token tells which clip, frame and cell it came from."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from nuwa_model.config import NuwaConfig, VQGANConfig
from nuwa_model.grid import Grid
from pipelines.config import ClipsConfig, RunConfig, TrainingConfig
from pipelines.store.schema import CATALOG, CLIPS, TOKENS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable

NUM_FRAMES = 4


class Letters:
    """A text tokenizer whose tokens are letters, so that tests can read a condition back."""

    length = 12

    def encode(self, texts):
        tokens = torch.zeros(len(texts), self.length, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            codes = torch.tensor([ord(letter) for letter in text[: self.length]])
            row[: len(codes)] = codes
        return tokens, tokens != 0

    @staticmethod
    def decode(condition):
        return ["".join(chr(c) for c in row.flatten().tolist() if c) for row in condition]


def tokens_of(number, frames, *, step=1):
    """Frames of clip ``number``: token = 16 × (10 × number + frame), plus the cell's number."""
    first = 16 * (10 * number + np.arange(frames))
    return (step * first[:, None] + np.arange(16)).reshape(frames, 4, 4).astype("<u2")


def token_row(number, kind="video", frames=NUM_FRAMES, text=(), split="train", tokenizer="abc"):
    return {
        "clip_id": f"{number:03}",
        "dataset": "shapes",
        "split": split,
        "kind": kind,
        "tokens": tokens_of(number, frames).tobytes(),
        "grid_s": frames,
        "grid_h": 4,
        "grid_w": 4,
        "text": list(text),
        "tokenizer": tokenizer,
    }


def commit_tokens(store, rows):
    table = StoreTable(store, "tokens")
    for tokenizer in sorted({row["tokenizer"] for row in rows}):
        chosen = [row for row in rows if row["tokenizer"] == tokenizer]
        made = pa.Table.from_pylist(chosen, schema=TOKENS)
        table.commit([write_shard(table.root, made, inputs={})])


def commit_sources(store, sources):
    """Catalog and clips of sources: (number, split, captions)."""
    catalog, clips = StoreTable(store, "catalog"), StoreTable(store, "clips")
    catalog_rows = [
        {
            "dataset": "shapes", "source_uri": f"{number}.mp4", "size": 1, "modified_ns": 1,
            "sha256": f"sha-{number}", "split": split, "kind": "video", "text": list(text),
            "sketch_uri": "", "frames_read": 4, "num_clips": 1, "frames_left": 0,
        }
        for number, split, text in sources
    ]  # fmt: skip
    clip_rows = [
        {
            "clip_id": f"{number:03}", "dataset": "shapes", "split": split, "kind": "video",
            "source_uri": f"{number}.mp4", "source_sha256": f"sha-{number}", "start_us": 0,
            "text": [], "frames": [b""], "frame_times_us": [0], "is_short": False,
            "decode_rule": "",
        }
        for number, split, _ in sources
    ]  # fmt: skip
    added, removed = catalog.without({"dataset": "shapes"}) if catalog.exists() else ([], [])
    table = pa.Table.from_pylist(catalog_rows, schema=CATALOG)
    shard = write_shard(catalog.root, table, inputs={})
    if shard.path not in removed:
        catalog.commit([shard, *added], remove=removed)
    made = pa.Table.from_pylist(clip_rows, schema=CLIPS)
    clips.commit([write_shard(clips.root, made, inputs={})])


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def full_store(store):
    """Ten captioned videos with sketches, one image, one short video, two held out."""
    rows = [token_row(n, text=[f"clip {n}", f"video {n}"]) for n in range(10)]
    rows += [token_row(n, "video_sketch", tokenizer="seg") for n in range(10)]
    rows += [
        token_row(20, "image", 1, ["image 20"]),
        token_row(21, "video", 2, ["short 21"]),
        token_row(30, text=["held 30"], split="validation"),
        token_row(31, text=["held 31"], split="validation"),
    ]
    commit_tokens(store, rows)
    return store


@pytest.fixture
def settings():
    """Settings of a run on a store of these clips."""

    def make(store, *, size=65_536, **training):
        return RunConfig(
            store=store,
            clips=ClipsConfig(size=32, num_frames=NUM_FRAMES),
            model=NuwaConfig(
                target_grid=Grid(NUM_FRAMES, 4, 4), codebook_size=size, sketch_codebook_size=size
            ),
            vqgan=VQGANConfig(codebook_size=size),
            vqgan_seg=VQGANConfig(channels=4, codebook_size=size),
            training=TrainingConfig(**{"batch_size": 8, **training}),
        )

    return make
