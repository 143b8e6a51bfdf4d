"""A store as small as a user's first folder: three clips and no captions."""

import numpy as np
import pyarrow as pa

from pipelines import artifacts
from pipelines.store.schema import TOKENS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable


def publish(config, kind, name, thing, folder):
    thing.save_pretrained(folder)
    artifacts.publish(config.store, kind, name, folder, config={}, metadata={})


def commit_tokens(config, fingerprint, number, split):
    generator = np.random.default_rng(number)
    tokens = generator.integers(0, 64, (10, 4, 4)).astype("<u2")
    row = {
        "clip_id": f"{number:03}", "dataset": "folder", "split": split, "kind": "video",
        "tokens": tokens.tobytes(), "grid_s": 10, "grid_h": 4, "grid_w": 4, "text": [],
        "tokenizer": fingerprint,
    }  # fmt: skip
    table = StoreTable(config.store, "tokens")
    rows = pa.Table.from_pylist([row], schema=TOKENS)
    table.commit([write_shard(table.root, rows, inputs={"number": number})])
