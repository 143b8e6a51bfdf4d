"""Checkpoints: written by all ranks into one folder, complete when our manifest lies in it (D5)."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipelines import artifacts, storage
from pipelines.artifacts import Artifact
from pipelines.errors import ArtifactError, TrainingError
from pipelines.training.ema import AveragedWeights
from pipelines.training.ranks import from_first_rank

logger = logging.getLogger(__name__)

KIND = "checkpoint"
EMA_FILE = "ema.safetensors"

_STATE_FILE = "state.json"
_SHARDS = "deepspeed"


class Checkpoints:
    """The checkpoints of one run, ``checkpoint/{run}/step-00000100``.

    A folder holds DeepSpeed's shards, the averaged weights, the random state of every rank, and
    ``state.json``: whatever the loop wants back.

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
        name = f"{self._run}/step-{state['step']:08d}"
        folder = storage.local_path(artifacts.artifact_uri(self._store, KIND, name))
        from_first_rank(lambda: self._clear(name, folder))
        is_first, rank = distributed.get_rank() == 0, distributed.get_rank()
        engine.save_checkpoint(str(folder), tag=_SHARDS, save_latest=False)
        average.save(folder / EMA_FILE, is_writer=is_first)
        torch.save(_random_state(), folder / f"random-{rank:05d}.pt")
        if is_first:
            (folder / _STATE_FILE).write_text(json.dumps(state))
        distributed.barrier()
        return from_first_rank(lambda: self._publish(name, folder, metadata))

    def resume(self, engine: Any, average: AveragedWeights) -> Artifact | None:
        """Load the newest undamaged checkpoint; every rank must call it.

        Returns:
            The checkpoint, or ``None`` if there is none.

        Raises:
            TrainingError: It was written by another number of ranks.
        """
        artifact = from_first_rank(self.newest)
        if artifact is None:
            return None
        world_size = artifact.metadata["world_size"]
        if world_size != distributed.get_world_size():
            raise TrainingError(
                f"{artifact.uri} was written by {world_size} ranks and cannot be read by "
                f"{distributed.get_world_size()}: set num_workers={world_size}."
            )
        folder = artifacts.local_folder(artifact)
        average.load(folder / EMA_FILE)
        engine.load_checkpoint(str(folder), tag=_SHARDS)
        _set_random_state(torch.load(folder / f"random-{distributed.get_rank():05d}.pt"))
        return artifact

    def newest(self) -> Artifact | None:
        """The newest undamaged checkpoint of this run."""
        return newest(self._store, self._run)

    def _clear(self, name: str, folder: Path) -> None:
        self._check_owner()
        artifacts.delete(self._store, KIND, name)
        folder.mkdir(parents=True)

    def _publish(self, name: str, folder: Path, metadata: Mapping[str, Any]) -> Artifact:
        self._check_owner()
        artifact = artifacts.publish(
            self._store, KIND, name, folder, config=self._config, metadata=metadata
        )
        self._delete_all_but_the_newest(name)
        return artifact

    def _delete_all_but_the_newest(self, newest: str) -> None:
        """Later ones are damaged: this run passed them by."""
        complete = artifacts.list_names(self._store, KIND, prefix=self._run)
        kept = [name for name in complete if name <= newest][-self._keep :]
        root = storage.local_path(artifacts.artifact_uri(self._store, KIND, self._run))
        for folder in root.glob("step-*"):
            name = f"{self._run}/{folder.name}"
            if name not in kept:
                artifacts.delete(self._store, KIND, name)


def read_state(artifact: Artifact) -> dict[str, Any]:
    """What the loop gave ``save``."""
    state: dict[str, Any] = json.loads(storage.read_bytes(storage.join(artifact.uri, _STATE_FILE)))
    return state


def newest(store: str, run: str) -> Artifact | None:
    """The newest checkpoint whose every hash is right; damaged ones are named in the log."""
    for name in reversed(artifacts.list_names(store, KIND, prefix=run)):
        try:
            artifact = artifacts.load(artifacts.artifact_uri(store, KIND, name))
            artifacts.verify(artifact)
        except ArtifactError as error:
            logger.warning("event=skip_checkpoint name=%s reason=%s", name, error)
        else:
            return artifact
    return None


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
