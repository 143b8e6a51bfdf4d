"""A small store of real clips, drawn and not decoded; also a program for a rank."""

import sys

import numpy as np
import pyarrow as pa

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, names
from pipelines.datasets.shapes import random_scene
from pipelines.datasets.shapes_drawing import draw_labels, draw_scene
from pipelines.jobs.train_vqgan import make_plan
from pipelines.settings import load_config
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from pipelines.training.observers import Observers
from pipelines.training.vqgan import train_rank
from pipelines.video.pictures import encode_frame, encode_labels

SETTINGS = (
    "dataset.shapes.size=32",
    "vqgan.width=8",
    "vqgan_training.steps=6",
    "vqgan_training.batch_size=4",
    "vqgan_training.learning_rate=1e-3",
    "vqgan_training.adversarial_start=3",
    "vqgan_training.checkpoint_every=2",
    "vqgan_training.log_every=4",
    "vqgan_seg_training.steps=4",
    "vqgan_seg_training.batch_size=4",
    "tokenize.batch_size=8",
    "tokenize.shard_clips=2",
)


def config_of(store, *more):
    return load_config(preset="tiny", overrides=[f"store={store}", *SETTINGS, *more])


def fill(store, *, train=4, validation=0, seed=0, sketches=False, size=32, clips_a_shard=2):
    """Commit drawn clips of three frames, some with sketches beside them."""
    table = StoreTable(str(store), "clips")
    splits = ["train"] * train + ["validation"] * validation
    rng = np.random.default_rng(seed)
    rows = [_rows(f"{seed}-{i}", split, rng, sketches, size) for i, split in enumerate(splits)]
    shards = []
    for start in range(0, len(rows), clips_a_shard):
        together = [row for clip in rows[start : start + clips_a_shard] for row in clip]
        shards.append(write_shard(table.root, pa.Table.from_pylist(together), inputs={}))
    table.commit(shards)


def _rows(name, split, rng, sketches, size):
    scene = random_scene(rng)
    frames = [encode_frame(draw_scene(scene, 0.4 * k, size), "jpeg") for k in range(3)]
    row = {
        "clip_id": name,
        "dataset": "drawn",
        "split": split,
        "kind": "video",
        "source_uri": f"{name}.mp4",
        "source_sha256": name,
        "start_us": 0,
        "text": ["a shape"],
        "frames": frames,
        "frame_times_us": [0, 400_000, 800_000],
        "is_short": True,
        "decode_rule": "drawn",
    }
    if not sketches:
        return [row]
    maps = [encode_labels(draw_labels(scene, 0.4 * k, size)) for k in range(3)]
    return [row, {**row, "kind": "video_sketch", "frames": maps}]


def publish_vqgan(config, folder, *, kind="vqgan"):
    """An untrained VQ-GAN under the name that the settings give it."""
    shape = config.vqgan if kind == "vqgan" else config.vqgan_seg
    name = names.vqgan_name(config) if kind == "vqgan" else names.vqgan_seg_name(config)
    model = VQGAN(shape).eval()
    model.save_pretrained(folder)
    metadata = {"fingerprint": model.fingerprint}
    artifacts.publish(config.store, kind, name, folder, config={}, metadata=metadata)
    return model


if __name__ == "__main__":
    train_rank(make_plan(config_of(*sys.argv[1:]), "frames"), Observers())
