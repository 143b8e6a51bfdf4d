"""What published layouts have in common: a folder, annotation files, names of splits and files."""

import csv
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from typing import Any, TextIO, TypeVar

from pipelines.config import RunConfig
from pipelines.datasets.base import Split
from pipelines.datasets.listings import Listings
from pipelines.datasets.paths import DataPath
from pipelines.errors import SourceError, StorageError
from pipelines.storage import is_local, join, open_file, read_bytes

T = TypeVar("T")

_SPLIT_OF_WORD: dict[str, Split] = {"train": "train", "val": "validation", "test": "validation"}


def dataset_folder(config: RunConfig, listings: Listings, expected: str) -> DataPath:
    """Where the configured data set lies, here or in a bucket; its annotations, if it has some.

    Args:
        config: Its ``dataset_root`` names the folder.
        listings: What answers for buckets.
        expected: What the folder should hold, for the message.

    Raises:
        SourceError: There is no such folder.
        StorageError: The bucket cannot be listed.
    """
    root = _folder(config.dataset_root, listings)
    if not root.is_dir():
        raise SourceError(f"There is no folder {root}; set dataset.root to {expected}.")
    return root


def media_folder(config: RunConfig, listings: Listings) -> DataPath:
    """Where the videos, images and label maps lie; beside the annotations unless told otherwise.

    Raises:
        SourceError: There is no such folder.
        StorageError: The bucket cannot be listed.
    """
    media = _folder(config.dataset.media or config.dataset_root, listings)
    if not media.is_dir():
        raise SourceError(
            f"There is no folder {media}; set dataset.media to the folder of the videos and images."
        )
    return media


def _folder(uri: str, listings: Listings) -> DataPath:
    # Not resolved: symbolic links are kept.
    place = os.path.abspath(uri) if is_local(uri) else uri.rstrip("/")  # noqa: PTH100
    return DataPath(place, listings)


def media_place(config: RunConfig, name: str) -> str:
    """Where a data set keeps what it writes once: label maps, or frames of records."""
    store = config.store if "://" in config.store else os.path.abspath(config.store)  # noqa: PTH100
    return join(store, "media", name)


def annotation_files(root: DataPath, *patterns: str) -> list[DataPath]:
    """Files below a folder that fit one of the patterns, in order of path.

    Raises:
        SourceError: There are none.
    """
    found = {path for pattern in patterns for path in root.glob(pattern)}
    if not found:
        raise SourceError(
            f"{root} has no annotations: expected {' or '.join(patterns)}; put them there, or "
            "set dataset.root to the folder that holds them."
        )
    return sorted(found, key=lambda path: path.uri.split("/"))


def below(root: DataPath, name: str, place: str) -> DataPath:
    """The path of a file that annotations name.

    Raises:
        SourceError: The name leads out of the folder.
    """
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise SourceError(f"{place} names the file {name!r}; expected a path below {root}.")
    return root / name


def split_in_name(name: str) -> Split | None:
    """The split that a file's or folder's name tells, if it tells one; test files are held out."""
    found = re.search(r"(?<![a-z])(train|val|test)", name.lower())
    return _SPLIT_OF_WORD[found[1]] if found else None


def told_split(said: str, place: str) -> Split:
    """The split that an annotation tells: what is not for training is held out.

    Raises:
        SourceError: The word is none that is known.
    """
    split = split_in_name(said.strip())
    if split is None:
        raise SourceError(f"{place} has the split {said!r}; expected train, validation or test.")
    return split


def is_unicode(text: str) -> bool:
    """Whether it can be written: names of files may have other bytes, JSON halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: DataPath) -> str:
    """The text of an annotation file.

    Raises:
        SourceError: It cannot be read, or is not UTF-8.
    """
    with _readable(path), _opened(path, newline=None) as file:
        return file.read()


def read_json(path: DataPath) -> Any:
    """The value in a JSON file.

    Raises:
        SourceError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({error}); download it again.") from None


def told(row: object, key: str, kind: type[T], place: str) -> T:
    """A field of a JSON object, of the type it should have.

    Raises:
        SourceError: There is no such object, field or type.
    """
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise SourceError(f"{place} has no {key!r} that is of type {kind.__name__}.")
    return value


def tsv_lines(path: DataPath) -> Iterator[tuple[str, list[str]]]:
    """Each line of a file of tabs without quotes: its place for messages, and its fields.

    Raises:
        SourceError: The file cannot be read.
    """
    with _readable(path), _opened(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number},", line.rstrip("\r\n").split("\t")


def csv_lines(path: DataPath) -> Iterator[tuple[str, list[str]]]:
    """Each line of a table that is not empty: its place for messages, and its fields.

    Raises:
        SourceError: The file cannot be read, or is no such table.
    """
    with _readable(path), _opened(path, newline="") as file:
        # Strict: else a quote that nobody closes takes in all the lines after it.
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield f"{path}, line {line},", fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise SourceError(
                f"{path}, line {line}, is not CSV ({error}); put a text with commas or quotes in "
                'quotes: a.mp4,"a dog, running".'
            ) from None


def csv_rows(path: DataPath, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a table with a header: its place for messages, and its fields by column.

    Args:
        path: The file.
        columns: Columns that must be there.

    Raises:
        SourceError: The file cannot be read, lacks a column or has it twice, or has a row of
            another length.
    """
    lines = csv_lines(path)
    _, first = next(lines, ("", []))
    header = [name.strip() for name in first]
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise SourceError(
            f"{path} begins with the columns {', '.join(header) or 'none'}; expected at least "
            f"{', '.join(columns)}, each once, with commas between them."
        )
    for place, fields in lines:
        if len(fields) != len(header):
            raise SourceError(
                f"{place} has {len(fields)} fields; expected {len(header)}, as its first line has. "
                'A text with commas goes in quotes: "a dog, running".'
            )
        yield place, dict(zip(header, fields, strict=True))


def _opened(path: DataPath, newline: str | None) -> TextIO:
    # Line by line a bucket would be asked for each quarter of a megabyte.
    file = open_file(path.uri) if path.is_local else BytesIO(read_bytes(path.uri))
    return TextIOWrapper(file, encoding="utf-8-sig", newline=newline)


@contextmanager
def _readable(path: DataPath) -> Iterator[None]:
    """Say which file an error of reading is about."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except StorageError as error:
        raise SourceError(str(error)) from None
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from None
