"""The manifest of an artifact: what it holds, what made it, and with what."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata as packages
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines import storage
from pipelines.errors import ArtifactError
from pipelines.transfers import Files

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1

MADE_BY: Mapping[str, str] = {
    "text_tokenizer": "prepare-data",
    "vqgan": "train-tokenizer",
    "vqgan_seg": "train-tokenizer",
    "ablation": "ablate-tokenizer",
    "checkpoint": "pretrain",
    "export": "pretrain",
    "samples": "evaluate",
}
"""The flow that makes each kind, for messages."""

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
        files: Size in bytes and SHA-256 of each file, by its path inside ``root``.
        folder: Where in ``uri`` the files lie: nothing on a disk, a hidden folder on S3.
    """

    uri: str
    kind: str
    name: str
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    files: Files
    folder: str = ""

    @property
    def root(self) -> str:
        """The folder of the files."""
        return storage.join(self.uri, self.folder)

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(record["size"] for record in self.files.values())


def artifact_uri(store: str, kind: str, name: str) -> str:
    """Where an artifact lies, or will."""
    return storage.join(store, "artifacts", kind, name)


def manifest_uri(uri: str) -> str:
    """The file whose presence makes a folder an artifact."""
    return storage.join(uri, MANIFEST)


def content_id(files: Files) -> str:
    """Hex digits that are the same for the same files, whoever made them and wherever they lie."""
    text = json.dumps({name: record["sha256"] for name, record in files.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_manifest(uri: str, about: Mapping[str, Any], files: Files, *, folder: str = "") -> bool:
    """Declare an artifact complete, unless one is there; true if it was this call that did.

    Args:
        uri: Folder of the artifact.
        about: ``kind``, ``name``, ``config`` and ``metadata``; what else it holds, such as the
            ``created`` of an artifact that is copied, wins over this process's own.
        files: All its files.
        folder: Where in ``uri`` they lie.
    """
    tree = {
        "schema_version": SCHEMA_VERSION,
        "code_commit": code_commit(),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "folder": folder,
        "files": files,
    }
    data = json.dumps(tree, indent=1, ensure_ascii=False).encode()
    return storage.put_if_absent(manifest_uri(uri), data)


def read_tree(uri: str) -> dict[str, Any]:
    """A manifest as it was written.

    Raises:
        ArtifactError: It is missing or damaged, or of another version.
    """
    path = manifest_uri(uri)
    if not storage.exists(path):
        raise ArtifactError(
            f"{uri} is not a complete artifact, it has no {MANIFEST}: run the flow that makes it."
        )
    try:
        tree: dict[str, Any] = json.loads(storage.read_bytes(path))
        version = tree["schema_version"]
        if version == SCHEMA_VERSION:
            _artifact(uri, tree)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(damage(uri, path, "it is not a manifest")) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema_version {version}, but this version reads {SCHEMA_VERSION}: "
            "use the version of nuwa that wrote it, or run the flow that makes it again."
        )
    return tree


def read_manifest(uri: str) -> Artifact:
    """What a manifest says; its files are not looked at.

    Raises:
        ArtifactError: It is missing or damaged, or of another version.
    """
    return _artifact(uri, read_tree(uri))


def damage(folder: str, uri: str, what: str) -> str:
    """What to say of a damaged file."""
    return (
        f"{uri} is damaged: {what}. Restore it from a copy, or delete {folder} and run the flow "
        "that makes it again."
    )


def _artifact(uri: str, tree: Mapping[str, Any]) -> Artifact:
    for name, record in tree["files"].items():
        # What a stranger wrote must not lead out of the folder it is copied to.
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(name)
        int(record["size"]), str(record["sha256"])
    fields = {key: tree[key] for key in ("kind", "name", "config", "metadata", "files")}
    return Artifact(uri=uri.rstrip("/"), folder=tree.get("folder", ""), **fields)


@cache
def code_commit() -> str:
    """The commit of this code, or its version where it is installed without its history."""
    root = Path(__file__).parents[2]
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
