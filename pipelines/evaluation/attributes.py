"""What samples show against what they should show, by the judge of moving shapes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nuwa_model.tasks import Condition, get_task
from pipelines.datasets.shapes_captions import Attributes
from pipelines.evaluation.material import Clip, Material, Sample, told
from pipelines.evaluation.records import LeftOut, Score, share
from pipelines.evaluation.shapes import Reading, judge_agreement

Entry = Score | LeftOut

SHOWN_BY: Mapping[Condition, tuple[str, ...]] = {
    "none": ("color", "shape"),  # given pixels tell both; one frame tells no direction
    "sketch": ("shape", "direction"),  # label maps have no color
}
"""Attributes that a condition other than text fixes; the real clip says which they are."""


class Verdict(NamedTuple):
    """The judge's reading of one sample beside what it should be.

    Attributes:
        reading: What the judge sees.
        expected: Attribute to the value it should have; empty where nothing is known.
    """

    reading: Reading
    expected: Mapping[str, str]

    @property
    def is_right(self) -> bool | None:
        """Whether all expected attributes are there; ``None`` if none is expected."""
        if not self.expected:
            return None
        return all(getattr(self.reading, name) == value for name, value in self.expected.items())


def verdict(material: Material, sample: Sample) -> Verdict:
    """Judge one sample: against its caption, or against the real clip it continues or redraws."""
    task = get_task(sample.task)
    reading = material.readings[sample.task, sample.index]
    if unjudged(material):
        return Verdict(reading, {})
    if task.condition == "text":
        asked = told(sample.text)
        names = ("color", "shape", "direction") if task.target == "video" else ("color", "shape")
        return Verdict(reading, {n: getattr(asked, n) for n in names} if asked else {})
    clip = material.clips.get(sample.clip_id)
    if clip is None or told(clip.text) is None:
        return Verdict(reading, {})
    real = material.real_readings[sample.clip_id]
    seen = {name: getattr(real, name) for name in SHOWN_BY[task.condition]}
    if task.target == "image":
        seen.pop("direction", None)
    return Verdict(reading, {name: value for name, value in seen.items() if value is not None})


def unjudged(material: Material) -> str:
    """Why the judge has no say about this run's data; empty if it has."""
    shapes = material.config.dataset.shapes
    if material.datasets == ("moving_shapes",) and shapes.second_object:
        return "the judge reads videos of one thing, and dataset.shapes.second_object adds another"
    texts = [sample.text for sample in material.samples] + [c.text for c in material.real]
    if not any(told(text) for text in texts):
        return "no caption tells a color, a shape, a direction and a speed of moving shapes"
    return ""


def score_samples(material: Material) -> Iterator[Entry]:
    """Shares of samples that show what they should, for every task.

    Tasks with a caption are scored against it: ``color``, ``shape``, ``direction`` and ``all``.
    The others are scored against the judge's reading of the real clip: ``color continuity`` and
    so on.
    """
    reason = unjudged(material)
    for task in material.tasks:
        if reason:
            yield LeftOut(task, "color, shape, direction, all", reason)
            continue
        verdicts = [verdict(material, sample) for sample in material.of_task(task)]
        known = [one for one in verdicts if one.expected]
        if not known:
            yield LeftOut(task, "color, shape, direction, all", "nothing says what they show")
            continue
        unknown = len(verdicts) - len(known)
        note = f"{unknown} more samples have nothing to be judged by" if unknown else ""
        yield from _shares(task, known, note)


def score_judge(material: Material) -> Iterator[Entry]:
    """The judge's own accuracy on real clips that went through the same decoding."""
    readings = [material.real_readings[clip.clip_id] for clip in captioned_videos(material)]
    yield from score_real("judge", material, readings)


def captioned_videos(material: Material) -> list[Clip]:
    """Real videos whose caption says what the judge should see."""
    return [clip for clip in material.real if clip.kind == "video" and told(clip.text)]


def score_real(task: str, material: Material, readings: Sequence[Reading]) -> Iterator[Entry]:
    """Agreement of readings with the captions of the real videos that they belong to.

    Args:
        task: What the readings tell of.
        material: Whose real videos.
        readings: One for each of ``captioned_videos``.
    """
    reason = unjudged(material) or ("" if readings else "no real video has a caption to check by")
    if reason:
        yield LeftOut(task, "color, shape, direction, all", reason)
        return
    videos = captioned_videos(material)
    captions = [caption for clip in videos if (caption := told(clip.text)) is not None]
    note = _which(videos)
    for metric, value in judge_agreement(readings, captions).items():
        yield share(task, metric, value, len(videos), note=note)


def _which(clips: Sequence[Clip]) -> str:
    held_out = all(clip.split == "validation" for clip in clips)
    return "real validation clips" if held_out else "training clips: nothing was held out"


def _shares(task: str, known: Sequence[Verdict], note: str) -> Iterator[Score]:
    if get_task(task).condition == "text":
        asked = [_as_attributes(one.expected) for one in known]
        has_motion = "direction" in known[0].expected
        agreement = judge_agreement([v.reading for v in known], asked, has_motion=has_motion)
        for metric, value in agreement.items():
            yield share(task, metric, value, len(known), note=note)
        return
    for name in SHOWN_BY[get_task(task).condition]:
        pairs = [(v.expected[name], getattr(v.reading, name)) for v in known if name in v.expected]
        if pairs:
            kept = sum(real == seen for real, seen in pairs) / len(pairs)
            how = "as the judge reads the real clip" + (f"; {note}" if note else "")
            yield share(task, f"{name} continuity", kept, len(pairs), note=how)


def _as_attributes(expected: Mapping[str, str]) -> Attributes:
    return Attributes(expected["color"], expected["shape"], expected.get("direction", ""), speed="")
