"""VSPW: videos as folders of frames, each with a folder of label maps.

``data/{video}/origin/*.jpg`` and ``data/{video}/mask/*.png``; ``train.txt``, ``val.txt`` and
``test.txt`` name the videos of each split.
"""

from collections.abc import Iterator

from pipelines.config import RunConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.layout import (
    annotation_files,
    below,
    dataset_folder,
    media_folder,
    read_text,
    told_split,
)
from pipelines.datasets.listings import Listings

FRAME_RATE = "15"
"""Frames a second at which VSPW is annotated (Miao et al., CVPR 2021)."""

_LISTS = ("train.txt", "val.txt", "test.txt")


def list_vspw(config: RunConfig, listings: Listings) -> Iterator[SourceRef]:
    """Every video that the lists name, also those that are not there.

    Labels are as published: 0 where nothing is labelled, 1 to 124 a class, 255 unknown, so
    that 125 channels are enough. Test videos, which have no masks, are held out with the
    validation videos.

    Raises:
        SourceError: The folder or its lists are missing.
    """
    root = dataset_folder(config, listings, "the unpacked VSPW, with train.txt and data/")
    media = media_folder(config, listings)
    for file in annotation_files(root, *_LISTS):
        split = told_split(file.stem, str(file))
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            video = below(media / "data", line.strip(), f"{file}, line {number},")
            mask = video / "mask"
            yield SourceRef(
                str(video / "origin"),
                "video",
                sketch_uri=str(mask) if mask.is_dir() else "",
                split=split,
                frame_rate=FRAME_RATE,
            )
