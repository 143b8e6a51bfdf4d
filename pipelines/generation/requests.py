"""What a sample set is asked for: conditions and known tokens, from the store's own clips.

Clips are taken in the order of their ids, from the validation split where there is one: nothing
is chosen by hand.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nuwa_model.grid import Grid
from nuwa_model.tasks import Task, get_task
from pipelines.config import GenerationConfig
from pipelines.datasets.shapes_edits import recolored, redirected
from pipelines.errors import SourceError, StoreError
from pipelines.generation.marks import Labels, hole_around
from pipelines.loading.examples import TokenExamples
from pipelines.store.table import store_versions

logger = logging.getLogger(__name__)

Marks = Callable[[Sequence[str]], Mapping[str, Labels]]


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Samples of one task to be made.

    Attributes:
        task: Which.
        clip_ids: Clip that each sample's condition comes from; empty of a prompt.
        texts: Caption of each, empty for a task that reads none and a clip that has none.
        sketches: Sketch tokens of each, for tasks that read them.
        known: Given target tokens, −1 where free, for tasks that are given some.
    """

    task: Task
    clip_ids: tuple[str, ...]
    texts: tuple[str, ...]
    sketches: Int[Tensor, "b s h w"] | None = None
    known: Int[Tensor, "b s h w"] | None = None

    def part(self, start: int, stop: int) -> "Requests":
        """Some of them, for one batch."""
        return Requests(
            task=self.task,
            clip_ids=self.clip_ids[start:stop],
            texts=self.texts[start:stop],
            sketches=None if self.sketches is None else self.sketches[start:stop],
            known=None if self.known is None else self.known[start:stop],
        )


def load_examples(store: str, fingerprint: str, sketch_fingerprint: str = "") -> TokenExamples:
    """Validation clips, or, where none were held out, training clips; the log says which.

    Raises:
        StoreError: The store has no tokens of this tokenizer.
    """
    versions = store_versions(store)
    for split in ("validation", "train"):
        try:
            examples = TokenExamples.load(
                store,
                versions,
                fingerprint=fingerprint,
                split=split,
                sketch_fingerprint=sketch_fingerprint,
            )
        except StoreError:
            if split == "train":
                raise
            continue
        logger.info("event=conditions split=%s clips=%d", split, len(examples.clip_ids))
        return examples
    raise AssertionError("the loop returns or raises")


def prompted(task_name: str, generation: GenerationConfig) -> Requests:
    """The prompts of the settings, several samples of each one after another."""
    texts = tuple(text for text in generation.prompts for _ in range(generation.samples_a_prompt))
    return Requests(task=get_task(task_name), clip_ids=("",) * len(texts), texts=texts)


def make_requests(
    examples: TokenExamples,
    task_name: str,
    target_grid: Grid,
    generation: GenerationConfig,
    marks: Marks = lambda _clip_ids: {},
) -> Requests | None:
    """The first clips that can serve a task, or ``None`` where no clip can.

    A task that changes what it is given as a caption says is asked for a change, where the caption
    is one of moving shapes: TI2I for another color of what the sketch marks, TV2V for another
    direction of it.

    Args:
        examples: Where clips are taken from.
        task_name: A key of ``TASKS``.
        target_grid: The model's.
        generation: How many, and how many first frames are given.
        marks: The first label map of each clip of these names that has one.
    """
    task = get_task(task_name)
    clips = examples.serving(task, target_grid.s)[: generation.num_samples]
    if not len(clips):
        logger.warning("event=left_out task=%s reason=no clip of the store can serve it", task.name)
        return None
    num_frames = target_grid.s if task.target == "video" else 1
    places = examples.first[clips][:, None] + np.arange(num_frames)
    clip_ids = tuple(examples.clip_ids[i] for i in clips)
    texts = tuple(_first(examples.text[i]) for i in clips)
    target, known = _tensor(examples.frames[places]), None
    labels = marks(clip_ids) if _changes(task) else {}
    if task.given == "first_frames":
        known = target.clone()
        known[:, generation.given_frames :] = -1
    elif task.given == "outside_mask":
        holes = [_hole(labels.get(name), target_grid) for name in clip_ids]
        known = target.masked_fill(torch.from_numpy(np.stack(holes))[:, None], -1)
    return Requests(
        task=task,
        clip_ids=clip_ids,
        texts=tuple(
            _changed(task, text, labels.get(name))
            for text, name in zip(texts, clip_ids, strict=True)
        ),
        sketches=_tensor(examples.sketches[places]) if task.condition == "sketch" else None,
        known=known,
    )


def _changes(task: Task) -> bool:
    """Whether a task is given something that a caption may contradict."""
    return task.condition == "text" and task.given != "nothing"


def _hole(labels: Labels | None, grid: Grid) -> Bool[np.ndarray, "h w"]:
    """Around what is marked; else the lower half, as in the paper."""
    hole = None if labels is None else hole_around(labels, grid.h, grid.w)
    if hole is None:
        hole = np.zeros((grid.h, grid.w), bool)
        hole[grid.h // 2 :] = True
    return hole


def _changed(task: Task, text: str, labels: Labels | None) -> str:
    if labels is None:
        return text
    try:
        return recolored(text) if task.target == "image" else redirected(text, labels)
    except SourceError:  # no caption of moving shapes: what else it may ask for is not known
        return text


def _first(captions: Sequence[str]) -> str:
    return captions[0] if captions else ""


def _tensor(tokens: np.ndarray) -> Int[Tensor, "b s h w"]:
    return torch.from_numpy(tokens.astype(np.int64))
