"""Everything a report is made from, read once: samples, real clips, and what made them."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pipelines import artifacts, names, storage
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig
from pipelines.datasets.shapes_captions import Attributes, read_caption
from pipelines.errors import ArtifactError, SourceError
from pipelines.evaluation.pictures import read_picture, split_strip
from pipelines.evaluation.shapes import Reading, read_video
from pipelines.store.table import StoreTable

MOST_REAL = 256
"""Real clips read at most, as many as the demo has samples of a task."""

_COLUMNS = ("clip_id", "dataset", "split", "kind", "text", "frames")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A real clip, decoded.

    Attributes:
        clip_id: Its name in the table ``clips``.
        dataset: What it comes from, such as ``folder``.
        split: ``train`` or ``validation``.
        kind: ``video`` or ``image``.
        text: Its first caption; empty if it has none.
        frames: RGB, 0 to 255.
    """

    clip_id: str
    dataset: str
    split: str
    kind: str
    text: str
    frames: UInt8[np.ndarray, "s H W 3"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One generated image or video, as it lies in the samples artifact.

    Attributes:
        task: A key of ``nuwa_model.tasks.TASKS``.
        index: Its place among the samples of its task.
        clip_id: The real clip whose condition it got.
        text: The caption it got; empty if its task has none.
        strip: Local file of its frames side by side.
        video: Local file of its MP4; empty for an image.
        tokens: Local file of its tokens.
        known: Local file of the tokens it was given, −1 where free; empty if it was given none.
        frames: RGB, 0 to 255.
    """

    task: str
    index: int
    clip_id: str
    text: str
    strip: str
    video: str
    tokens: str = ""
    known: str = ""
    frames: UInt8[np.ndarray, "s H W 3"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run left behind, as far as it got.

    Attributes:
        config: The settings of the run.
        samples: All samples, by task and index.
        clips: Real clips by name: those that samples belong to, and the first held-out ones.
        samples_artifact: Where the samples come from.
        export: The model they come from.
        vqgan: The frame tokenizer.
        vqgan_seg: The sketch tokenizer.
        absent: What could not be found, in a sentence each.
    """

    config: RunConfig
    samples: tuple[Sample, ...] = ()
    clips: Mapping[str, Clip]
    samples_artifact: Artifact | None = None
    export: Artifact | None = None
    vqgan: Artifact | None = None
    vqgan_seg: Artifact | None = None
    absent: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have samples, in the order they were made."""
        return tuple(dict.fromkeys(sample.task for sample in self.samples))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Where the clips come from; the settings name only what ``prepare-data`` would read."""
        found = {clip.dataset for clip in self.clips.values()}
        return tuple(sorted(found)) or (self.config.dataset.name,)

    def of_task(self, task: str) -> tuple[Sample, ...]:
        """The samples of one task, by index."""
        return tuple(sample for sample in self.samples if sample.task == task)

    @property
    def real(self) -> tuple[Clip, ...]:
        """The first held-out clips by name; training clips where nothing was held out."""
        clips = sorted(self.clips.values(), key=lambda clip: clip.clip_id)
        held_out = [clip for clip in clips if clip.split == "validation"]
        return tuple((held_out or clips)[:MOST_REAL])

    @cached_property
    def readings(self) -> Mapping[tuple[str, int], Reading]:
        """What the judge sees in each sample, by task and index."""
        return {(one.task, one.index): read_video(one.frames) for one in self.samples}

    @cached_property
    def real_readings(self) -> Mapping[str, Reading]:
        """What the judge sees in each real clip, by name."""
        return {name: read_video(clip.frames) for name, clip in self.clips.items()}

    def training_clips(self, most: int) -> Sequence[Clip]:
        """Up to so many training clips, in the table's order; any split if none is for training."""
        table = StoreTable(self.config.store, "clips")
        if not table.exists():
            return ()
        for where in ({"split": "train"}, {}):
            clips = list(_limited(_iter_clips(table, where), most))
            if clips:
                return clips
        return ()


def gather(config: RunConfig) -> Material:
    """Read what the run with these settings left behind; what is missing is noted, not fatal.

    Raises:
        ArtifactError: An artifact is damaged, or several could be meant.
        StoreError: A sample or a table cannot be read.
    """
    absent: list[str] = []
    find = _Finder(config.store, absent)
    vqgan = find("vqgan", names.vqgan_name(config), config.tokenizer)
    vqgan_seg = find("vqgan_seg", names.vqgan_seg_name(config), config.sketch_tokenizer)
    export = find("export", names.pretrain_export_name(config), config.checkpoint)
    samples_artifact = None
    if export is not None:
        samples_artifact = find("samples", names.samples_name(config, export.name))
    samples = () if samples_artifact is None else tuple(_read_samples(samples_artifact))
    return Material(
        config=config,
        samples=samples,
        clips=_read_clips(config.store, {sample.clip_id for sample in samples}),
        samples_artifact=samples_artifact,
        export=export,
        vqgan=vqgan,
        vqgan_seg=vqgan_seg,
        absent=tuple(absent),
    )


def told(text: str) -> Attributes | None:
    """What a caption of moving shapes says, or ``None`` if it is no such caption."""
    try:
        return read_caption(text)
    except SourceError:
        return None


@dataclass(frozen=True)
class _Finder:
    """Finds artifacts that may not be there, and remembers which were not."""

    store: str
    absent: list[str]

    def __call__(self, kind: str, name: str, given: str = "") -> Artifact | None:
        if not given and not artifacts.list_names(self.store, kind):
            flow = artifacts.MADE_BY[kind]
            self.absent.append(f"This store has no {kind} yet: the flow {flow} makes it.")
            return None
        return artifacts.find(self.store, kind, name, given)


def _read_samples(artifact: Artifact) -> Iterator[Sample]:
    if "samples.json" not in artifact.files:
        raise ArtifactError(f"{artifact.uri} has no samples.json: run the flow evaluate again.")
    root = str(artifacts.local_folder(artifact))  # many small files, best fetched together
    rows = json.loads(storage.read_bytes(storage.join(root, "samples.json")))
    for row in sorted(rows, key=lambda row: row["index"]):
        yield _sample(root, row)


def _sample(root: str, row: Mapping[str, Any]) -> Sample:
    strip = storage.join(root, row["strip"])
    return Sample(
        task=row["task"],
        index=row["index"],
        clip_id=row["clip_id"],
        text=row["text"] or "",
        strip=strip,
        **{
            kind: storage.join(root, row[kind]) if row.get(kind) else ""
            for kind in ("video", "tokens", "known")
        },
        frames=split_strip(read_picture(storage.read_bytes(strip), where=strip)),
    )


def _read_clips(store: str, wanted: Collection[str]) -> Mapping[str, Clip]:
    table = StoreTable(store, "clips")
    if not table.exists():
        return {}
    held_out = list(_limited(_iter_clips(table, {"split": "validation"}), MOST_REAL))
    clips = {clip.clip_id: clip for clip in held_out}
    missing = set(wanted) - clips.keys()
    if missing:
        clips |= {c.clip_id: c for c in _iter_clips(table, {"clip_id": sorted(missing)})}
    if not clips:
        clips |= {c.clip_id: c for c in _limited(_iter_clips(table, {}), MOST_REAL)}
    return clips


def _iter_clips(table: StoreTable, where: Mapping[str, str | Collection[str]]) -> Iterator[Clip]:
    pictures = {"kind": ("video", "image"), **where}
    for shard in table.iter_shards(list(_COLUMNS), where=pictures):
        for row in shard.to_pylist():
            yield _clip(row)


def _clip(row: Mapping[str, Any]) -> Clip:
    where = f"a frame of clip {row['clip_id']}"
    return Clip(
        clip_id=row["clip_id"],
        dataset=row["dataset"],
        split=row["split"],
        kind=row["kind"],
        text=(row["text"] or [""])[0],
        frames=np.stack([read_picture(frame, where=where) for frame in row["frames"]]),
    )


def _limited(clips: Iterator[Clip], most: int) -> Iterator[Clip]:
    for _, clip in zip(range(most), clips, strict=False):
        yield clip
