"""Captions of a folder: ``.txt`` beside the files, or one ``captions.csv`` or ``.jsonl``."""

import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from pipelines.datasets.base import Split
from pipelines.datasets.layout import csv_rows, is_unicode, read_text
from pipelines.datasets.paths import DataPath
from pipelines.errors import SourceError
from pipelines.transfers import each

CAPTION_FILES = ("captions.csv", "captions.jsonl")
"""Names under which captions of a whole folder may lie at its root."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What the captions say of one file; ``split`` is ``None`` where they do not say."""

    text: tuple[str, ...] = ()
    split: Split | None = None


def read_captions(
    root: DataPath, media: DataPath, names: Iterable[str], texts: Collection[str]
) -> dict[str, Told]:
    """Captions of the files of a folder, by path relative to it.

    Args:
        root: Where one file may hold all captions.
        media: The folder, with other captions beside the files.
        names: Relative paths of its videos and images, with ``/`` between the parts.
        texts: Relative paths of its ``.txt`` files and of tables of captions anywhere. Those that
            say nothing of any video or image are told in a warning.

    Raises:
        SourceError: There are two kinds of captions, or they name a file that is not there, or
            cannot be read.
    """
    known = set(names)
    by_stem = {_stem(text): text for text in texts if not text.endswith(CAPTION_FILES)}
    beside = {name: by_stem[stem] for name in known if (stem := _stem(name)) in by_stem}
    files = [root / name for name in CAPTION_FILES if (root / name).is_file()]
    if len(files) + bool(beside) > 1:
        found = [file.name for file in files] + [beside[name] for name in sorted(beside)[:1]]
        raise SourceError(
            f"{root} has captions in {' and in '.join(found)}; keep one kind and remove the rest."
        )
    used = {*beside.values(), *(file.uri.removeprefix(f"{media}/") for file in files)}
    _tell_unused(sorted(set(texts) - used))
    if not files:
        paths = [DataPath(f"{media}/{text}", media.listings) for text in beside.values()]
        return dict(zip(beside, _read_all(paths), strict=True))
    return _gather(files[0], media, known)


def _read_all(paths: Sequence[DataPath]) -> list[Told]:
    if all(path.is_local for path in paths):
        return [_read_lines(path) for path in paths]
    return each(_read_lines, paths)  # a bucket takes its time to answer, but answers many at once


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 (asked a million times)


def _tell_unused(texts: Sequence[str]) -> None:
    if texts:
        more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
        _log.warning(
            "event=captions_unused files=%s (a .txt counts beside a video or image of its name, "
            "%s at the root)",
            ", ".join(texts[:3]) + more,
            " or ".join(CAPTION_FILES),
        )


def _read_lines(path: DataPath) -> Told:
    lines = (line.strip() for line in read_text(path).splitlines())
    return Told(tuple(line for line in lines if line))


def _gather(path: DataPath, media: DataPath, known: set[str]) -> dict[str, Told]:
    rows = _csv_rows if path.name.endswith(".csv") else _jsonl_rows
    gathered: dict[str, Told] = {}
    for place, name, text, split in rows(path):
        if name not in known:
            raise SourceError(
                f"{place} names {name!r}, but {media} has no such video or image; correct "
                "the name or remove the line."
            )
        told = gathered.get(name, Told())
        chosen = _split(place, split) or told.split
        if told.split not in (None, chosen):
            raise SourceError(f"{place} puts {name!r} into {chosen}, another line {told.split}.")
        gathered[name] = Told((*told.text, *text), chosen)
    return gathered


Row = tuple[str, str, tuple[str, ...], str]
"""Place of the row for messages, file, captions, split (may be empty)."""


def _csv_rows(path: DataPath) -> Iterator[Row]:
    columns: set[str] = set()
    for place, row in csv_rows(path, "file", "text"):
        columns.update(row)
        text = row["text"].strip()
        yield place, row["file"], (text,) if text else (), row.get("split", "").strip()
    _tell_unread(path, columns)


def _tell_unread(path: DataPath, names: Iterable[str]) -> None:
    if unread := sorted(set(names) - {"file", "text", "split"}):
        _log.warning(
            "event=columns_unread file=%s columns=%s (file, text and split are read)",
            path,
            ", ".join(unread),
        )


def _jsonl_rows(path: DataPath) -> Iterator[Row]:
    keys: set[str] = set()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number},"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{place} is not JSON: {error}.") from None
        fields = _jsonl_fields(place, row)
        keys.update(row)
        yield place, *fields
    _tell_unread(path, keys)


def _jsonl_fields(place: str, row: object) -> tuple[str, tuple[str, ...], str]:
    expected = '{"file": "a.mp4", "text": "a caption", "split": "train"}, text also a list'
    if not isinstance(row, dict) or not isinstance(row.get("file"), str):
        raise SourceError(f"{place} names no file; expected {expected}.")
    text = row.get("text") or []
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise SourceError(f"{place} has a text that is no string; expected {expected}.")
    for item in (row["file"], *texts):
        if not is_unicode(item):
            raise SourceError(f"{place} has {item!r}, half a character; expected Unicode text.")
    return row["file"], tuple(t.strip() for t in texts if t.strip()), str(row.get("split") or "")


def _split(place: str, said: str) -> Split | None:
    for split in get_args(Split):
        if said == split:
            return split
    if said:
        raise SourceError(f"{place} has the split {said!r}; expected train or validation.")
    return None
