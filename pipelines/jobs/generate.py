"""Sample the configured tasks from an export, on Ray actors, into a sample set."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import ray
from ray.util import ActorPool

from pipelines import artifacts, cluster, names, storage
from pipelines.command import run_job
from pipelines.config import RunConfig, config_tree
from pipelines.errors import StoreError
from pipelines.generation.sample_set import finish
from pipelines.generation.worker import Generator
from pipelines.progress import Progress


class Batch(NamedTuple):
    """Samples of a task that one actor makes at once."""

    task: str
    start: int
    size: int


def generate(config: RunConfig) -> dict[str, Any]:
    """Sample and write; a killed run goes on with the batch that it was making.

    Raises:
        ArtifactError: There is no export to sample from.
        StoreError: No clip of the store can serve any of the tasks.
    """
    name = names.pretrain_export_name(config)
    export = artifacts.find(config.store, "export", name, config.checkpoint)
    name = names.samples_name(config, export.name)
    uri = artifacts.artifact_uri(config.store, "samples", name)
    if artifacts.is_complete(config.store, "samples", name):
        return {"was_complete": True, "samples": uri}
    started = time.monotonic()
    work = storage.join(storage.absolute(config.store), "runs", name)
    cluster.connect()
    with TemporaryDirectory(prefix="samples-") as folder:
        about = _sample(config, export, work, Path(folder))
        metadata = {
            "export": export.name,
            **about,
            "frame_size": config.clips.size,
            "seconds": round(time.monotonic() - started, 2),
        }
        artifacts.publish(
            config.store, "samples", name, folder, config=config_tree(config), metadata=metadata
        )
    storage.delete(work)
    return {"samples": uri, **metadata}


def _sample(
    config: RunConfig, export: artifacts.Artifact, work: str, folder: Path
) -> dict[str, Any]:
    generation = config.generation
    store, uri = storage.absolute(config.store), storage.absolute(export.uri)
    actor, num_workers = cluster.wrap_model_worker(Generator, generation.num_workers)
    workers = [actor.remote(store, uri, work, generation) for _ in range(num_workers)]
    with cluster.plain_errors():
        counts = ray.get([workers[0].num_requests.remote(task) for task in generation.tasks])
    batches = [
        Batch(task, start, min(generation.batch_size, count - start))
        for task, count in zip(generation.tasks, counts, strict=True)
        for start in range(0, count, generation.batch_size)
    ]
    if not batches:
        raise StoreError(
            f"{config.store}: no clip can serve {', '.join(generation.tasks)}; choose other tasks "
            """with --set generation.tasks='["V2V"]', or add captions."""
        )
    with Progress("generate", sum(counts)) as progress, cluster.plain_errors():
        seconds = 0.0
        made = ActorPool(workers).map(lambda a, b: a.make_batch.remote(b.task, b.start), batches)
        for spent, batch in zip(made, batches, strict=True):
            seconds += spent
            progress.advance(batch.size, batch.task)
    return finish(work, folder, [(batch.task, batch.start) for batch in batches], seconds)


if __name__ == "__main__":
    run_job(generate)
