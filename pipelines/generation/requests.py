"""What a sample set is asked for: conditions and known tokens, from the store's own clips.

Clips are taken in the order of their ids, from the validation split where there is one: nothing
is chosen by hand.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from nuwa_model.grid import Grid
from nuwa_model.tasks import Task, get_task
from pipelines.config import GenerationConfig
from pipelines.errors import StoreError
from pipelines.loading.examples import TokenExamples
from pipelines.store.table import store_versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Samples of one task to be made.

    Attributes:
        task: Which.
        clip_ids: Clip that each sample's condition comes from.
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


def make_requests(
    examples: TokenExamples, task_name: str, target_grid: Grid, generation: GenerationConfig
) -> Requests | None:
    """The first clips that can serve a task, or ``None`` where no clip can."""
    task = get_task(task_name)
    clips = examples.serving(task, target_grid.s)[: generation.num_samples]
    if not len(clips):
        logger.warning("event=left_out task=%s reason=no clip of the store can serve it", task.name)
        return None
    num_frames = target_grid.s if task.target == "video" else 1
    places = examples.first[clips][:, None] + np.arange(num_frames)
    return Requests(
        task=task,
        clip_ids=tuple(examples.clip_ids[i] for i in clips),
        texts=tuple(_first(examples.text[i]) for i in clips),
        sketches=_tensor(examples.sketches[places]) if task.condition == "sketch" else None,
        known=_known(task, _tensor(examples.frames[places]), generation.given_frames),
    )


def _known(
    task: Task, target: Int[Tensor, "b s h w"], given_frames: int
) -> Int[Tensor, "b s h w"] | None:
    """Given tokens: the first frames of a video, or the upper half of an image as in the paper."""
    if task.given == "nothing":
        return None
    known = target.clone()
    if task.given == "first_frames":
        known[:, given_frames:] = -1
    else:
        known[:, :, target.shape[2] // 2 :] = -1
    return known


def _first(captions: Sequence[str]) -> str:
    return captions[0] if captions else ""


def _tensor(tokens: np.ndarray) -> Int[Tensor, "b s h w"]:
    return torch.from_numpy(tokens.astype(np.int64))
