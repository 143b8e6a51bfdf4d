"""The training loop. It reads only the environment, so any launcher can start it."""

import logging
import math
import time
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nuwa_model.batch import Batch
from nuwa_model.losses import next_token_loss
from pipelines import storage
from pipelines.artifacts import Artifact
from pipelines.config import TrainingConfig
from pipelines.errors import TrainingError
from pipelines.training.best import Best
from pipelines.training.board import Board
from pipelines.training.checkpoint import Checkpoints
from pipelines.training.curve import Curve
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import choose_precision, start_engine, take_step
from pipelines.training.notice import Notice
from pipelines.training.observers import Observers
from pipelines.training.owner import Owner
from pipelines.training.ranks import (
    Ranks,
    from_first_rank,
    mean_over_ranks,
    means_over_ranks,
)
from pipelines.training.run import TrainingRun
from pipelines.training.saved import read_state
from pipelines.training.schedule import ema_decay, learning_rate
from pipelines.training.speed import Speed

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 4
"""Batches of a validation: about one training step's work, so it can come with a checkpoint."""


class Batches(Protocol):
    """What the loop reads: any step's batch, at any time."""

    def batch_at(self, step: int, micro_batch: int = 0) -> Batch:
        """This rank's share of a step; a pure function."""


def train(
    run: TrainingRun,
    model: nn.Module,
    batches: Batches,
    *,
    validation: Batches | None = None,
    observers: Observers | None = None,
) -> Artifact:
    """Train to the last step, from the newest undamaged checkpoint if there is one.

    Every rank calls it with an equal model. On a CPU a resumed run equals one never stopped bit
    for bit, at the same number of ranks and threads.

    Returns:
        The checkpoint of the last step.

    Raises:
        TrainingError: Another process owns the run, the loss is not finite, a checkpoint does not
            fit, nothing can be validated although the settings need it, or SIGTERM came: then a
            checkpoint of the last whole step was saved.
    """
    _refuse_missing(validation, run.training)
    engine = start_engine(model, run.training, choose_precision())
    with Owner(run.root) as owner, Notice() as notice:
        from_first_rank(owner.acquire)
        loop = _Loop(run, engine, batches, validation, observers or Observers(), owner, notice)
        with loop.board:
            return loop.run_to_the_end()


class _Loop:
    """A run on its way; all state that is not the engine's."""

    def __init__(
        self,
        run: TrainingRun,
        engine: Any,
        batches: Batches,
        validation: Batches | None,
        observers: Observers,
        owner: Owner,
        notice: Notice,
    ) -> None:
        self._notice, self._is_to_end = notice, False
        self._run, self._engine, self._training = run, engine, run.training
        self._batches, self._validation = batches, validation
        self._observers, self._ranks = observers, Ranks.from_environment()
        torch.manual_seed(run.training.seed + self._ranks.rank)  # each rank its own dropout
        self._average = AveragedWeights(engine.module)
        self._checkpoints = Checkpoints(
            run.store,
            run.name,
            keep=run.training.keep_checkpoints,
            config=run.config,
            check_owner=owner.check,
        )
        self._curve, self._best = Curve(), Best()
        self._speed = Speed(engine.module.config, choose_precision(), self._ranks.world_size)
        self._step, self._seconds = 0, 0.0
        self._final = self._resume()
        place = storage.join(run.root, "tensorboard")
        self.board = Board(place if self._ranks.is_first else None, first_step=self._step)

    def run_to_the_end(self) -> Artifact:
        """Take all steps that are left, or fewer if the validations no longer get better."""
        self._engine.train()
        self._speed.restart()
        self._tell_step("")
        while self._step < self._training.steps and not self._has_stopped_early:
            loss = self._take_step()
            self._tell_step(f"loss {loss:.4f}")
            is_last = self._step == self._training.steps
            if is_last or self._step % self._training.log_every == 0:
                self._log()
            if is_last or self._step % self._training.checkpoint_every == 0:
                self._final = self._save(loss, self._validate())
            elif self._is_to_end:
                self._final = self._save(loss, {})  # the time may not be enough to validate
            if self._is_to_end and not is_last:
                self._end()
        assert self._final is not None  # there is at least one step
        if self._has_stopped_early and self._ranks.is_first:
            told = (self._run.name, self._step, self._best.step)
            logger.info("event=early_stop run=%s step=%d best_step=%d", *told)
        return self._final

    def _resume(self) -> Artifact | None:
        checkpoint = self._checkpoints.resume(self._engine, self._average)
        if checkpoint is None:
            return None
        state = read_state(checkpoint)
        self._step, self._seconds = state["step"], state["seconds"]
        self._speed.num_tokens = state["tokens"]
        self._curve.restore(state["curve"])
        self._best = Best(**state.get("best", {}))
        if self._ranks.is_first:
            logger.info("event=resume run=%s step=%d", self._run.name, self._step)
            self._curve.write(self._curve_uri)
        return checkpoint

    def _take_step(self) -> float:
        started = time.monotonic()
        task, loss = self._backward()
        self._norm = math.nan
        if math.isfinite(loss):
            self._norm = take_step(self._engine, learning_rate(self._step, self._training))
        if not math.isfinite(self._norm):
            self._stop(task, loss)
        self._average.update(ema_decay(self._step, self._training.ema_decay))
        self._step += 1
        self._curve.add(task, loss)
        self._seconds += time.monotonic() - started
        return loss

    def _backward(self) -> tuple[str, float]:
        losses: list[Tensor] = []
        for micro_batch in range(self._training.gradient_accumulation):
            with self._speed.waiting():
                batch = self._batches.batch_at(self._step, micro_batch)
                batch = batch.to(str(self._engine.device))
            self._speed.count(batch)
            one = next_token_loss(self._engine(batch), batch.target)
            self._engine.backward(one)
            if micro_batch < self._training.gradient_accumulation - 1:
                self._engine.step()  # counts; the weights change at the last one
            losses.append(one.detach())
        mean = torch.stack(losses).mean()
        # Ranks hear a signal at different steps, and must save at the same.
        told = mean.new_tensor(float(self._notice.is_given))
        loss, num_told = means_over_ranks(torch.stack([mean, told]))
        self._is_to_end = num_told > 0
        return batch.name, loss

    def _stop(self, task: str, loss: float) -> None:
        newest = from_first_rank(self._checkpoints.newest)
        where = f"the last good checkpoint is {newest.uri}" if newest else "there is no checkpoint"
        raise TrainingError(
            f"Step {self._step + 1} of {self._run.name} ({task}) has loss {loss:g} and gradient "
            f"norm {self._norm:g}; {where}: lower learning_rate or gradient_clipping and train "
            "again."
        )

    def _log(self) -> None:
        records = self._curve.close_window(
            self._step,
            learning_rate=learning_rate(self._step - 1, self._training),
            gradient_norm=self._norm,
            **self._speed.close_window(),
        )
        if self._ranks.is_first:
            self._curve.write(self._curve_uri)
            self.board.add(records)
            self._observers.on_records(records)
            for record in records:
                logger.info(" ".join(f"{k}={_short(v)}" for k, v in record.items()))

    def _end(self) -> None:
        assert self._final is not None
        raise TrainingError(
            f"{self._run.name} was told to end and saved step {self._step} as {self._final.uri}: "
            "the same command goes on from there."
        )

    @property
    def _has_stopped_early(self) -> bool:
        return 0 < self._training.patience <= self._best.num_since

    def _save(self, loss: float, validation: dict[str, float]) -> Artifact:
        self._best.add(self._step, validation)
        metadata = {
            "run": self._run.name,
            "step": self._step,
            "steps": self._training.steps,
            "loss": loss,
            "validation_loss": validation,
            "best_step": self._best.step,
            "has_stopped_early": self._has_stopped_early,
            "precision": choose_precision(),
            "zero_stage": self._training.zero_stage,
            "world_size": self._ranks.world_size,
            "seconds": round(self._seconds, 2),
            "tokens_per_s": round(self._speed.num_tokens / max(self._seconds, 1e-9), 1),
            **self._curve.newest("mfu", "data_wait", "memory_gb"),
            **self._run.metadata,
        }
        state = {
            "step": self._step,
            "seconds": self._seconds,
            "tokens": self._speed.num_tokens,
            "curve": self._curve.state(),
            "best": self._best.state(),
        }
        artifact = self._checkpoints.save(self._engine, self._average, state, metadata)
        if self._ranks.is_first:
            self.board.add_validation(self._step, validation)
            logger.info("event=checkpoint uri=%s validation=%s", artifact.uri, validation)
        self._observers.on_checkpoint(metadata)
        self._speed.restart()
        return artifact

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Mean loss of the averaged weights on held-out examples, by task."""
        if self._validation is None:
            return {}
        losses: dict[str, list[float]] = {}
        self._engine.eval()
        with self._average.applied():
            for step in range(VALIDATION_BATCHES):
                batch = self._validation.batch_at(step).to(str(self._engine.device))
                loss = next_token_loss(self._engine(batch), batch.target)
                losses.setdefault(batch.task.name, []).append(mean_over_ranks(loss))
        self._engine.train()
        return {task: sum(values) / len(values) for task, values in sorted(losses.items())}

    def _tell_step(self, note: str) -> None:
        if self._ranks.is_first:
            self._observers.on_step(self._step, note)

    @property
    def _curve_uri(self) -> str:
        return storage.join(self._run.root, "curve.jsonl")


def _refuse_missing(validation: Batches | None, training: TrainingConfig) -> None:
    if validation is None and (training.patience or training.export == "best"):
        raise TrainingError(
            "There are no held-out examples of these tasks to validate with, but patience is "
            f"{training.patience} and export {training.export}: set patience=0 and export=last, "
            "or hold some out (dataset.validation_fraction)."
        )


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
