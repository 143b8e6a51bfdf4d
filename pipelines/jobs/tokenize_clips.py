"""Job: every clip and sketch that has no tokens of the store's tokenizers gets them.

A work item is some files of the clips table, chosen by a stable hash of their paths, which are
hashes of what they hold. So a job that is repeated makes the same shards of the same rows, and
``write_shard`` keeps one of each; of jobs that divide other clips at once, the first keeps a row.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from ray.util import ActorPool

from pipelines import cluster, disk, storage
from pipelines.artifacts import Artifact
from pipelines.clip_tokenizer import KEY, ClipTokenizer, Key, ShardResult, ShardWork
from pipelines.command import run_job
from pipelines.config import RunConfig
from pipelines.loading.pictures import KINDS, Content
from pipelines.meters import Meters
from pipelines.progress import Progress
from pipelines.run_tokenizers import find_sketch_tokenizer, find_tokenizer, fingerprint_of
from pipelines.store.leases import lease
from pipelines.store.once import OnceWriter
from pipelines.store.shards import ShardFile, read_shard
from pipelines.store.table import StoreTable

COMMIT_EVERY_S = 10.0
"""A killed job repeats at most this much work."""


def tokenize_clips(config: RunConfig) -> dict[str, Any]:
    """Turn every clip and sketch that has no tokens yet into tokens."""
    record: dict[str, Any] = {"was_complete": True}
    tokenizers = _tokenizers(config)
    with lease(config.store, "tokenize_clips", "writer"):
        for content, artifact in tokenizers.items():
            writer = OnceWriter(StoreTable(config.store, "tokens"))
            work = plan_work(config, content, fingerprint_of(artifact))
            told = _tokenize(config, content, artifact, work, writer)
            record["was_complete"] &= not work
            record |= told if content == "frames" else {"sketches": told}
    return record


def _tokenizers(config: RunConfig) -> dict[Content, Artifact]:
    store = config.store
    found: dict[Content, Artifact] = {"frames": find_tokenizer(config, "vqgan")}
    sketches = find_sketch_tokenizer(config)
    if sketches is not None:
        found["sketches"] = sketches
    elif StoreTable(store, "clips").num_rows({"kind": KINDS["sketches"]}):
        print(f"sketches are left out: {store} has no vqgan_seg; run train-tokenizer to make one")
    return found


def plan_work(config: RunConfig, content: Content, fingerprint: str) -> list[ShardWork]:
    """Divide the clips that have no tokens of this tokenizer, about ``shard_clips`` to an item."""
    clips, tokens = StoreTable(config.store, "clips"), StoreTable(config.store, "tokens")
    done: set[Key] = set()
    if tokens.exists():
        done = _keys(tokens.read(KEY, where={"tokenizer": fingerprint}))
    shards = clips.shards()
    # A power of two, so that a growing table rarely changes where a file belongs.
    wanted = sum(shard.num_rows for shard in shards) / config.tokenize.shard_clips
    num_items = 1 << max(0, round(np.log2(max(wanted, 1))))
    files: dict[int, list[str]] = defaultdict(list)
    keys: dict[int, set[Key]] = defaultdict(set)
    for shard in shards:
        uri = storage.join(clips.root, shard.path)
        todo = {key for key in _keys(read_shard(uri, KEY)) if key.kind in KINDS[content]} - done
        if todo:
            item = _stable_hash(shard.path) % num_items
            files[item].append(storage.absolute(uri))
            keys[item] |= todo
    return [ShardWork(tuple(sorted(files[i])), frozenset(keys[i])) for i in sorted(files)]


def _tokenize(
    config: RunConfig,
    content: Content,
    artifact: Artifact,
    work: Sequence[ShardWork],
    writer: OnceWriter,
) -> dict[str, Any]:
    fingerprint = fingerprint_of(artifact)
    if not work:
        print(f"nothing to do: all {content} have tokens of {fingerprint}")
        return {"fingerprint": fingerprint, "clips": 0, "tokens": 0}
    _refuse_full_disk(config, content, work)
    results: list[ShardResult] = []
    pending: list[ShardFile] = []
    committed = time.monotonic()
    cluster.connect()
    meters, left = Meters("tokenize_clips"), sum(len(item.keys) for item in work)
    with Progress(f"tokenize {content}", left) as progress:
        for result in _results(config, content, artifact, work):
            results.append(result)
            pending.append(result.shard)
            progress.advance(result.num_clips)
            left -= result.num_clips
            meters.waiting(left)
            meters.count(clips=result.num_clips, tokens=result.num_tokens)
            if time.monotonic() - committed > COMMIT_EVERY_S:
                writer.commit(pending)
                pending, committed = [], time.monotonic()
    writer.commit(pending)
    used = np.bitwise_or.reduce([np.frombuffer(r.used, np.uint8) for r in results])
    return {
        "fingerprint": fingerprint,
        "clips": sum(result.num_clips for result in results),
        "tokens": sum(result.num_tokens for result in results),
        "codes_used": int(np.unpackbits(used).sum()),
        "version": writer.table.version(),
    }


def _refuse_full_disk(config: RunConfig, content: Content, work: Sequence[ShardWork]) -> None:
    """One frame of each clip is the least that there will be."""
    num_clips = sum(len(item.keys) for item in work)
    factor = (config.vqgan if content == "frames" else config.vqgan_seg).factor
    needed = disk.token_bytes(num_clips * (config.clips.size // factor) ** 2)
    disk.require_space(config.store, needed, f"Tokenizing {num_clips} clips")


def _results(
    config: RunConfig, content: Content, artifact: Artifact, work: Sequence[ShardWork]
) -> Iterator[ShardResult]:
    """Results in whatever order they come; each worker has one item at a time."""
    wanted = config.tokenize.num_workers
    actor, num_workers = cluster.wrap_model_worker(ClipTokenizer, min(wanted, len(work)))
    root = storage.absolute(StoreTable(config.store, "tokens").root)
    arguments = (
        storage.absolute(artifact.uri),
        root,
        content,
        config.clips.size,
        config.tokenize,
    )
    pool = ActorPool([actor.remote(*arguments) for _ in range(num_workers)])
    with cluster.plain_errors():
        yield from pool.map_unordered(_submit, list(work))


def _submit(worker: Any, item: ShardWork) -> Any:
    return worker.write_shard.remote(item)


def _keys(rows: pa.Table) -> set[Key]:
    return {Key(**row) for row in rows.select(KEY).to_pylist()}


def _stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


if __name__ == "__main__":
    run_job(tokenize_clips)
