"""A training run: what names it and decides its result, and where it keeps things."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines import storage
from pipelines.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What names a run and decides its result; plain values.

    Attributes:
        store: Root of the store.
        name: Of the run (``pipelines.names``).
        training: How to train.
        config: The resolved settings, for manifests.
        metadata: More to say in manifests: store version, fingerprints.
    """

    store: str
    name: str
    training: TrainingConfig
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def root(self) -> str:
        """Folder of the run's owner record, curve and TensorBoard files."""
        return run_root(self.store, self.name)


def run_root(store: str, name: str) -> str:
    """Where a run keeps what is not an artifact."""
    return storage.join(store, "runs", name)
