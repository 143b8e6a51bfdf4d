"""What a step may train: a task of the mixture, on whole targets or on excerpts of videos."""

from collections.abc import Mapping
from typing import NamedTuple

from nuwa_model.tasks import Task, get_task
from pipelines.config import TrainingConfig


class Stream(NamedTuple):
    """One thing that a step may train.

    Attributes:
        task: What is read and written.
        num_frames: Frames of each target.
        times: Examples of a step, as a multiple of ``batch_size``.
        weight: Share of the steps, before all are scaled to one.
        is_excerpt: Targets are parts of videos.
    """

    task: Task
    num_frames: int
    times: int
    weight: float
    is_excerpt: bool = False


def streams_of(
    training: TrainingConfig, num_frames: int, *, with_excerpts: bool
) -> Mapping[str, Stream]:
    """The streams of a mixture, by name; an excerpt's counts toward the weight of its task.

    Tasks that are given frames have no excerpts (``docs/decisions/demo.md``).

    Args:
        training: Mixture and excerpts.
        num_frames: Of a whole video.
        with_excerpts: False reads videos whole, whatever ``training`` says.
    """
    streams: dict[str, Stream] = {}
    for name, weight in training.tasks.items():
        task = get_task(name)
        if task.target == "image":
            streams[name] = Stream(task, 1, training.images_per_video, weight)
            continue
        has_excerpts = with_excerpts and not training.frames_given(task)
        share = training.excerpt_share if has_excerpts else 0.0
        streams[name] = Stream(task, num_frames, 1, weight * (1 - share))
        if share:
            frames = training.excerpt_frames
            streams[f"{name} excerpts"] = Stream(
                task, frames, num_frames // frames, weight * share, is_excerpt=True
            )
    return streams
