"""The actor that generates: holds the model and the conditions in memory between batches."""

import logging
import time
from functools import cached_property, partial

import torch

from nuwa_model.export import Export
from nuwa_model.generation import Frozen, freeze, synthesize
from pipelines import artifacts, storage
from pipelines.config import GenerationConfig
from pipelines.generation.marks import first_labels
from pipelines.generation.originals import with_originals
from pipelines.generation.painter import sampling_of
from pipelines.generation.requests import Requests, load_examples, make_requests, prompted
from pipelines.generation.sample_set import batch_uri, write_batch
from pipelines.loading.examples import TokenExamples


class Generator:
    """Makes batches of samples. A plain class: Ray wraps it where it is used.

    Args:
        store: Root of the store, absolute.
        export: Artifact of the export.
        work: Where finished batches lie.
        generation: What is sampled.
    """

    def __init__(self, store: str, export: str, work: str, generation: GenerationConfig) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
        self._store, self._uri = store, export
        self._work, self._generation = work, generation
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._requests: dict[str, Requests | None] = {}

    @cached_property
    def _export(self) -> Export:
        # Not in the constructor: Ray reports an error from there without its own line.
        return Export.load(artifacts.folder_at(self._uri)).to(self._device)

    @cached_property
    def _frozen(self) -> Frozen:
        return freeze(self._export.model)

    @cached_property
    def _examples(self) -> TokenExamples:
        export = self._export
        sketches = "" if export.sketches is None else export.sketches.fingerprint
        return load_examples(self._store, export.frames.fingerprint, sketches)

    def num_requests(self, task: str) -> int:
        """Samples that can be made of a task."""
        requests = self._of(task)
        return 0 if requests is None else len(requests.clip_ids)

    def make_batch(self, task: str, start: int) -> float:
        """Generate and write one batch, unless an earlier run did; returns seconds decoding."""
        requests = self._of(task)
        if requests is None or storage.exists(batch_uri(self._work, task, start)):
            return 0.0
        part = requests.part(start, start + self._generation.batch_size)
        started = time.monotonic()
        synthesis = synthesize(
            self._export,
            task,
            texts=part.texts,
            sketches=part.sketches,
            known=part.known,
            sampling=sampling_of(self._generation),
            schedule=self._generation.schedule,
            num_candidates=self._generation.num_candidates.get(task, 1),
            sample_ids=torch.arange(start, start + len(part.clip_ids), device=self._device),
            frozen=self._frozen,
        )
        seconds = time.monotonic() - started
        synthesis = with_originals(self._store, part, synthesis)
        write_batch(self._work, part, synthesis, start=start, seed=self._generation.seed)
        return seconds

    def _of(self, task: str) -> Requests | None:
        if self._generation.prompts:
            return prompted(task, self._generation)
        if task not in self._requests:
            grid = self._export.model.config.target_grid
            marks = partial(first_labels, self._store)
            self._requests[task] = make_requests(
                self._examples, task, grid, self._generation, marks
            )
        return self._requests[task]
