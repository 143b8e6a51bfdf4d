"""What a checkpoint tells of itself, to be read without torch."""

import json
from typing import Any

from pipelines import storage
from pipelines.artifacts import Artifact
from pipelines.artifacts.manifest import damage
from pipelines.errors import ArtifactError

STATE_FILE = "state.json"


def name_of(run: str, step: int) -> str:
    """Name of the checkpoint of that many steps."""
    return f"{run}/step-{step:08d}"


def is_final(artifact: Artifact, steps: int) -> bool:
    """Whether a run of so many steps ended with this checkpoint."""
    return artifact.metadata["step"] >= steps or artifact.metadata.get("has_stopped_early", False)


def read_state(artifact: Artifact) -> dict[str, Any]:
    """What the loop gave to be saved; nothing of a tokenizer, which keeps it with its weights.

    Raises:
        ArtifactError: The file is damaged.
    """
    if STATE_FILE not in artifact.files:
        return {}
    uri = storage.join(artifact.root, STATE_FILE)
    try:
        state: dict[str, Any] = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise ArtifactError(damage(artifact.uri, uri, "it is not JSON")) from error
    return state
