import hashlib

import pyarrow as pa
import pytest

from pipelines.store.schema import CATALOG, CLIPS, ERRORS, TOKENS


def token_rows(names, tokenizer="abc"):
    return pa.Table.from_pylist(
        [
            {
                "clip_id": name,
                "dataset": "shapes",
                "split": "train",
                "kind": "video",
                "tokens": hashlib.shake_256(name.encode()).digest(320),
                "grid_s": 10,
                "grid_h": 4,
                "grid_w": 4,
                "text": [f"a caption of {name}"],
                "tokenizer": tokenizer,
            }
            for name in names
        ],
        schema=TOKENS,
    )


def clip_rows(sources):
    return pa.Table.from_pylist(
        [
            {
                "clip_id": f"clip-{name}",
                "dataset": "shapes",
                "split": "train",
                "kind": "video",
                "source_uri": f"media/{name}.mp4",
                "source_sha256": f"sha-{name}",
                "start_us": 0,
                "text": [],
                "frames": [b"jpeg"] * 3,
                "frame_times_us": [0, 400_000, 800_000],
                "is_short": True,
                "decode_rule": "rule",
            }
            for name in sources
        ],
        schema=CLIPS,
    )


def error_rows(sources, code="decode_errors"):
    return pa.Table.from_pylist(
        [
            {
                "dataset": "shapes",
                "source_uri": f"media/{name}.mp4",
                "source_sha256": f"sha-{name}",
                "stage": "decode",
                "code": code,
                "detail": "",
                "is_transient": False,
            }
            for name in sources
        ],
        schema=ERRORS,
    )


def catalog_rows(sources):
    return pa.Table.from_pylist(
        [
            {
                "dataset": "shapes",
                "source_uri": f"media/{name}.mp4",
                "size": 100,
                "modified_ns": 1,
                "sha256": f"sha-{name}",
                "split": "train",
                "kind": "video",
                "text": ["a caption"],
                "sketch_uri": "",
                "frames_read": 3,
                "num_clips": 1,
                "frames_left": 0,
            }
            for name in sources
        ],
        schema=CATALOG,
    )


@pytest.fixture
def rows():
    """Makers of rows, by table."""
    return {
        "tokens": token_rows,
        "clips": clip_rows,
        "errors": error_rows,
        "catalog": catalog_rows,
    }


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")
