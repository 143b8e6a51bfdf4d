"""MSCOCO with captions, and label maps from COCO-Stuff or from the instances.

``annotations/captions_train2017.json`` and its like beside folders of images such as ``train2017``.
The sketches of a set are, of what is there, the first:

1. label maps as COCO-Stuff publishes them: ``stuffthingmaps/train2017/*.png`` (also
   ``*_labelTrainIds.png``), or ``annotations/stuff_train2017_pixelmaps/*.png``;
2. label maps painted from ``stuff_train2017.json`` and ``instances_train2017.json``, things over
   stuff and small over large, once, into the store's ``media``. A label is a ``category_id``, 1 to
   182, so that 183 channels are enough. With stuff, what is left over is unknown, as in published
   maps; without it, it is the background, 0.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL
from pipelines.config import RunConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.layout import (
    annotation_files,
    below,
    dataset_folder,
    media_folder,
    media_place,
    read_json,
    told,
    told_split,
)
from pipelines.datasets.listings import Listings
from pipelines.datasets.masks import Region, paint_regions
from pipelines.datasets.paths import DataPath
from pipelines.errors import SourceError
from pipelines.progress import Progress
from pipelines.storage import put_if_absent, read_bytes
from pipelines.video.pictures import encode_labels

_IMAGES = ("captions", "instances", "stuff")
_REGIONS = ("instances", "stuff")
_OTHER = 183  # in stuff_*.json: where the things are
_BACKGROUND = 0
_PAINTER = "2"  # raise when the same annotations would be painted otherwise

Image = dict[str, Any]
"""One entry of ``images``: file_name, id, height, width."""


def list_coco(config: RunConfig, listings: Listings) -> Iterator[SourceRef]:
    """Every image of every set that is annotated, also of those that are not there.

    Raises:
        SourceError: The folder is missing, has no annotations, or they are not COCO's.
    """
    root = dataset_folder(config, listings, "a folder with COCO's annotations/ and images")
    media = media_folder(config, listings)
    annotations = root / "annotations"
    files = annotation_files(annotations, *(f"{kind}_*.json" for kind in _IMAGES))
    for name in sorted({file.stem.partition("_")[2] for file in files}):
        kinds = [kind for kind in _IMAGES if annotations / f"{kind}_{name}.json" in files]
        images, captions = _read_images(annotations / f"{kinds[0]}_{name}.json")
        sketch_of = _published_maps(media, name) or _painted_maps(config, annotations, name)
        with Progress(f"list {name}", len(images)) as progress:
            for image in images:
                place = f"{annotations}, an image of {name},"
                file_name = told(image, "file_name", str, place)
                yield SourceRef(
                    str(below(media / name, file_name, place)),
                    "image",
                    text=tuple(captions[image["id"]]),
                    sketch_uri=sketch_of(image),
                    split=told_split(name, place),
                )
                progress.advance()


def _read_images(file: DataPath) -> tuple[list[Image], dict[int, list[str]]]:
    """The images of a set, and the captions of each by its id."""
    data = read_json(file)
    captions: dict[int, list[str]] = defaultdict(list)
    if file.name.startswith("captions_"):
        for number, row in enumerate(told(data, "annotations", list, str(file))):
            place = f"{file}, annotation {number},"
            text = told(row, "caption", str, place).strip()
            captions[told(row, "image_id", int, place)].append(text)
    images = told(data, "images", list, str(file))
    for number, image in enumerate(images):
        told(image, "id", int, f"{file}, image {number},")
    return images, captions


def _published_maps(media: DataPath, name: str) -> Callable[[Image], str] | None:
    """Finds the published label map of an image, if there are any for the set."""
    folders = (f"stuffthingmaps/{name}", f"annotations/stuff_{name}_pixelmaps")
    folder = next((media / folder for folder in folders if (media / folder).is_dir()), None)
    if folder is None:
        return None
    found = {path.name: path.uri for path in folder.glob("*.png")}

    def sketch_of(image: Image) -> str:
        stem = PurePosixPath(image["file_name"]).stem
        return found.get(f"{stem}_labelTrainIds.png", found.get(f"{stem}.png", ""))

    return sketch_of


def _painted_maps(config: RunConfig, annotations: DataPath, name: str) -> Callable[[Image], str]:
    """Paints the label map of an image, unless it was painted before."""
    files = [annotations / f"{kind}_{name}.json" for kind in _REGIONS]
    files = [file for file in files if file.is_file()]
    regions = _read_regions(files)
    has_stuff = any(file.name.startswith("stuff_") for file in files)
    elsewhere = UNKNOWN_LABEL if has_stuff else _BACKGROUND
    folder = DataPath(media_place(config, "coco"), annotations.listings)
    folder = folder / _fingerprint(files) / name
    painted = {inside for inside, _ in folder.walk()} if folder.is_dir() else set()

    def sketch_of(image: Image) -> str:
        if image["id"] not in regions:
            return ""
        place = folder / f"{PurePosixPath(image['file_name']).stem}.png"
        if place.name not in painted:
            put_if_absent(place.uri, _paint(image, regions[image["id"]], elsewhere, name))
            folder.listings.forget(folder.uri)
        return place.uri

    return sketch_of


def _read_regions(files: list[DataPath]) -> dict[int, list[Region]]:
    """Regions by the id of their image; stuff counts as larger than any thing."""
    regions: dict[int, list[Region]] = defaultdict(list)
    for file in files:
        behind = 1e12 if file.name.startswith("stuff_") else 0.0
        for number, row in enumerate(told(read_json(file), "annotations", list, str(file))):
            place = f"{file}, annotation {number},"
            label = told(row, "category_id", int, place)
            if label == _OTHER:
                continue
            region = Region(
                label=label,
                area=behind + float(row.get("area") or 0.0),
                segmentation=row.get("segmentation"),
            )
            regions[told(row, "image_id", int, place)].append(region)
    return regions


def _paint(image: Image, regions: list[Region], elsewhere: int, name: str) -> bytes:
    height, width = image["height"], image["width"]
    try:
        return encode_labels(paint_regions(regions, height, width, elsewhere=elsewhere))
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(
            f"The annotations of image {image['id']} of {name} cannot be painted: {error}; "
            "download them again."
        ) from None


def _fingerprint(files: list[DataPath]) -> str:
    """Eight hex digits that name the annotations and how they are painted."""
    digest = hashlib.sha256(_PAINTER.encode())
    for path in files:
        digest.update(hashlib.sha256(read_bytes(path.uri)).digest())
    return digest.hexdigest()[:8]
