"""Sources of videos and images. To add one: a generator of ``SourceRef`` and a line here."""

from collections.abc import Callable, Iterator

from nuwa_model.errors import UnknownNameError
from pipelines.config import RunConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.folder import list_folder
from pipelines.datasets.moving_shapes import list_moving_shapes

DATASETS: dict[str, Callable[[RunConfig], Iterator[SourceRef]]] = {
    "folder": list_folder,
    "moving_shapes": list_moving_shapes,
}
"""Name of a data set to what lists its sources."""


def list_sources(config: RunConfig) -> Iterator[SourceRef]:
    """Every source of the configured data set.

    Raises:
        UnknownNameError: No data set is called ``config.dataset.name``.
        SourceError: Its folder is not what its format promises.
    """
    if config.dataset.name not in DATASETS:
        raise UnknownNameError("data set", config.dataset.name, DATASETS)
    return DATASETS[config.dataset.name](config)


__all__ = ["DATASETS", "SourceRef", "list_sources"]
