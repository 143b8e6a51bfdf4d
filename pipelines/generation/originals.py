"""Pixels that samples are given: the clip's own, and not what a tokenizer makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from einops import repeat
from jaxtyping import UInt8

from nuwa_model.generation import Synthesis
from pipelines.errors import StoreError
from pipelines.evaluation.pictures import read_picture
from pipelines.generation.requests import Requests
from pipelines.store.table import StoreTable

Frames = UInt8[np.ndarray, "s H W 3"]


def with_originals(store: str, requests: Requests, synthesis: Synthesis) -> Synthesis:
    """The same samples with the clip's own pixels wherever a token was given.

    Raises:
        StoreError: A clip is not there any more, or has another size than what was generated.
    """
    if requests.known is None:
        return synthesis
    given = (requests.known >= 0).flatten(2).any(dim=2).any(dim=0)
    num_frames = int(given.nonzero().max()) + 1 if given.any() else 0
    clips = _first_frames(store, requests.clip_ids, num_frames)
    size = synthesis.pixels.shape[2]
    factor = size // requests.known.shape[2]
    is_given = repeat(
        requests.known[:, :num_frames] >= 0, "b s h w -> b s (h i) (w j) 1", i=factor, j=factor
    )
    pixels = synthesis.pixels.cpu().clone()
    for row, name in enumerate(requests.clip_ids):
        if name not in clips or clips[name].shape[1] != size:
            raise StoreError(
                f"Clip {name} of {store} is gone, or is not of {size}×{size} pixels as its tokens "
                "are: run the flow tokenize again."
            )
        original = torch.tensor(clips[name])
        pixels[row, :num_frames] = torch.where(is_given[row], original, pixels[row, :num_frames])
    return replace(synthesis, pixels=pixels)


def _first_frames(store: str, clip_ids: Sequence[str], count: int) -> Mapping[str, Frames]:
    where = {"clip_id": list(clip_ids), "kind": ("image", "video")}
    rows = StoreTable(store, "clips").read(["clip_id", "frames"], where=where).to_pylist()
    return {
        row["clip_id"]: np.stack(
            [read_picture(frame, where=row["clip_id"]) for frame in row["frames"][:count]]
        )
        for row in rows
    }
