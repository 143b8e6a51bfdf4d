"""All tokens of one tokenizer and split, in memory: the whole corpus of the paper is 9 GB.

Frames of all clips lie in one array, one clip after the other, so a video is a run of rows and an
image, or one frame of a video, is one row. Sketch frames lie at the same places in another.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nuwa_model.tasks import Task
from pipelines.errors import StoreError
from pipelines.store.sources import Source, read_sources
from pipelines.store.table import StoreTable

Frames = NDArray[np.uint16]

_log = logging.getLogger(__name__)

_COLUMNS = (
    "clip_id", "dataset", "split", "kind", "tokens", "grid_s", "grid_h", "grid_w", "text"
)  # fmt: skip


class Clip(NamedTuple):
    """One row of tokens."""

    dataset: str
    clip_id: str
    kind: str
    text: tuple[str, ...]
    frames: Frames  # (s, h, w)


@dataclass(frozen=True, kw_only=True)
class TokenExamples:
    """Clips of one split as arrays; ``n`` clips with ``f`` frames in all.

    Attributes:
        clip_ids: Name of each clip, ``n`` of them, sorted.
        text: Captions of each clip; empty where there are none.
        frames: Tokens of all frames, ``(f, h, w)``.
        sketches: Tokens of all sketches at the same places, ``(f, sh, sw)``; zeros where a clip
            has none, ``(0, 0, 0)`` where no clip has.
        first: Place of each clip's first frame, ``(n,)``.
        length: Frames of each clip, ``(n,)``.
        is_video: False for an image, ``(n,)``.
        has_sketch: Whether a sketch lies beside the clip, ``(n,)``.
    """

    clip_ids: tuple[str, ...]
    text: tuple[tuple[str, ...], ...]
    frames: Frames
    sketches: Frames
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    is_video: NDArray[np.bool_]
    has_sketch: NDArray[np.bool_]

    @classmethod
    def load(
        cls,
        store: str,
        versions: Mapping[str, int],
        *,
        fingerprint: str,
        split: str,
        sketch_fingerprint: str = "",
    ) -> "TokenExamples":
        """Read the tokens of a pinned version of the store.

        Captions and split are the catalog's where it knows a clip's source, so that editing one
        costs no tokenization; otherwise those that were copied into the tokens' own row. Tokens of
        a clip that the store has no more, because its source was replaced, are left out.

        Args:
            store: Root of the store.
            versions: What ``store_versions`` gave; later commits do not show.
            fingerprint: Of the frame tokenizer.
            split: ``train`` or ``validation``.
            sketch_fingerprint: Of the sketch tokenizer; empty reads no sketches.

        Raises:
            StoreError: There are no such tokens, or rows contradict each other.
        """
        if "tokens" not in versions:
            raise StoreError(f"{store} has no tokens yet: run the flow tokenize first.")
        sources = _sources(store, versions)
        clips = _clips(store, versions["tokens"], fingerprint, split, sources)
        clips = [clip for clip in clips if not clip.kind.endswith("_sketch")]
        if not clips:
            raise StoreError(
                f"{store} has no {split} clips of tokenizer {fingerprint} at version "
                f"{versions['tokens']} of its tokens: run the flow tokenize with this tokenizer, "
                "or prepare-data with another dataset.validation_fraction."
            )
        sketches = []
        if sketch_fingerprint:
            found = _clips(store, versions["tokens"], sketch_fingerprint, split, sources)
            sketches = [clip for clip in found if clip.kind.endswith("_sketch")]
        return cls.of(clips, sketches)

    @classmethod
    def of(cls, clips: Iterable[Clip], sketches: Iterable[Clip] = ()) -> "TokenExamples":
        """Lay clips and their sketches out in arrays, in an order that depends on names only.

        Raises:
            StoreError: Two rows have one name, grids differ, or a sketch is not as long as its
                clip.
        """
        clips = sorted(clips, key=_name)
        length = np.array([len(clip.frames) for clip in clips], dtype=np.int64)
        first = np.cumsum(length) - length
        beside = {_name(clip): clip for clip in sketches}
        found = [beside.get(_name(c)._replace(kind=f"{c.kind}_sketch")) for c in clips]
        _check_names(clips)
        return cls(
            clip_ids=tuple(clip.clip_id for clip in clips),
            text=tuple(clip.text for clip in clips),
            frames=_joined([clip.frames for clip in clips]),
            sketches=_sketches_beside(clips, found),
            first=first,
            length=length,
            is_video=np.array([clip.kind == "video" for clip in clips], dtype=np.bool_),
            has_sketch=np.array([sketch is not None for sketch in found], dtype=np.bool_),
        )

    def serving(self, task: Task, num_frames: int) -> NDArray[np.int64]:
        """Which clips can be examples of a task.

        Images and single frames of videos serve image targets; only videos of all
        ``num_frames`` frames serve video targets.
        """
        serves = np.ones(len(self.length), dtype=np.bool_)
        if task.target == "video":
            serves &= self.is_video & (self.length == num_frames)
        if task.condition == "text":
            serves &= np.array([len(text) > 0 for text in self.text], dtype=np.bool_)
        if task.condition == "sketch":
            serves &= self.has_sketch
        return np.flatnonzero(serves)


class _Name(NamedTuple):
    dataset: str
    clip_id: str
    kind: str


def _name(clip: Clip) -> _Name:
    return _Name(clip.dataset, clip.clip_id, clip.kind)


def _sources(
    store: str, versions: Mapping[str, int]
) -> dict[tuple[str, str], Source | None] | None:
    """What the catalog says of each clip, by (dataset, clip_id); nothing if there are no clips."""
    if "clips" not in versions:
        return None
    known = read_sources(store, versions["catalog"]) if "catalog" in versions else {}
    clips = StoreTable(store, "clips").read(
        ["dataset", "clip_id", "source_sha256"], version=versions["clips"]
    )
    return {
        (row["dataset"], row["clip_id"]): known.get((row["dataset"], row["source_sha256"]))
        for row in clips.to_pylist()
    }


def _clips(
    store: str,
    version: int,
    fingerprint: str,
    split: str,
    sources: Mapping[tuple[str, str], Source | None] | None,
) -> list[Clip]:
    table = StoreTable(store, "tokens")
    where = {"tokenizer": fingerprint}
    clips = []
    num_old = 0
    for shard in table.iter_shards(_COLUMNS, where=where, version=version):
        for row in shard.to_pylist():
            key = (row["dataset"], row["clip_id"])
            if sources is not None and key not in sources:
                num_old += 1
                continue
            copied = Source(row["split"], tuple(row["text"] or ()))
            source = (sources or {}).get(key) or copied
            if source.split == split:
                clips.append(_clip(row, source.text))
    if num_old:
        _log.warning(
            "event=old_tokens rows=%d tokenizer=%s (left out: their clips are no longer in the "
            "store, because their sources were replaced or changed)",
            num_old,
            fingerprint,
        )
    return clips


def _clip(row: Mapping[str, Any], text: tuple[str, ...]) -> Clip:
    grid = (row["grid_s"], row["grid_h"], row["grid_w"])
    tokens = np.frombuffer(row["tokens"], dtype="<u2")
    if tokens.size != grid[0] * grid[1] * grid[2]:
        raise StoreError(
            f"Clip {row['clip_id']} has {tokens.size} tokens of kind {row['kind']}, but its grid "
            f"{grid} has another number of cells: tokenize it again."
        )
    frames = tokens.astype(np.uint16).reshape(grid)
    return Clip(row["dataset"], row["clip_id"], row["kind"], text, frames)


def _check_names(clips: list[Clip]) -> None:
    for clip, following in pairwise(clips):
        if _name(clip) == _name(following):
            raise StoreError(
                f"Clip {clip.clip_id} of {clip.dataset} has two rows of kind {clip.kind}: run "
                "`nuwa store verify STORE`."
            )


def _joined(frames: list[Frames]) -> Frames:
    grids = {clip.shape[1:] for clip in frames}
    if len(grids) != 1:
        raise StoreError(
            f"Clips have frames of different grids {sorted(grids)}: one tokenizer and one "
            "clips.size must make all of them; name another tokenizer or tokenize again."
        )
    return np.concatenate(frames)


def _sketches_beside(clips: list[Clip], sketches: list[Clip | None]) -> Frames:
    """Sketch frames at their clips' places, with zeros where a clip has none."""
    shapes = [sketch.frames.shape[1:] for sketch in sketches if sketch is not None]
    if not shapes:
        return np.zeros((0, 0, 0), dtype=np.uint16)
    laid = []
    for clip, sketch in zip(clips, sketches, strict=True):
        if sketch is None:
            laid.append(np.zeros((len(clip.frames), *shapes[0]), dtype=np.uint16))
            continue
        if len(sketch.frames) != len(clip.frames):
            raise StoreError(
                f"Clip {clip.clip_id} has {len(clip.frames)} frames but {len(sketch.frames)} "
                "sketches: decode and tokenize it again."
            )
        laid.append(sketch.frames)
    return _joined(laid)
