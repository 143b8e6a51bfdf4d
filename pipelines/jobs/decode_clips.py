"""Raw videos and images to the clips table; what cannot be used becomes an error row (D3)."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from pipelines import cluster, disk, storage
from pipelines.command import run_job
from pipelines.config import ClipsConfig, RunConfig
from pipelines.datasets import list_sources
from pipelines.datasets.catalog import Known, Source, look_at, other_datasets, read_known, summarize
from pipelines.datasets.listings import Listings
from pipelines.datasets.plan import Plan, make_plan
from pipelines.datasets.settle import Settlement, owners_of
from pipelines.errors import StoreError, TooManyErrorsError
from pipelines.meters import Meters
from pipelines.progress import Progress
from pipelines.store.leases import lease
from pipelines.store.shards import read_shard
from pipelines.store.table import StoreTable
from pipelines.video.clips import decode_rule
from pipelines.video.shard_work import ShardResult, ShardWork, decode_shard, failed, split_work

_log = logging.getLogger(__name__)


def decode_clips(config: RunConfig) -> dict[str, Any]:
    """Decode every source of the data set that is new or changed.

    Killed at any moment and run again, it finishes the rest; if nothing is new it commits nothing.
    Several may be at work on one store: each source is settled once.

    Raises:
        SourceError: The data set's folder is not what its format promises.
        StoreError: The store holds clips that were cut by another rule.
        TooManyErrorsError: More than ``config.clips.max_error_fraction`` of the sources failed;
            the clips of all others are committed.
    """
    store, dataset = storage.absolute(config.store), config.dataset.name
    sources = list_and_look(config)
    with lease(store, "decode_clips", "writer"):
        _refuse_other_rule(store, config.clips)
        settlement = Settlement(store, dataset)
        known = read_known(store, dataset)
        plan = make_plan(
            sources,
            known,
            verify_content=config.clips.verify_content,
            retry_errors=config.clips.retry_errors,
            fetch=config.fetch,
        )
        if plan:
            _refuse_full_disk(store, plan, config.clips)
            settlement.forget(plan, known)
            settlement.share_with_copies(plan, known)
            _decode(settlement, config, plan, known)
            known = read_known(store, dataset)
    record = summarize(sources, known, num_frames=config.clips.num_frames)
    print(record["summary"], flush=True)
    if others := other_datasets(store, dataset):
        print(f"{store} also holds {', '.join(others)}: training takes all of them", flush=True)
    _refuse_too_many(record, config.clips.max_error_fraction)
    return {**record, "decoded": len(plan.decode), "was_complete": not plan}


def list_and_look(config: RunConfig) -> list[Source]:
    """Everything that the data set has, as it lies there now."""
    listings = Listings()
    return [look_at(ref, listings) for ref in list_sources(config, listings)]


def _refuse_other_rule(store: str, config: ClipsConfig) -> None:
    """All clips of a store have one rule, so one shard tells it."""
    table = StoreTable(store, "clips")
    live = table.shards() if table.exists() else []
    if not live:
        return
    found = read_shard(storage.join(table.root, live[0].path), ["decode_rule"])
    rule = found.column("decode_rule")[0].as_py()
    if rule != decode_rule(config):
        raise StoreError(
            f"{store} holds clips cut by the rule {rule!r}, but these settings say "
            f"{decode_rule(config)!r}; choose another store, or set clips as they were."
        )


def _refuse_full_disk(store: str, plan: Plan, config: ClipsConfig) -> None:
    """One clip of each source, and one frame of that, is the least that there will be."""
    needed = disk.clip_bytes(len(plan.decode), config.size)
    disk.require_space(store, needed, f"Decoding {len(plan.decode)} sources")


def _decode(settlement: Settlement, config: RunConfig, plan: Plan, known: Known) -> None:
    if not plan.decode:
        return
    cluster.connect()
    root = settlement.clips.table.root
    work = list(split_work(root, config.dataset.name, plan.decode, config.clips, config.fetch))
    owners = owners_of(known, plan)
    meters, left = Meters("decode_clips"), len(plan.decode)
    with Progress("decode clips", left) as progress:
        meters.waiting(left)
        for result in _results(work, config.clips):
            result = settlement.without_doubles(result, owners)
            copies = [
                replace(outcome, source=copy)
                for outcome in result.outcomes
                for copy in plan.copies.get(outcome.source.uri, ())
            ]
            settlement.commit(ShardResult(result.outcomes + copies, result.shards))
            left -= len(result.outcomes)
            progress.advance(len(result.outcomes))
            meters.waiting(left)
            meters.count(
                clips=sum(outcome.num_clips for outcome in result.outcomes),
                frames=sum(outcome.frames_read for outcome in result.outcomes),
            )
            meters.count_errors(Counter(o.code for o in result.outcomes if o.code))


def _results(work: Iterable[ShardWork], config: ClipsConfig) -> Iterator[ShardResult]:
    """Run tasks with a bounded window, in whatever order they end.

    Work whose process dies twice is divided into its single sources; a source whose process dies
    even alone is the culprit and gets the error.
    """
    window = config.num_workers or int(ray.cluster_resources().get("CPU", 1))
    task = ray.remote(num_cpus=1, max_retries=1)(decode_shard)
    todo = sorted(work, key=_num_bytes)  # the largest goes first: no long one is left for the end
    running: dict[Any, ShardWork] = {}

    def fill_window() -> None:
        while todo and len(running) < window:
            item = todo.pop()
            running[task.remote(item)] = item

    fill_window()
    while running:
        (done, *_), _ = ray.wait(list(running))
        item = running.pop(done)
        fill_window()  # before the caller commits what is done: nobody waits for that
        try:
            yield ray.get(done)
        except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
            reason = str(error).splitlines()[0]
            _log.warning("worker died num_sources=%d error=%s", len(item.sources), reason)
            if len(item.sources) == 1:
                yield ShardResult([failed(item.sources[0], "killed", reason)], [])
            else:
                todo += [replace(item, sources=(source,)) for source in item.sources]
                fill_window()


def _num_bytes(work: ShardWork) -> int:
    return sum(source.size for source in work.sources)


def _refuse_too_many(record: dict[str, Any], max_error_fraction: float) -> None:
    num_errors = record["sources"] - record["with_clips"]
    if num_errors > max_error_fraction * record["sources"]:
        codes = ", ".join(f"{code} ({count})" for code, count in sorted(record["errors"].items()))
        raise TooManyErrorsError(
            f"{num_errors} of {record['sources']} sources failed: {codes}; "
            f"clips.max_error_fraction allows {max_error_fraction:g}. The others' clips are "
            "committed. The table errors tells the reasons; mend or remove those files, or allow "
            "more."
        )


if __name__ == "__main__":
    run_job(decode_clips)
