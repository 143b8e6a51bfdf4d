"""Sources of videos and images. To add one: a generator of ``SourceRef`` and a line here."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator

from nuwa_model.errors import UnknownNameError
from pipelines.config import RunConfig
from pipelines.datasets.bair_robot_pushing import list_bair_robot_pushing
from pipelines.datasets.base import SourceRef
from pipelines.datasets.coco import list_coco
from pipelines.datasets.conceptual_captions import list_conceptual_captions
from pipelines.datasets.folder import list_folder
from pipelines.datasets.kinetics import list_kinetics
from pipelines.datasets.listings import Listings
from pipelines.datasets.moments_in_time import list_moments_in_time
from pipelines.datasets.moving_shapes import list_moving_shapes
from pipelines.datasets.msr_vtt import list_msr_vtt
from pipelines.datasets.vatex import list_vatex
from pipelines.datasets.vspw import list_vspw
from pipelines.datasets.webvid import list_webvid

DatasetLister = Callable[[RunConfig, Listings], Iterator[SourceRef]]

DATASETS: dict[str, DatasetLister] = {
    "bair_robot_pushing": list_bair_robot_pushing,
    "coco": list_coco,
    "conceptual_captions": list_conceptual_captions,
    "folder": list_folder,
    "kinetics": list_kinetics,
    "moments_in_time": list_moments_in_time,
    "moving_shapes": list_moving_shapes,
    "msr_vtt": list_msr_vtt,
    "vatex": list_vatex,
    "vspw": list_vspw,
    "webvid": list_webvid,
}
"""Name of a data set to what lists its sources; one may tell of a source several times."""

_log = logging.getLogger(__name__)


def get_dataset(name: str) -> DatasetLister:
    """What lists the sources of a data set.

    Raises:
        UnknownNameError: No data set is called so.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    return DATASETS[name]


def list_sources(config: RunConfig, listings: Listings | None = None) -> Iterator[SourceRef]:
    """Every source of the configured data set, once, with all that is told of it.

    Args:
        config: Names the data set, and where it lies.
        listings: Knows afterwards what buckets told of the sources, so that nobody asks again.

    Raises:
        UnknownNameError: No data set is called ``config.dataset.name``.
        SourceError: Its folder is not what its format promises.
        StorageError: Its bucket cannot be listed.
    """
    return _merged(get_dataset(config.dataset.name)(config, listings or Listings()))


def _merged(refs: Iterable[SourceRef]) -> Iterator[SourceRef]:
    """Sources in order of first mention; captions of repeated ones are gathered.

    A source that is in both splits is held out, so that nothing is judged that was trained on.
    """
    found: dict[str, SourceRef] = {}
    for ref in refs:
        first = found.setdefault(ref.source_uri, ref)
        if first is ref:
            continue
        if first.split != ref.split:
            _log.warning("held_out uri=%s (it is in both splits)", ref.source_uri)
        found[ref.source_uri] = dataclasses.replace(
            first,
            text=tuple(dict.fromkeys(first.text + ref.text)),
            split=first.split if first.split == ref.split else "validation",
        )
    yield from found.values()


__all__ = ["DATASETS", "SourceRef", "get_dataset", "list_sources"]
