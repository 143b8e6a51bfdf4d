"""Checkpoints: written by all ranks into one folder, complete when our manifest lies in it (D5)."""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import torch
from torch import distributed

from pipelines import artifacts, storage, transfers
from pipelines.artifacts import Artifact
from pipelines.errors import ArtifactError, StorageError
from pipelines.training.ema import AveragedWeights
from pipelines.training.ranks import from_first_rank
from pipelines.training.resharding import load_resharded
from pipelines.training.saved import STATE_FILE, name_of
from pipelines.transfers import Files

logger = logging.getLogger(__name__)

KIND = "checkpoint"
EMA_FILE = "ema.safetensors"
SHARDS = "deepspeed"


class Checkpoints:
    """The checkpoints of one run, ``checkpoint/{run}/step-00000100``.

    A folder holds DeepSpeed's shards, the averaged weights, the random state of every rank, and
    ``state.json``: whatever the loop wants back. On a disk the ranks share that folder; for S3
    each writes one of its own and uploads it.

    Args:
        store: Root of the store.
        run: Name of the run.
        keep: Complete checkpoints to keep.
        config: The resolved settings, for the manifest.
        check_owner: Called on rank 0 before anything is deleted or declared complete.
    """

    def __init__(
        self,
        store: str,
        run: str,
        *,
        keep: int,
        config: Mapping[str, Any],
        check_owner: Callable[[], None],
    ) -> None:
        self._store, self._run, self._keep = store, run, keep
        self._config, self._check_owner = config, check_owner

    def save(
        self,
        engine: Any,
        average: AveragedWeights,
        state: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Artifact:
        """Write a checkpoint of ``state["step"]`` steps; every rank must call it.

        Raises:
            TrainingError: Another process owns the run now.
        """
        name = name_of(self._run, state["step"])
        about = {"kind": KIND, "name": name, "config": self._config, "metadata": metadata}
        uri = artifacts.artifact_uri(self._store, KIND, name)
        from_first_rank(lambda: self._clear(name))
        is_shared = storage.is_local(uri)
        with nullcontext(uri) if is_shared else TemporaryDirectory(prefix="checkpoint-") as folder:
            _write(Path(folder), engine, average, state)
            if is_shared:
                distributed.barrier()
                return from_first_rank(lambda: self._seal_here(name, folder, metadata))
            files, hidden = _upload(Path(folder), uri)
        return from_first_rank(lambda: self._seal_there(about, files, hidden))

    def resume(self, engine: Any, average: AveragedWeights) -> Artifact | None:
        """Load the newest undamaged checkpoint; every rank must call it.

        Returns:
            The checkpoint, or ``None`` if there is none.

        Raises:
            TrainingError: Another number of ranks wrote it, and there is no room to convert it.
        """
        artifact = from_first_rank(self.newest)
        if artifact is None:
            return None
        folder = artifacts.local_folder(artifact)
        average.load(folder / EMA_FILE)
        is_as_written = artifact.metadata["world_size"] == distributed.get_world_size()
        if is_as_written or not engine.zero_optimization_stage():
            engine.load_checkpoint(str(folder), tag=SHARDS)
        else:
            load_resharded(engine, folder / SHARDS)
        random = folder / f"random-{distributed.get_rank():05d}.pt"
        if random.exists():  # of more ranks than wrote it, the last ones begin anew
            _set_random_state(torch.load(random))
        return artifact

    def newest(self) -> Artifact | None:
        """The newest undamaged checkpoint of this run."""
        return newest(self._store, self._run)

    def _clear(self, name: str) -> None:
        self._check_owner()
        artifacts.delete(self._store, KIND, name)

    def _seal_here(self, name: str, folder: str, metadata: Mapping[str, Any]) -> Artifact:
        self._check_owner()
        artifact = artifacts.publish(
            self._store, KIND, name, folder, config=self._config, metadata=metadata
        )
        self._delete_old(artifact)
        return artifact

    def _seal_there(self, about: Mapping[str, Any], files: Files, folder: str) -> Artifact:
        self._check_owner()
        artifact = artifacts.seal(self._store, about, files, folder=folder)
        self._delete_old(artifact)
        return artifact

    def _delete_old(self, newest: Artifact) -> None:
        """Keep the newest and the best. Later ones are damaged: this run passed them by."""
        complete = artifacts.list_names(self._store, KIND, prefix=self._run)
        kept = [name for name in complete if name <= newest.name][-self._keep :]
        kept.append(name_of(self._run, newest.metadata.get("best_step", 0)))
        root = artifacts.artifact_uri(self._store, KIND, self._run)
        for folder in storage.list_folders(root):
            name = f"{self._run}/{folder.rsplit('/', 1)[-1]}"
            if name not in kept:
                artifacts.delete(self._store, KIND, name)


def newest(store: str, run: str) -> Artifact | None:
    """The newest checkpoint whose every hash is right; damaged ones are named in the log."""
    for name in reversed(artifacts.list_names(store, KIND, prefix=run)):
        try:
            artifact = artifacts.load(artifacts.artifact_uri(store, KIND, name))
            artifacts.sound_folder(artifact)
        except ArtifactError as error:
            logger.warning("event=skip_checkpoint name=%s reason=%s", name, error)
        else:
            return artifact
    return None


def _write(folder: Path, engine: Any, average: AveragedWeights, state: Mapping[str, Any]) -> None:
    """Write this rank's part; rank 0 also what is written once."""
    rank = distributed.get_rank()
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    engine.save_checkpoint(str(folder), tag=SHARDS, save_latest=False)
    average.save(folder / EMA_FILE, is_writer=rank == 0)
    torch.save(_random_state(), folder / f"random-{rank:05d}.pt")
    if rank == 0:
        (folder / STATE_FILE).write_text(json.dumps(state))


def _upload(folder: Path, uri: str) -> tuple[Files, str]:
    """Upload this rank's part into a folder that no other attempt uses, and wait for all parts.

    Returns:
        The files of all ranks, and the name of the folder.

    Raises:
        StorageError: A rank could not upload its part; every rank raises.
    """
    hidden = from_first_rank(lambda: f".{uuid4().hex}")
    part: tuple[Files, str] = ({}, "")
    try:
        files = transfers.describe_folder(folder, artifacts.file_names(folder))
        transfers.upload(folder, storage.join(uri, hidden), files)
        part = (files, "")
    except StorageError as error:
        part = ({}, str(error))
    parts: list[tuple[Files, str]] = [part] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    for problem in (problem for _, problem in parts if problem):
        raise StorageError(problem)
    return {name: record for files, _ in parts for name, record in files.items()}, hidden


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
