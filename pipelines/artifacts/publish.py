"""How artifacts come to be: all files first, the manifest last."""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines import storage, transfers
from pipelines.artifacts.find import is_complete, load
from pipelines.artifacts.manifest import (
    MANIFEST,
    Artifact,
    artifact_uri,
    content_id,
    read_manifest,
    write_manifest,
)
from pipelines.errors import ArtifactError, StorageError
from pipelines.storage import Advance
from pipelines.transfers import Files


def publish(
    store: str,
    kind: str,
    name: str,
    folder: str | Path,
    *,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> Artifact:
    """Make a folder's files an artifact; the first of several publishers wins.

    A publisher may die anywhere: nothing is to be seen before all of it is there. On a disk the
    files are copied aside and move to their place at once; what an unfinished publisher left there
    is thrown away, and a folder that lies at its place already, as a checkpoint that several ranks
    wrote together, is only hashed and given its manifest. On S3 see ``seal``.

    Args:
        store: Root of the store.
        kind: What it is, such as ``vqgan``.
        name: A pure function of the settings (``pipelines.names``).
        folder: Files to publish, subfolders included; hidden ones and a manifest are left out.
        config: The resolved settings (``pipelines.config.config_tree``).
        metadata: JSON values for whoever loads it.

    Returns:
        The artifact that lies there now: this one, or that of a publisher that was first.

    Raises:
        ArtifactError: The folder is empty.
        StorageError: It cannot be written.
    """
    about = {"kind": kind, "name": name, "config": config, "metadata": metadata}
    return publish_as(store, about, Path(folder))


def publish_as(
    store: str, about: Mapping[str, Any], source: Path, advance: Advance = transfers.silent
) -> Artifact:
    """Publish with a manifest that says ``about``; see ``publish`` and ``write_manifest``."""
    kind, name = about["kind"], about["name"]
    if not file_names(source):
        raise ArtifactError(f"Nothing to publish as {kind} {name}: {source} holds no file.")
    uri = artifact_uri(store, kind, name)
    if storage.is_local(uri):
        _publish_here(uri, about, source)
    elif not is_complete(store, kind, name):
        files = transfers.describe_folder(source, file_names(source))
        # Of the same files the same folder, so that a publisher that died is continued.
        folder = f".{content_id(files)}"
        transfers.upload(source, storage.join(uri, folder), files, advance)
        seal(store, about, files, folder=folder)
    return load(uri)


def seal(store: str, about: Mapping[str, Any], files: Files, *, folder: str) -> Artifact:
    """Make an artifact of files that were uploaded into a hidden folder at its place.

    The manifest names that folder and is one conditional put, so of several publishers one wins
    and nothing is mixed; a loser's files are deleted.

    Args:
        store: Root of the store.
        about: See ``write_manifest``.
        files: What was uploaded, by whoever did it.
        folder: Name of the folder, inside that of the artifact.
    """
    uri = artifact_uri(store, about["kind"], about["name"])
    if not write_manifest(uri, about, files, folder=folder) and read_manifest(uri).folder != folder:
        storage.delete(storage.join(uri, folder))
    return load(uri)


def file_names(folder: Path) -> list[str]:
    """Paths inside a folder, of the files that belong to an artifact."""
    names = [Path(uri).relative_to(folder).as_posix() for uri in storage.list_files(str(folder))]
    return [name for name in names if name != MANIFEST]


def stamp(folder: Path, about: Mapping[str, Any]) -> None:
    """Make a folder of this machine an artifact where it lies; see ``write_manifest``."""
    files = transfers.describe_folder(folder, file_names(folder))
    for path in {(folder / name).parent for name in files}:
        storage.sync(path)
    write_manifest(str(folder), about, files)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let one process at a time decide what lies at a place; death frees the lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _publish_here(uri: str, about: Mapping[str, Any], source: Path) -> None:
    target = storage.local_path(uri)
    if target.exists() and target.resolve() == source.resolve():
        stamp(target, about)
        return
    scratch = target.with_name(f".{uuid4().hex}.tmp")
    try:
        _copy(source, scratch)
        stamp(scratch, about)
        with locked(target):
            if not (target / MANIFEST).exists():
                shutil.rmtree(target, ignore_errors=True)
                scratch.rename(target)
                storage.sync(target.parent)
    except OSError as error:
        raise StorageError(f"Cannot publish {uri}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy(source: Path, scratch: Path) -> None:
    for name in file_names(source):
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)
