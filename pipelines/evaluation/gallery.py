"""Samples as cards of a page: pictures and videos inlined, with the judge's verdict."""

import base64
import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image

from nuwa_model.tasks import Task, get_task
from pipelines import storage
from pipelines.evaluation.attributes import Verdict, verdict
from pipelines.evaluation.material import Material, Sample

FIRST = 24
"""Samples shown of a task: the first by index, so that nothing is chosen by hand."""

FIRST_WRONG = 12
"""Failures shown below them, again the first by index."""

_PAGE_BYTES = 10_000_000
"""Bytes of pictures and videos on a page, before base64 adds a third."""


class Chip(NamedTuple):
    """One attribute that the judge looked for.

    Attributes:
        attribute: ``color``, ``shape`` or ``direction``.
        seen: What it read.
        expected: What it should have read.
    """

    attribute: str
    seen: str
    expected: str

    @property
    def is_right(self) -> bool:
        """Whether it read what it should."""
        return self.seen == self.expected


@dataclass(frozen=True, kw_only=True)
class Card:
    """One sample on the page; pictures and video are data URIs, or empty.

    Attributes:
        index: Its place among the samples of its task.
        title: The caption, or what was given in its stead.
        num_frames: Frames of the sample.
        strip: All frames side by side.
        video: The playable video.
        real: The real clip's frames side by side, where the sample continues or redraws one.
        real_text: The real clip's caption, which the model did not read.
        chips: What the judge read.
        is_right: Whether it read all it should; ``None`` if it has no say.
        note: Why something was not read.
    """

    index: int
    title: str
    num_frames: int
    strip: str
    video: str
    real: str
    real_text: str
    chips: tuple[Chip, ...]
    is_right: bool | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The samples of one task.

    Attributes:
        task: The task.
        says: What the task does, in a sentence.
        total: Samples there are.
        num_wrong: Those that the judge found wrong.
        cards: The first by index.
        wrong: The first failures by index.
    """

    task: Task
    says: str
    total: int
    num_wrong: int
    cards: tuple[Card, ...]
    wrong: tuple[Card, ...]


def galleries(material: Material) -> list[Gallery]:
    """One gallery for each task that has samples."""
    budget = _PAGE_BYTES // max(1, len(material.tasks) * (FIRST + FIRST_WRONG))
    return [_gallery(material, task, budget) for task in material.tasks]


def picture_uri(data: bytes, *, most_bytes: int) -> str:
    """A picture as a data URI: as it is if it is small enough, else as an ever smaller JPEG."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    if len(data) > most_bytes:
        kind, picture = "jpeg", Image.open(io.BytesIO(data)).convert("RGB")
        data = _jpeg(picture)
        while len(data) > most_bytes and picture.width > 64:
            picture = picture.resize((picture.width * 3 // 4, max(1, picture.height * 3 // 4)))
            data = _jpeg(picture)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _gallery(material: Material, name: str, budget: int) -> Gallery:
    task, samples = get_task(name), material.of_task(name)
    judged = [(sample, verdict(material, sample)) for sample in samples]
    wrong = [pair for pair in judged if pair[1].is_right is False]
    return Gallery(
        task=task,
        says=_says(task, material.config.generation.given_frames),
        total=len(samples),
        num_wrong=len(wrong),
        cards=tuple(_card(material, *pair, budget=budget) for pair in judged[:FIRST]),
        wrong=tuple(_card(material, *pair, budget=budget) for pair in wrong[:FIRST_WRONG]),
    )


def _says(task: Task, given_frames: int) -> str:
    reads = {"none": "nothing", "text": "the caption", "sketch": "a sketch"}[task.condition]
    frames = "the first frame" if given_frames == 1 else f"the first {given_frames} frames"
    target = {"image": "an image", "video": "a video"}[task.target]
    given = {
        "nothing": "",
        "first_frames": f" and goes on from {frames}",
        "outside_mask": " and keeps what lies outside a mask",
    }[task.given]
    return f"The model reads {reads}{given}, and writes {target}."


def _card(material: Material, sample: Sample, judged: Verdict, *, budget: int) -> Card:
    expected = judged.expected
    is_told = get_task(sample.task).condition == "text"
    clip = None if is_told else material.clips.get(sample.clip_id)
    return Card(
        index=sample.index,
        title=sample.text if is_told else f"clip {sample.clip_id[:12]}",
        num_frames=len(sample.frames),
        strip=picture_uri(storage.read_bytes(sample.strip), most_bytes=budget // 2),
        video=_video_uri(sample.video, most_bytes=budget // 2) if sample.video else "",
        real="" if clip is None else _frames_uri(clip.frames, budget // 4),
        real_text="" if clip is None else clip.text,
        chips=tuple(
            Chip(name, getattr(judged.reading, name) or "unclear", value)
            for name, value in expected.items()
        ),
        is_right=judged.is_right,
        note=judged.reading.note if expected else "",
    )


def _video_uri(uri: str, *, most_bytes: int) -> str:
    """A video as a data URI; empty where it is too large for a page that holds many."""
    if storage.size(uri) > most_bytes:
        return ""
    return f"data:video/mp4;base64,{base64.b64encode(storage.read_bytes(uri)).decode()}"


def _frames_uri(frames: UInt8[np.ndarray, "s H W 3"], most_bytes: int) -> str:
    strip = Image.fromarray(rearrange(frames, "s h w c -> h (s w) c"))
    return picture_uri(_jpeg(strip), most_bytes=most_bytes)


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()
