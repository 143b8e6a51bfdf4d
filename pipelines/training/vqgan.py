"""The training of a VQ-GAN, as every rank does it. It reads only the environment."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, storage
from pipelines.config import TokenizerTrainingConfig
from pipelines.errors import TrainingError
from pipelines.loading.order import examples_of_step
from pipelines.loading.pictures import to_images
from pipelines.training import checkpoint
from pipelines.training.curve import Curve, decimate
from pipelines.training.engine import choose_precision
from pipelines.training.observers import Observers
from pipelines.training.owner import Owner
from pipelines.training.ranks import Ranks, from_first_rank, join_ranks
from pipelines.training.saved import name_of
from pipelines.training.vqgan_plan import VQGANPlan
from pipelines.training.vqgan_quality import draw_reconstructions, measure, to_draw
from pipelines.training.vqgan_samples import SampleGrids, measured_pictures
from pipelines.training.vqgan_step import VQGANStep

logger = logging.getLogger(__name__)

RECONSTRUCTIONS = "reconstructions.png"
KEEP_CHECKPOINTS = 2

_WARMUP_FRACTION = 0.05
_FINAL_FRACTION = 0.02
_STATE = "state.pt"


def train_each(plans: Sequence[VQGANPlan], observers: Observers) -> None:
    """Train one after the other what is not complete, in the same ranks: starting them takes long.

    Raises:
        TrainingError: As ``train_rank`` does.
        ConfigError: As ``train_rank`` does.
    """
    join_ranks(Ranks.from_environment())
    steps = 0
    for plan in plans:
        if not from_first_rank(partial(artifacts.is_complete, plan.store, plan.kind, plan.name)):
            train_rank(plan, observers.after(steps))
        steps += plan.training.steps


def train_rank(plan: VQGANPlan, observers: Observers) -> None:
    """Train from the newest checkpoint to the last step, measure, and publish the artifact.

    Every rank calls it. On a CPU a resumed run equals one never stopped bit for bit, at the same
    number of ranks and threads. Checkpoints are deleted once the artifact stands.

    Raises:
        TrainingError: Another process owns the run, the loss is not finite, or the settings do not
            fit the number of ranks.
        ConfigError: Pictures do not have the size or the labels that the settings say.
    """
    join_ranks(Ranks.from_environment())
    with Owner(plan.root) as owner:
        from_first_rank(owner.acquire)
        loop = _Loop(plan, observers, owner)
        loop.run_to_the_end()
        from_first_rank(loop.publish)


class _Loop:
    """A run on its way."""

    def __init__(self, plan: VQGANPlan, observers: Observers, owner: Owner) -> None:
        ranks = Ranks.from_environment()
        _check_ranks(plan.training, ranks)
        self._plan, self._observers, self._owner, self._ranks = plan, observers, owner, ranks
        self._work = VQGANStep(plan.vqgan, plan.training, precision=choose_precision())
        self._pictures = plan.pictures("train")
        self._curve, self._grids = Curve(), SampleGrids(plan, self._pictures)
        self._step, self._seconds = 0, 0.0
        self._resume()

    def run_to_the_end(self) -> None:
        """Take all steps that are left."""
        training = self._plan.training
        while self._step < training.steps:
            losses = self._take_step()
            self._observe(losses)
            is_last = self._step == training.steps
            if is_last or self._step % training.log_every == 0:
                self._log()
            if is_last or self._step % training.checkpoint_every == 0:
                self._save(losses["loss"])

    def publish(self) -> None:
        """Measure the model and make it an artifact; only rank 0 may call it."""
        with self._work.averaged() as model:
            self._publish(model.eval())

    def _publish(self, model: VQGAN) -> None:
        plan = self._plan
        split, measured = measured_pictures(plan, self._pictures)
        metadata = {
            "fingerprint": model.fingerprint,
            **measure(model, measured),
            "measured_on": split,
            "num_pictures": len(self._pictures),
            "steps": self._step,
            "seconds": round(self._seconds, 2),
            "precision": choose_precision(),
            "world_size": self._ranks.world_size,
            "clips_version": plan.clips_version,
            "curve": decimate(self._curve.records),
        }
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            drawn = draw_reconstructions(model, to_draw(measured))
            (Path(folder) / RECONSTRUCTIONS).write_bytes(drawn)
            self._owner.check()
            artifacts.publish(
                plan.store, plan.kind, plan.name, folder, config=plan.config, metadata=metadata
            )
        storage.delete(artifacts.artifact_uri(plan.store, checkpoint.KIND, plan.name))

    def _take_step(self) -> dict[str, float]:
        started = time.monotonic()
        plan = self._plan
        pixels = self._pictures.at(self._places())
        losses = self._work.take(
            to_images(pixels, plan.content, channels=plan.vqgan.channels),
            learning_rate=learning_rate(self._step, plan.training),
            is_adversarial=self._step >= plan.training.adversarial_start,
        )
        self._step += 1
        self._seconds += time.monotonic() - started
        if not all(map(math.isfinite, losses.values())):
            raise TrainingError(
                f"Step {self._step} of {plan.name} has the losses {losses}: lower "
                "learning_rate and train again."
            )
        return losses

    def _places(self) -> Any:
        """Which pictures this rank reads at this step."""
        training = self._plan.training
        batch = examples_of_step(
            training.seed,
            self._plan.content,
            self._step,
            num_examples=len(self._pictures),
            batch_size=training.batch_size,
        )
        share = training.batch_size // self._ranks.world_size
        return batch[self._ranks.rank * share :][:share]

    def _observe(self, losses: Mapping[str, float]) -> None:
        for name, loss in losses.items():
            self._curve.add(name, loss)
        if self._ranks.is_first:
            told = f"loss {losses['reconstruction']:.4f}"
            told += f" codes {self._work.codebook_use.alive}/{self._plan.vqgan.codebook_size}"
            self._observers.on_step(self._step, told)

    def _log(self) -> None:
        use = self._work.codebook_use
        self._curve.close_window(
            self._step, codes_alive=use.alive, perplexity=round(use.perplexity, 2)
        )

    def _resume(self) -> None:
        newest = from_first_rank(lambda: checkpoint.newest(self._plan.store, self._plan.name))
        if newest is None:
            return
        path = artifacts.local_folder(newest) / _STATE
        state = torch.load(path, weights_only=True)
        self._work.load_state_dict(state["work"])
        self._step, self._seconds = state["step"], state["seconds"]
        self._curve.restore(state["curve"])
        if self._ranks.is_first:
            logger.info("event=resume run=%s step=%d", self._plan.name, self._step)

    def _save(self, loss: float) -> None:
        """Ranks hold equal state, and the order of pictures follows from the step: one file."""
        plan = self._plan
        tokens = self._step * plan.training.batch_size * (plan.size // plan.vqgan.factor) ** 2
        metadata = {
            "step": self._step,
            "loss": loss,
            "tokens_per_s": round(tokens / max(self._seconds, 1e-9), 1),
            "clips_version": plan.clips_version,
        }
        from_first_rank(lambda: self._write_checkpoint(metadata))
        self._observers.on_checkpoint(metadata)

    def _write_checkpoint(self, metadata: Mapping[str, Any]) -> None:
        plan, name = self._plan, name_of(self._plan.name, self._step)
        state = {
            "work": self._work.state_dict(),
            "step": self._step,
            "seconds": self._seconds,
            "curve": self._curve.state(),
        }
        self._owner.check()
        with self._work.averaged() as model:
            self._grids.write(model, self._step)
        self._curve.write(storage.join(plan.root, "curve.jsonl"))
        artifacts.delete(plan.store, checkpoint.KIND, name)
        with TemporaryDirectory() as folder:
            torch.save(state, Path(folder) / _STATE)
            artifacts.publish(
                plan.store, checkpoint.KIND, name, folder, config=plan.config, metadata=metadata
            )
        complete = artifacts.list_names(plan.store, checkpoint.KIND, prefix=plan.name)
        for old in complete[:-KEEP_CHECKPOINTS]:
            artifacts.delete(plan.store, checkpoint.KIND, old)


def learning_rate(step: int, training: TokenizerTrainingConfig) -> float:
    """Of the step after ``step`` steps: a linear warm-up, then half a cosine."""
    warmup = max(1, round(_WARMUP_FRACTION * training.steps))
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, training.steps - warmup)
    fraction = _FINAL_FRACTION + (1 - _FINAL_FRACTION) * (1 + math.cos(math.pi * progress)) / 2
    return training.learning_rate * fraction


def _check_ranks(training: TokenizerTrainingConfig, ranks: Ranks) -> None:
    if ranks.world_size != distributed.get_world_size() or training.batch_size % ranks.world_size:
        raise TrainingError(
            f"batch_size ({training.batch_size}) must be a multiple of the number of ranks "
            f"({ranks.world_size})."
        )
