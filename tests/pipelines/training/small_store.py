"""A store as small as a user's first folder: three clips and no captions."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, names
from pipelines.config import RunConfig, TrainingConfig
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


def make_store(folder):
    """Settings of a store in a folder, which gets tokens and tokenizers."""
    training = TrainingConfig(tasks={"V2V": 1.0}, steps=5, batch_size=8, checkpoint_every=2)
    config = RunConfig(
        store=str(folder / "store"), training=training, finetuning=replace(training, steps=3)
    )
    torch.manual_seed(0)
    frames = VQGAN(config.vqgan)
    text = TextTokenizer.train([], config.model.text_vocabulary, config.model.text_length)
    publish(config, "vqgan", names.vqgan_name(config), frames, folder / "vqgan")
    publish(config, "text_tokenizer", names.text_tokenizer_name(config), text, folder / "text")
    for number in range(3):
        commit_tokens(config, frames.fingerprint, number, "train")
    return config
