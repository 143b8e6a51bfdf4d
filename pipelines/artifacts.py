"""What jobs leave behind: a folder of files with a manifest that was written last.

A folder without its manifest is not an artifact, so nothing half done is ever used. Torch-free.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata as packages
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines import storage
from pipelines.errors import ArtifactError, StorageError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1

MADE_BY: Mapping[str, str] = {
    "text_tokenizer": "prepare-data",
    "vqgan": "train-tokenizer",
    "vqgan_seg": "train-tokenizer",
    "checkpoint": "pretrain",
    "export": "pretrain",
    "samples": "evaluate",
}
"""The flow that makes each kind, for messages."""

_HASHED_ON_LOAD = 1 << 20
_PACKAGES = ("nuwa", "torch", "numpy", "tokenizers", "safetensors", "pyarrow", "deltalake")
_PACKAGES_OF_JOBS = ("ray", "deepspeed", "prefect", "ffmpeg-python", "imageio-ffmpeg")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A complete artifact.

    Attributes:
        uri: Its folder.
        kind: A key of ``MADE_BY``.
        name: Unique in its kind; may hold ``/``.
        config: The resolved settings it was made with.
        metadata: Whatever its maker wanted to say, as JSON values.
        files: Size in bytes and SHA-256 of each file, by its path inside the folder.
    """

    uri: str
    kind: str
    name: str
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]


def artifact_uri(store: str, kind: str, name: str) -> str:
    """Where an artifact lies, or will."""
    return storage.join(store, "artifacts", kind, name)


def is_complete(store: str, kind: str, name: str) -> bool:
    """Whether this artifact was published to its end."""
    return storage.exists(storage.join(artifact_uri(store, kind, name), MANIFEST))


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

    The files are copied aside and appear at once, whole, so a publisher may die anywhere. What
    an unfinished one left at that place is thrown away. A folder that already lies at its place,
    as a checkpoint that several ranks wrote together, is only hashed and given its manifest.

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
    uri = artifact_uri(store, kind, name)
    target, source = storage.local_path(uri), Path(folder)
    if not _names(source):
        raise ArtifactError(f"Nothing to publish as {kind} {name}: {source} holds no file.")
    about = {"kind": kind, "name": name, "config": config, "metadata": metadata}
    if target.exists() and target.resolve() == source.resolve():
        _write_manifest(target, about)
        return load(uri)
    scratch = target.with_name(f".{uuid4().hex}.tmp")
    try:
        _copy(source, scratch)
        _write_manifest(scratch, about)
        with _locked(target):
            if not (target / MANIFEST).exists():
                shutil.rmtree(target, ignore_errors=True)
                scratch.rename(target)
                storage.sync(target.parent)
    except OSError as error:
        raise StorageError(f"Cannot publish {uri}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return load(uri)


def load(uri: str) -> Artifact:
    """Read an artifact's manifest and check that its files are there; small ones are hashed.

    Raises:
        ArtifactError: It is missing, unfinished or damaged; the file is named.
    """
    path = storage.join(uri, MANIFEST)
    if not storage.exists(path):
        raise ArtifactError(
            f"{uri} is not a complete artifact, it has no {MANIFEST}: run the flow that makes it."
        )
    try:
        tree = json.loads(storage.read_bytes(path))
        version = tree.pop("schema_version")
        fields = {key: tree[key] for key in ("kind", "name", "config", "metadata", "files")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(_damage(uri, path, "it is not a manifest")) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema_version {version}, but this version reads {SCHEMA_VERSION}: "
            "use the version of nuwa that wrote it, or run the flow that makes it again."
        )
    artifact = Artifact(uri=uri.rstrip("/"), **fields)
    for name, record in artifact.files.items():
        _check_file(artifact, name, record, is_hashed=record["size"] <= _HASHED_ON_LOAD)
    return artifact


def verify(artifact: Artifact) -> None:
    """Hash every file again.

    Raises:
        ArtifactError: A file is missing or damaged; it is named.
    """
    for name, record in artifact.files.items():
        _check_file(artifact, name, record, is_hashed=True)


def local_folder(artifact: Artifact) -> Path:
    """A folder of this machine that holds the artifact's files."""
    return storage.local_path(artifact.uri)


def delete(store: str, kind: str, name: str) -> None:
    """Delete an artifact or what is left of one; its manifest goes first."""
    uri = artifact_uri(store, kind, name)
    storage.delete(storage.join(uri, MANIFEST))
    storage.delete(uri)


def list_names(store: str, kind: str, prefix: str = "") -> list[str]:
    """Names of the complete artifacts of a kind, sorted.

    Args:
        store: Root of the store.
        kind: Which kind.
        prefix: Only names below this one, such as a run whose checkpoints are wanted.
    """
    root = artifact_uri(store, kind, "").rstrip("/")
    uris = storage.list_files(storage.join(root, prefix))
    folders = {uri.removesuffix(f"/{MANIFEST}") for uri in uris if uri.endswith(f"/{MANIFEST}")}
    # An artifact may hold the manifest of another that was copied into it.
    outermost = [f for f in folders if folders.isdisjoint(map(str, Path(f).parents))]
    return sorted(folder.removeprefix(f"{root}/") for folder in outermost)


def find(store: str, kind: str, name: str, given: str = "") -> Artifact:
    """The artifact to use: the one given, else that of this name, else the only one of its kind.

    Args:
        store: Root of the store.
        kind: Which kind.
        name: The name that the settings give it.
        given: Folder of an artifact anywhere, or a name in this store.

    Raises:
        ArtifactError: There is none, or several and none has the name; they are listed.
    """
    if given:
        return _given(store, kind, given)
    if is_complete(store, kind, name):
        return load(artifact_uri(store, kind, name))
    known = list_names(store, kind)
    if len(known) == 1:
        return load(artifact_uri(store, kind, known[0]))
    flow = MADE_BY.get(kind, "that makes it")
    if not known:
        raise ArtifactError(f"{store} has no {kind} yet: run the flow {flow} first.")
    raise ArtifactError(
        f"{store} has no {kind} called {name}, but it has {', '.join(known)}: name one of them "
        f"in the settings, or run the flow {flow}."
    )


def _given(store: str, kind: str, given: str) -> Artifact:
    for uri in (given, artifact_uri(store, kind, given)):
        if storage.exists(storage.join(uri, MANIFEST)):
            artifact = load(uri)
            if artifact.kind != kind:
                raise ArtifactError(f"{uri} is of kind {artifact.kind}, but kind {kind} is wanted.")
            return artifact
    known = ", ".join(list_names(store, kind)) or "none"
    raise ArtifactError(
        f"{given} is neither the folder of a complete {kind} nor the name of one in {store} "
        f"(known: {known})."
    )


def _names(folder: Path) -> list[str]:
    """Paths inside a folder, of the files that belong to an artifact."""
    names = [Path(uri).relative_to(folder).as_posix() for uri in storage.list_files(str(folder))]
    return [name for name in names if name != MANIFEST]


def _copy(source: Path, scratch: Path) -> None:
    for name in _names(source):
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {name: _record(folder / name) for name in _names(folder)}
    for path in {(folder / name).parent for name in files}:
        storage.sync(path)
    tree = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "files": files,
        "code_commit": code_commit(),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    data = json.dumps(tree, indent=1, ensure_ascii=False).encode()
    storage.put_if_absent(str(folder / MANIFEST), data)


def _record(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        storage.sync(path)
        return {"size": file.tell(), "sha256": digest}


def _check_file(
    artifact: Artifact, name: str, record: Mapping[str, Any], *, is_hashed: bool
) -> None:
    uri = storage.join(artifact.uri, name)
    if not storage.exists(uri):
        raise ArtifactError(_damage(artifact.uri, uri, "it is missing"))
    size = storage.size(uri)
    if size != record["size"]:
        raise ArtifactError(_damage(artifact.uri, uri, f"{size} bytes, not {record['size']}"))
    if not is_hashed:
        return
    with storage.open_file(uri) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record["sha256"]:
            raise ArtifactError(_damage(artifact.uri, uri, "its SHA-256 is another"))


def _damage(folder: str, uri: str, what: str) -> str:
    return (
        f"{uri} is damaged: {what}. Restore it from a copy, or delete {folder} and run the flow "
        "that makes it again."
    )


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one publisher at a time look at the target and move there; death frees the lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def code_commit() -> str:
    """The commit of this code, or its version where it is installed without its history."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return package_versions()["nuwa"]
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return package_versions()["nuwa"]
    return result.stdout.strip()


@cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what comes out."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in (*_PACKAGES, *_PACKAGES_OF_JOBS):
        try:
            versions[name] = packages.version(name)
        except packages.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
