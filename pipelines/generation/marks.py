"""What the first sketch of a clip marks: where its things are."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from einops import reduce
from jaxtyping import Bool, UInt8
from PIL import Image

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL
from pipelines.store.table import StoreTable

Labels = UInt8[np.ndarray, "H W"]


def first_labels(store: str, clip_ids: Sequence[str]) -> Mapping[str, Labels]:
    """The first label map of each clip that has a sketch."""
    table = StoreTable(store, "clips")
    if not table.exists():
        return {}
    where = {"clip_id": list(clip_ids), "kind": ("image_sketch", "video_sketch")}
    rows = table.read(["clip_id", "frames"], where=where).to_pylist()
    return {row["clip_id"]: np.asarray(Image.open(io.BytesIO(row["frames"][0]))) for row in rows}


def hole_around(labels: Labels, h: int, w: int) -> Bool[np.ndarray, "h w"] | None:
    """Tokens that touch a marked pixel, and their neighbors; ``None`` if that is all or nothing.

    Label 0 is background, and what is unknown marks nothing.
    """
    is_marked = (labels != 0) & (labels != UNKNOWN_LABEL)
    i, j = labels.shape[0] // h, labels.shape[1] // w
    touched = np.pad(reduce(is_marked, "(h i) (w j) -> h w", "any", i=i, j=j), 1)
    hole = np.zeros((h, w), bool)
    for row in range(3):
        for column in range(3):
            hole |= touched[row : row + h, column : column + w]
    return hole if hole.any() and not hole.all() else None
