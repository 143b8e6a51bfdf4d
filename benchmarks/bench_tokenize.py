"""Tokenizing job against the VQ-GAN's own batched encoding of the same pixels, in one run.

python benchmarks/bench_tokenize.py [--preset base] [--clips 16]

The job reads shards, decodes pictures, encodes, packs and publishes; its actor is started before
the clock. Weights are random, which costs the same.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from clock import timed
from PIL import Image

from nuwa_model.presets import VQGANS
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines.clip_tokenizer import ClipTokenizer, Key, ShardWork
from pipelines.config import TokenizeConfig
from pipelines.loading.pictures import to_images
from pipelines.store.schema import CLIPS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable

FRAMES = 10
BATCH = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--clips", type=int, default=16)
    arguments = parser.parse_args()
    config = VQGANS[arguments.preset]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        VQGAN(config).save_pretrained(f"{folder}/vqgan")
        pixels = pictures(arguments.clips * FRAMES, config.resolution)
        work = store_clips(folder, pixels)
        root = StoreTable(folder, "tokens").root
        worker = ClipTokenizer(
            f"{folder}/vqgan", root, "frames", config.resolution, TokenizeConfig(batch_size=BATCH)
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = VQGAN.from_pretrained(f"{folder}/vqgan").to(device)
        bare(model, pixels[:BATCH])
        alone = len(pixels) / timed(lambda: bare(model, pixels))
        job = len(pixels) / timed(lambda: worker.write_shard(work))
    print(
        f"{arguments.preset} on {device}: the VQ-GAN alone {alone:.2f} frames/s, "
        f"the job {job:.2f}, ratio {job / alone:.2f} (wanted 0.9)"
    )
    print(json.dumps({"device": device, "alone": alone, "job": job, "ratio": job / alone}))


def bare(model, pixels):
    """Encode pixels that are in memory, batch by batch."""
    device = next(model.parameters()).device
    for batch in np.split(pixels, range(BATCH, len(pixels), BATCH)):
        model.encode(to_images(batch, "frames", channels=3).to(device)).cpu()


def pictures(count, size):
    """Smooth pictures, about as long in JPEG as photos are."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size // 16, size // 16, 3), np.uint8)
    return np.stack([Image.fromarray(c).resize((size, size)) for c in coarse])


def store_clips(folder, pixels):
    """Publish the pictures as the decoding job does; the work of tokenizing them all."""
    clips = np.split(pixels, len(pixels) // FRAMES)
    rows = [
        {
            "clip_id": f"{index:032x}",
            "dataset": "bench",
            "split": "train",
            "kind": "video",
            "source_uri": str(index),
            "source_sha256": f"{index:064x}",
            "start_us": 0,
            "text": [],
            "frames": [jpeg(frame) for frame in clip],
            "frame_times_us": [0] * FRAMES,
            "is_short": False,
            "decode_rule": "bench",
        }
        for index, clip in enumerate(clips)
    ]
    root = StoreTable(folder, "clips").root
    shard = write_shard(root, pa.Table.from_pylist(rows, CLIPS), inputs={})
    keys = frozenset(Key("bench", row["clip_id"], "video") for row in rows)
    return ShardWork((str(Path(root, shard.path)),), keys)


def jpeg(frame):
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


if __name__ == "__main__":
    main()
