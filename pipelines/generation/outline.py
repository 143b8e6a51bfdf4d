"""What an export's small files tell of it, before its weights are read. Torch-free."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.grid import Grid
from nuwa_model.tasks import Task
from pipelines import artifacts, storage
from pipelines.errors import ArtifactError


@dataclass(frozen=True, kw_only=True)
class Outline:
    """An export from outside.

    Attributes:
        name: Of the artifact, or of the folder where it is none.
        fingerprints: Of its parts.
        target_grid: Tokens of a video; an image is one frame of it.
        factor: Pixels to a token along one side.
        num_classes: Labels that sketches may have; 0 if it was trained without sketches.
    """

    name: str
    fingerprints: Mapping[str, str]
    target_grid: Grid
    factor: int
    num_classes: int

    @property
    def size(self) -> int:
        """Height and width of a frame in pixels."""
        return self.target_grid.h * self.factor

    def grid_of(self, task: Task) -> Grid:
        """Tokens that a task writes."""
        return self.target_grid._replace(s=self.target_grid.s if task.target == "video" else 1)


class Found(NamedTuple):
    """An export on this machine.

    Attributes:
        folder: Where it lies.
        name: The artifact's, or the folder's.
    """

    folder: Path
    name: str


@contextmanager
def export_folder(uri: str) -> Iterator[Found]:
    """Where an export lies on this machine.

    Args:
        uri: A folder with an export, or an artifact anywhere: an export, or a checkpoint of a
            training, of which an export is made that is gone at the end.

    Raises:
        ArtifactError: The artifact is missing, damaged or of another kind.
        StorageError: The system refuses to look there.
    """
    if storage.is_local(uri) and not (storage.exists(uri) and Path(uri).is_dir()):
        raise ArtifactError(f"{uri} is no folder of this machine: give an export or a checkpoint.")
    if storage.is_local(uri) and not storage.exists(storage.join(uri, artifacts.MANIFEST)):
        folder = storage.local_path(uri)
        yield Found(folder, folder.resolve().name)
        return
    manifest = artifacts.read_manifest(uri)
    kind, name = manifest.kind, manifest.name
    if kind == "export":
        yield Found(artifacts.folder_at(uri), name)
    elif kind == "checkpoint":
        from pipelines.training.exporting import export_checkpoint

        with TemporaryDirectory(prefix="nuwa-export-") as scratch:
            made = export_checkpoint(uri, Path(scratch) / "export")
            yield Found(Path(scratch) / "export", made.name)
    else:
        raise ArtifactError(f"{uri} is of kind {kind}: give an export or a checkpoint.")


def read_outline(found: Found) -> Outline:
    """What the settings of an export say.

    Raises:
        WeightsError: The folder is no export.
        ConfigError: Its frames are not square.
    """
    folder = found.folder
    try:
        model = json.loads((folder / "config.json").read_text())
        fingerprints = {str(name): str(value) for name, value in model["fingerprints"].items()}
        frames = _tokenizer(folder / "vqgan")
        sketches = _tokenizer(folder / "vqgan_seg") if "vqgan_seg" in fingerprints else None
        grid = Grid(*model["target_grid"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{folder} is no export that can be read ({type(error).__name__}: {error}): give a "
            "folder that `nuwa checkpoint export` wrote, or an artifact of kind export or "
            "checkpoint."
        ) from error
    if grid.h != grid.w:
        raise ConfigError(
            f"{folder} makes frames of {grid.h}×{grid.w} tokens, but pictures are only read as "
            "squares: call nuwa_model.generation.synthesize with tokens of your own."
        )
    return Outline(
        name=found.name,
        fingerprints=fingerprints,
        target_grid=grid,
        factor=frames.factor,
        num_classes=sketches.channels if sketches else 0,
    )


def _tokenizer(folder: Path) -> VQGANConfig:
    fields: dict[str, Any] = json.loads((folder / "config.json").read_text())
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return VQGANConfig(**fields)
