"""Batches for training: a pure function of the step, cheap enough to be built when asked for.

There is nothing to prefetch and nothing to save: tokens lie in memory, and a run resumes by asking
for the next step.
"""

import json
import logging
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from nuwa_model.batch import Batch
from nuwa_model.errors import ConfigError
from nuwa_model.tasks import TASKS, Task, get_task
from pipelines.config import RunConfig, TrainingConfig
from pipelines.errors import StoreError
from pipelines.loading.captions import Captions, TextEncoder
from pipelines.loading.examples import TokenExamples
from pipelines.loading.order import (
    draw,
    draw_fractions,
    examples_of_step,
    steps_before,
    stream_of_step,
)
from pipelines.loading.streams import Stream, streams_of

logger = logging.getLogger(__name__)


class TrainingLoader:
    """Batches of one split, for one rank.

    The global batch of a step depends on the seed, the step and the pinned store alone; ranks and
    micro-batches are slices of it, so another number of ranks reads the same examples.

    Args:
        config: Settings of the run: the store and the model's shape.
        training: ``config.training`` or ``config.finetuning``: mixture, batch size, seed.
        store_version: Version of each table, as ``store_versions(store)`` gave it; captions
            are pinned with it.
        fingerprint: Of the frame tokenizer.
        text: Encodes captions; used once, here.
        rank: Number of this process.
        world_size: Number of processes.
        sketch_fingerprint: Of the sketch tokenizer; tasks with sketches need it.
        split: ``train``, or ``validation``, which reads whole videos, images from anywhere in
            them, and every condition, so that its loss compares between trainings.

    Raises:
        ConfigError: The store has no example for a task, or the batch cannot be divided.
        StoreError: There are no such tokens, or they are not tokens of this model.
    """

    def __init__(
        self,
        config: RunConfig,
        training: TrainingConfig,
        *,
        store_version: Mapping[str, int],
        fingerprint: str,
        text: TextEncoder,
        rank: int = 0,
        world_size: int = 1,
        sketch_fingerprint: str = "",
        split: str = "train",
    ) -> None:
        self._training, self._rank, self._world_size = training, rank, world_size
        self._num_frames = config.model.target_grid.s
        is_training = split == "train"
        self._streams = streams_of(training, self._num_frames, with_excerpts=is_training)
        self._weights = {name: stream.weight for name, stream in self._streams.items()}
        self._dropout = training.text_dropout if is_training else 0.0
        self._opening_share = training.opening_share if is_training else 0.0
        self._micro_batch_size = _micro_batch_size(training, world_size)
        self._examples = TokenExamples.load(
            config.store,
            store_version,
            fingerprint=fingerprint,
            split=split,
            sketch_fingerprint=sketch_fingerprint,
        )
        _check_tokens(self._examples, config)
        self._serving = _serving(self._examples, config, training, split)
        self._captions = Captions(self._examples.text, text)
        self._say_what_is_left_out(split)

    @property
    def num_examples(self) -> dict[str, int]:
        """Examples that serve each task of the mixture: the length of its epoch."""
        return {task: len(clips) for task, clips in self._serving.items()}

    def batch_at(self, step: int, micro_batch: int = 0) -> Batch:
        """This rank's share of a step.

        Args:
            step: Optimizer step, from 0.
            micro_batch: Below ``gradient_accumulation``.
        """
        if not 0 <= micro_batch < self._training.gradient_accumulation:
            raise IndexError(f"There is no micro-batch {micro_batch}.")
        seed = self._training.seed
        name = stream_of_step(seed, step, self._weights)
        stream = self._streams[name]
        serving = self._serving[stream.task.name]
        picked = examples_of_step(
            seed,
            name,
            steps_before(seed, step, self._weights),
            num_examples=len(serving),
            batch_size=self._training.batch_size * stream.times,
        )
        size = self._micro_batch_size * stream.times
        start = (micro_batch * self._world_size + self._rank) * size
        positions = np.arange(start, start + size)
        return self._batch(stream, step, serving[picked[positions]], positions)

    def _batch(
        self,
        stream: Stream,
        step: int,
        clips: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> Batch:
        task, num_frames = stream.task, stream.num_frames
        first_frame = self._first_frames(num_frames, step, clips, positions)
        places = (self._examples.first[clips] + first_frame)[:, None] + np.arange(num_frames)
        if task.condition == "sketch":
            condition = _gathered(self._examples.sketches, places)
            mask = torch.ones(len(clips), condition[0].numel(), dtype=torch.bool)
        else:
            captions = torch.from_numpy(self._caption_numbers(task, step, clips, positions))
            condition = self._captions.tokens[captions][:, :, None, None].long()
            mask = self._captions.mask[captions]
        return Batch(
            task=task,
            target=_gathered(self._examples.frames, places),
            condition=condition,
            condition_mask=mask,
            first_frame=torch.from_numpy(first_frame),
            is_excerpt=stream.is_excerpt,
            given_frames=self._training.frames_given(task),
        )

    def _first_frames(
        self, num_frames: int, step: int, clips: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Where in its clip each example begins: at its opening, or wherever it fits."""
        seed = self._training.seed
        starts = (self._examples.length[clips] - num_frames + 1).astype(np.uint64)
        anywhere = (draw(seed, "frame", step, positions) % starts).astype(np.int64)
        is_opening = draw_fractions(seed, "opening", step, positions) < self._opening_share
        return np.where(is_opening, 0, anywhere)

    def _caption_numbers(
        self, task: Task, step: int, clips: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Which caption each example gets; 0 is ``None``: dropped, or a task without text."""
        if task.condition == "none":
            return np.zeros(len(clips), dtype=np.int64)
        seed = self._training.seed
        words = draw(seed, "caption", step, positions)
        count = self._captions.count[clips].astype(np.uint64)
        numbers = self._captions.first[clips] + (words % count).astype(np.int64)
        is_dropped = draw_fractions(seed, "dropout", step, positions) < self._dropout
        return np.where(is_dropped, 0, numbers)

    def _say_what_is_left_out(self, split: str) -> None:
        examples = self._examples
        short = int((examples.is_video & (examples.length < self._num_frames)).sum())
        logger.info(
            "split=%s clips=%d short=%d without_text=%d without_sketch=%d examples=%s",
            split,
            len(examples.length),
            short,
            sum(not text for text in examples.text),
            int((~examples.has_sketch).sum()),
            self.num_examples,
        )


def _micro_batch_size(training: TrainingConfig, world_size: int) -> int:
    shares = world_size * training.gradient_accumulation
    if training.batch_size % shares:
        raise ConfigError(
            f"batch_size ({training.batch_size}) must be a multiple of the {world_size} ranks "
            f"times gradient_accumulation ({training.gradient_accumulation})."
        )
    return training.batch_size // shares


def _check_tokens(examples: TokenExamples, config: RunConfig) -> None:
    """Refuse tokens that the model has no room for, before it indexes a table with them."""
    model, length = config.model, int(examples.length.max())
    if examples.frames.shape[1:] != model.target_grid[1:] or length > model.target_grid.s:
        raise StoreError(
            f"Clips of {config.store} have up to {length} frames of {examples.frames.shape[1:]} "
            f"tokens, but model.target_grid is {tuple(model.target_grid)}: use the settings that "
            "tokenized them, or tokenize again."
        )
    for frames, size in (
        (examples.frames, model.codebook_size),
        (examples.sketches, model.sketch_codebook_size),
    ):
        if frames.size and int(frames.max()) >= size:
            raise StoreError(
                f"{config.store} holds token {int(frames.max())}, but the model's codebook has "
                f"{size}: use the settings that tokenized it, or tokenize again."
            )


def _serving(
    examples: TokenExamples, config: RunConfig, training: TrainingConfig, split: str
) -> dict[str, NDArray[np.int64]]:
    """Clips that serve each task of the mixture; a task that none serves is refused."""
    found = {
        name: examples.serving(task, config.model.target_grid.s) for name, task in TASKS.items()
    }
    wanted = {name: weight for name, weight in training.tasks.items() if weight > 0}
    missing = [name for name in wanted if not len(found[name])]
    if missing:
        possible = {n: w for n, w in wanted.items() if len(found[n])}
        free = [n for n, task in TASKS.items() if task.condition == "none" and len(found[n])]
        possible = possible or {name: 1.0 for name in free[:1]}
        section = "finetuning" if training is config.finetuning else "training"
        raise ConfigError(
            f"No {split} clip of {config.store} can be an example of {missing[0]}: "
            f"{_lacking(get_task(missing[0]), config.model.target_grid.s)}. Leave it out: "
            f"--set {section}.tasks='{json.dumps(possible)}'."
        )
    return {name: found[name] for name in wanted}


def _lacking(task: Task, num_frames: int) -> str:
    target = f"a video of {num_frames} frames" if task.target == "video" else "a picture"
    condition = {"none": "", "text": " with a caption", "sketch": " with tokenized sketches"}
    return f"it needs {target}{condition[task.condition]}"


def _gathered(frames: NDArray[np.uint16], places: NDArray[np.int64]) -> Int[Tensor, "b s h w"]:
    return torch.from_numpy(frames[places].astype(np.int64))
