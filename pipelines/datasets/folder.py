"""A user's own folder of videos and images.

Captions lie beside the files as ``.txt`` (one a line) or in one ``captions.csv`` or
``captions.jsonl`` at the root. Sketches lie under ``sketches/``: ``a/b.jpg`` has the label map
``sketches/a/b.png``, ``a/v.mp4`` the folder ``sketches/a/v/`` with one PNG for each of its frames.
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from pipelines.config import RunConfig
from pipelines.datasets.base import SourceRef, Split
from pipelines.datasets.captions import CAPTION_FILES, Told, read_captions
from pipelines.datasets.layout import dataset_folder, is_unicode, media_folder
from pipelines.datasets.listings import Listings
from pipelines.datasets.paths import DataPath
from pipelines.errors import SourceError

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".flv", ".wmv", ".ogv", ".gif", ".vob"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_log = logging.getLogger(__name__)

SKETCHES = "sketches"
"""Folder at the root that holds label maps and no sources."""


def list_folder(config: RunConfig, listings: Listings) -> Iterator[SourceRef]:
    """Every video and image under ``config.dataset_root``, in order of path.

    Names that begin with a dot are left alone. ``dataset.media`` may be another folder than that
    of the table of captions.

    Raises:
        SourceError: The folder is missing or empty, or its captions contradict it.
        StorageError: The bucket cannot be listed.
    """
    root = dataset_folder(config, listings, "a folder of videos and images")
    media = media_folder(config, listings)
    names, texts = _names(media)
    captions = read_captions(root, media, names, texts)
    has_sketches = (media / SKETCHES).is_dir()
    for name in names:
        told = captions.get(name, Told())
        kind = _kind(name)
        assert kind is not None
        yield SourceRef(
            uri=f"{media}/{name}",
            kind=kind,
            text=told.text,
            sketch_uri=_sketch(media, name, kind) if has_sketches else "",
            split=told.split or split_of(name, config.dataset.validation_fraction),
        )


def split_of(name: str, validation_fraction: float) -> Split:
    """Where a file belongs that nobody assigned: a stable hash of its relative path decides."""
    digest = hashlib.sha256(name.encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "validation" if share < validation_fraction else "train"


def _names(media: DataPath) -> tuple[list[str], set[str]]:
    """Paths of all media below a folder, relative to it, in order; and of files with captions."""
    ignored: Counter[str] = Counter()
    names: list[str] = []
    unwritable: list[str] = []
    texts = set()
    for name, is_file in media.walk(without=(SKETCHES,)):
        if is_file and _kind(name) is not None:
            (names if is_unicode(name) else unwritable).append(name)
        elif is_file and _may_caption(name):
            texts.add(name)
        elif not is_file:
            ignored["links to folders or to nothing, and devices"] += 1
        else:
            ignored[os.path.splitext(name)[1].lower() or "files without a suffix"] += 1  # noqa: PTH122
    if ignored:
        told = ", ".join(f"{what} ({count})" for what, count in sorted(ignored.items()))
        _log.warning("event=ignored what=%s (neither videos nor images to us)", told)
    if unwritable:
        told = ", ".join(map(repr, sorted(unwritable)[:5]))
        more = f" and {len(unwritable) - 5} more" if len(unwritable) > 5 else ""
        raise SourceError(f"{media} has names that are not UTF-8: {told}{more}; rename the files.")
    if not names:
        suffixes = " ".join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)
        raise SourceError(f"{media} has no videos or images; files that count end in {suffixes}.")
    return sorted(names), texts


def _may_caption(name: str) -> bool:
    """Whether captions may be in a file of this name."""
    return name.lower().endswith(".txt") or name.rpartition("/")[2] in CAPTION_FILES


def _kind(name: str) -> Literal["video", "image"] | None:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (asked a million times)
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in IMAGE_SUFFIXES else None


def _sketch(media: DataPath, name: str, kind: str) -> str:
    """Where the label maps of a source lie, or nothing if it has none."""
    place = os.path.splitext(f"{media}/{SKETCHES}/{name}")[0]  # noqa: PTH122 (as above)
    if kind == "image":
        return f"{place}.png" if DataPath(f"{place}.png", media.listings).is_file() else ""
    return place if DataPath(place, media.listings).is_dir() else ""
