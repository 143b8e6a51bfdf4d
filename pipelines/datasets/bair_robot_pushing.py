"""BAIR robot pushing: TFRecord files as published, or folders of frames made from them.

``softmotion30_44k/train/*.tfrecords`` and ``…/test/*.tfrecords`` hold trajectories of 30 frames of
64 × 64 pixels. They are written as PNG folders into ``config.written_media``, once, and again when
a file was replaced. Folders that other tools extracted are read where they lie, if the order of
their frames' names is that of their numbers (``00.png``, not ``0.png``); else they are linked there
under such names, or copied from a bucket.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from uuid import uuid4

import numpy as np
from PIL import Image

from pipelines.config import RunConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.folder import IMAGE_SUFFIXES
from pipelines.datasets.layout import dataset_folder, media_folder, told_split
from pipelines.datasets.listings import Listings, version_ns
from pipelines.datasets.paths import DataPath
from pipelines.datasets.tfrecord import byte_features, read_records
from pipelines.errors import SourceError
from pipelines.progress import Progress
from pipelines.storage import download
from pipelines.transfers import each

FRAME_RATE = "5/2"
"""The files tell no rate, and the benchmark predicts every frame (Ebert et al., CoRL 2017): at the
rate of a clip none is left out."""

_CAMERA = "image_main"  # the one the benchmark uses, of two
_SIDE = 64
_VERSION = ".version"  # file beside the folders of frames: which version of their records they hold


def list_bair_robot_pushing(config: RunConfig, listings: Listings) -> Iterator[SourceRef]:
    """Every trajectory, in order of path; ``test`` is held out.

    Raises:
        SourceError: The folder is missing, has neither records nor frames, or a file is damaged.
        StorageError: The bucket cannot be listed or read.
    """
    dataset_folder(config, listings, "the unpacked BAIR robot pushing, with train/ and test/")
    root = media_folder(config, listings)
    place = os.path.abspath(config.written_media)  # noqa: PTH100 (keeps symbolic links)
    written = Path(place, "bair_robot_pushing")
    names = [PurePosixPath(name) for name, is_file in root.walk() if is_file]
    records = sorted(name for name in names if name.suffix == ".tfrecords")
    frames = [name for name in names if name.suffix.lower() in IMAGE_SUFFIXES]
    found = (
        _from_records(records, root, written) if records else _from_frames(frames, root, written)
    )
    for uri, name in found:
        split = told_split(name.split("/")[0], str(root / name))
        yield SourceRef(uri, "video", split=split, frame_rate=FRAME_RATE)


def _from_records(
    records: list[PurePosixPath], root: DataPath, written: Path
) -> Iterator[tuple[str, str]]:
    """Folders of frames of every record, written unless they are there, and their names."""
    with Progress("extract trajectories", len(records)) as progress:
        for file in records:
            name = _from_split_on(file.with_suffix(""), root)
            place = written / name
            version = _version(root / str(file))
            if not _holds(place, version):
                _write_whole(place, partial(_extract, str(root / str(file)), version))
            for folder in sorted(path for path in place.iterdir() if path.is_dir()):
                yield str(folder), f"{name}/{folder.name}"
            progress.advance()


def _version(file: DataPath) -> str:
    """Another one when the file was replaced, as far as its folder tells."""
    entry = file.listings.entry(file.uri)
    return "" if entry is None else f"{entry.size} {version_ns([entry])}"


def _holds(place: Path, version: str) -> bool:
    """Whether the frames there were extracted from this version of their file."""
    told = place / _VERSION
    return told.is_file() and told.read_text() == version


def _extract(file: str, version: str, place: Path) -> None:
    """One folder of frames for each record of a file."""
    for index, record in enumerate(read_records(file)):
        told = f"{file}, record {index},"
        features = byte_features(record, told)
        numbers = range(sum(name.endswith(f"/{_CAMERA}/encoded") for name in features))
        if not numbers:
            raise SourceError(f"{told} has no feature 0/{_CAMERA}/encoded; expected BAIR's.")
        folder = place / f"{index:05d}"
        folder.mkdir()
        for number in numbers:
            pixels = features.get(f"{number}/{_CAMERA}/encoded", b"")
            if len(pixels) != _SIDE * _SIDE * 3:
                raise SourceError(
                    f"{told} has {len(pixels)} bytes in frame {number}; expected {_SIDE} × {_SIDE} "
                    "pixels of red, green and blue."
                )
            frame = np.frombuffer(pixels, np.uint8).reshape(_SIDE, _SIDE, 3)
            Image.fromarray(frame).save(folder / f"{number:05d}.png", compress_level=1)
    (place / _VERSION).write_text(version)


def _from_frames(
    frames: list[PurePosixPath], root: DataPath, written: Path
) -> Iterator[tuple[str, str]]:
    """Folders that hold frames, and their names."""
    folders: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for frame in frames:
        if not f"{root}/{frame}".startswith(f"{written}/"):
            folders[frame.parent].append(frame)
    if not folders:
        raise SourceError(
            f"{root} has neither *.tfrecords nor folders of frames; set dataset.root to the "
            "unpacked softmotion30_44k."
        )
    for folder, inside in sorted(folders.items()):
        name = _from_split_on(folder, root)
        in_order = sorted(sorted(inside), key=partial(_number, root))
        if in_order == sorted(inside):
            yield str(root / str(folder)), name
            continue
        place = written / name
        if not place.is_dir():
            _write_whole(place, partial(_bring, [root / str(frame) for frame in in_order]))
        yield str(place), name


def _from_split_on(path: PurePosixPath, root: DataPath) -> str:
    """A path from the folder of its split on: ``softmotion30_44k/train/x`` is ``train/x``."""
    for start, part in enumerate(path.parts):
        if part in ("train", "val", "test"):
            return "/".join(path.parts[start:])
    raise SourceError(f"{root}/{path} is in no folder called train or test; expected BAIR's.")


def _number(root: DataPath, frame: PurePosixPath) -> int:
    found = re.search(r"(\d+)$", frame.stem)
    if found is None:
        raise SourceError(
            f"{root}/{frame} has no number in its name; expected frames such as 00.png."
        )
    return int(found[1])


def _bring(frames: list[DataPath], place: Path) -> None:
    """Link frames into a folder under names in order; those of a bucket are copied."""

    def bring(index: int) -> None:
        frame = frames[index]
        target = place / f"{index:05d}{PurePosixPath(frame.name).suffix.lower()}"
        if frame.is_local:
            target.symlink_to(frame.uri)
        else:
            download(frame.uri, target)

    each(bring, range(len(frames)))


def _write_whole(place: Path, write: Callable[[Path], None]) -> None:
    """Let a folder appear whole or not at all, in place of an older one if there is one.

    Of two writers at once one wins: what the other wrote is the same.
    """
    unfinished, old = (place.with_name(f".{place.name}.{uuid4().hex}.{x}") for x in ("part", "old"))
    unfinished.mkdir(parents=True)
    try:
        write(unfinished)
        with suppress(OSError):
            place.rename(old)
        with suppress(OSError):
            unfinished.rename(place)
    finally:
        for folder in (unfinished, old):
            shutil.rmtree(folder, ignore_errors=True)
