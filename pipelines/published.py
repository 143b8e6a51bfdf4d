"""Tokenizers that others published, made artifacts of a store."""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nuwa_model.errors import WeightsError
from nuwa_model.tokenizers.clip import CLIP_VOCABULARY
from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts
from pipelines.artifacts import Artifact
from pipelines.errors import ArtifactError
from pipelines.run_tokenizers import GIVEN_BY

logger = logging.getLogger(__name__)

_FINGERPRINT_DIGITS = 16
_DIGITS_OF_NAME = 8
_LOOKED_AT = 4096
_MOST_LETTERS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a published file.

    Attributes:
        artifact: Where it is.
        was_there: Whether the store had it already.
        settings: What a run file must say to use it, as the sections of ``RunConfig``.
    """

    artifact: Artifact
    was_there: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Tokenizer:
    """A published tokenizer in memory: how to save it, and what to say of it."""

    kind: str
    fingerprint: str
    save: Callable[[Path], None]
    metadata: Mapping[str, Any]
    sections: Mapping[str, Any]


def import_published(path: Path, store: str, name: str = "") -> Imported:
    """Make an artifact of a checkpoint of a VQ-GAN, or of CLIP's merges.

    Nothing in a checkpoint is executed. Until all of it has been read, the store is not touched.

    Args:
        path: A checkpoint of taming-transformers' ``VQModel``, or ``bpe_simple_vocab_16e6.txt``,
            also packed as ``.gz``.
        store: Root of the store.
        name: Of the artifact; empty makes one of the file's name and the tokenizer's fingerprint.

    Raises:
        WeightsError: The file is neither, or damaged.
        ArtifactError: The name is none, or belongs to another tokenizer.
        StorageError: The store cannot be written.
    """
    if name and not _NAME.fullmatch(name):
        raise ArtifactError(
            f"{name!r} cannot be the name of an artifact: expected up to 128 letters, digits, '.', "
            "'_' and '-', the first a letter or digit."
        )
    if not store.removeprefix("s3://").strip("/ "):
        raise ArtifactError(f"{store!r} is no store; expected a folder, or s3://bucket/prefix.")
    source = {"name": path.name, "sha256": _sha256(path)}
    found = _read(path, source["sha256"])
    name = name or f"{_stem(path)}-{found.fingerprint[:_DIGITS_OF_NAME]}"
    was_there = artifacts.is_complete(store, found.kind, name)
    made = (
        artifacts.load(artifacts.artifact_uri(store, found.kind, name))
        if was_there
        else _publish(found, store, name, source)
    )
    if made.metadata.get("fingerprint") != found.fingerprint:
        raise ArtifactError(f"{made.uri} is another tokenizer than {path}: choose another --name.")
    settings = {GIVEN_BY[found.kind]: name, **found.sections}
    return Imported(artifact=made, was_there=was_there, settings=settings)


def _publish(found: _Tokenizer, store: str, name: str, source: Mapping[str, str]) -> Artifact:
    metadata = {"fingerprint": found.fingerprint, **found.metadata, "source": source}
    with TemporaryDirectory() as folder:
        found.save(Path(folder))
        return artifacts.publish(store, found.kind, name, folder, config={}, metadata=metadata)


def _read(path: Path, sha256: str) -> _Tokenizer:
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
        _refuse_odd_start(start)
        return _merges(path, sha256) if _is_text(start) else _checkpoint(path)
    except WeightsError as error:
        raise WeightsError(
            f"{path} is not imported. {error} What can be imported: checkpoints of "
            "taming-transformers' VQModel, and CLIP's bpe_simple_vocab_16e6.txt.gz."
        ) from error


def _checkpoint(path: Path) -> _Tokenizer:
    model = VQGAN.from_published(path)
    config = model.config
    shape = json.loads(json.dumps(dataclasses.asdict(config)))
    codebook = {"codebook_size": config.codebook_size, "codebook_dim": config.codebook_dim}
    kind = "vqgan_seg" if model.is_for_sketches else "vqgan"
    if model.is_for_sketches:
        codebook = {f"sketch_{field}": value for field, value in codebook.items()}
    return _Tokenizer(
        kind=kind,
        fingerprint=model.fingerprint,
        save=model.save_pretrained,
        metadata={},
        sections={kind: shape, "model": codebook},
    )


def _merges(path: Path, sha256: str) -> _Tokenizer:
    text = TextTokenizer.from_clip(path)
    if text.vocabulary != CLIP_VOCABULARY:
        logger.warning(
            "%s makes %d tokens and CLIP has %d: this is not all of its list, or not its list",
            path, text.vocabulary, CLIP_VOCABULARY,
        )  # fmt: skip
    return _Tokenizer(
        kind="text_tokenizer",
        fingerprint=sha256[:_FINGERPRINT_DIGITS],
        save=text.save_pretrained,
        metadata={"vocabulary": text.vocabulary},
        sections={"model": {"text_vocabulary": text.vocabulary, "text_length": text.length}},
    )


def _refuse_odd_start(start: bytes) -> None:
    """Refuse what a download that failed leaves."""
    if not start:
        raise WeightsError("It is empty: fetch it again.")
    if start.lstrip()[:1] == b"<":
        raise WeightsError("It is a web page: fetch the file that the page is about.")


def _is_text(start: bytes) -> bool:
    """Whether a file is text, packed or not: every checkpoint has bytes that no text has."""
    return start[:2] == b"\x1f\x8b" or not (b"\0" in start or start[:1] == b"\x80")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}); expected a file of this machine: "
            "a checkpoint of a VQ-GAN, or CLIP's merges."
        ) from error


def _stem(path: Path) -> str:
    """A file's name without its endings, as a part of an artifact's name."""
    stem = Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:_MOST_LETTERS] or "tokenizer"
