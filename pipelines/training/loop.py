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
from pipelines.errors import TrainingError
from pipelines.training.board import Board
from pipelines.training.checkpoint import Checkpoints, read_state
from pipelines.training.curve import Curve
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import Precision, choose_precision, start_engine, take_step
from pipelines.training.observers import Observers
from pipelines.training.owner import Owner
from pipelines.training.ranks import Ranks, from_first_rank, mean_over_ranks
from pipelines.training.run import TrainingRun
from pipelines.training.schedule import ema_decay, learning_rate

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
    precision: Precision | None = None,
) -> Artifact:
    """Train to the last step, from the newest undamaged checkpoint if there is one.

    Every rank calls it with an equal model. On a CPU a resumed run equals one never stopped bit
    for bit, at the same number of ranks and threads. Without a ``precision`` matrices are
    multiplied in the one that the processor is made for.

    Returns:
        The checkpoint of the last step.

    Raises:
        TrainingError: Another process owns the run, the loss is not finite, or a checkpoint does
            not fit.
    """
    precision = precision or choose_precision()
    engine = start_engine(model, run.training, precision)
    with Owner(run.root) as owner:
        from_first_rank(owner.acquire)
        loop = _Loop(run, engine, precision, batches, validation, observers or Observers(), owner)
        with loop.board:
            return loop.run_to_the_end()


class _Loop:
    """A run on its way; all state that is not the engine's."""

    def __init__(
        self,
        run: TrainingRun,
        engine: Any,
        precision: Precision,
        batches: Batches,
        validation: Batches | None,
        observers: Observers,
        owner: Owner,
    ) -> None:
        self._run, self._engine, self._training = run, engine, run.training
        self._precision = precision
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
        self._curve = Curve()
        self._step, self._seconds, self._tokens = 0, 0.0, 0
        self._final = self._resume()
        self._window = (time.monotonic(), self._tokens)
        place = storage.join(run.root, "tensorboard")
        self.board = Board(place if self._ranks.is_first else None, first_step=self._step)

    def run_to_the_end(self) -> Artifact:
        """Take all steps that are left."""
        self._engine.train()
        self._tell_step("")
        while self._step < self._training.steps:
            loss = self._take_step()
            self._tell_step(f"loss {loss:.4f}")
            is_last = self._step == self._training.steps
            if is_last or self._step % self._training.log_every == 0:
                self._log()
            if is_last or self._step % self._training.checkpoint_every == 0:
                self._final = self._save(loss)
        assert self._final is not None  # there is at least one step
        return self._final

    def _resume(self) -> Artifact | None:
        checkpoint = self._checkpoints.resume(self._engine, self._average)
        if checkpoint is None:
            return None
        state = read_state(checkpoint)
        self._step, self._seconds = state["step"], state["seconds"]
        self._tokens = state["tokens"]
        self._curve.restore(state["curve"])
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
            batch = self._batches.batch_at(self._step, micro_batch).to(str(self._engine.device))
            loss = next_token_loss(self._engine(batch), batch.target)
            self._engine.backward(loss)
            if micro_batch < self._training.gradient_accumulation - 1:
                self._engine.step()  # counts; the weights change at the last one
            losses.append(loss.detach())
            self._tokens += batch.target.numel() * self._ranks.world_size
        return batch.name, mean_over_ranks(torch.stack(losses).mean())

    def _stop(self, task: str, loss: float) -> None:
        newest = from_first_rank(self._checkpoints.newest)
        where = f"the last good checkpoint is {newest.uri}" if newest else "there is no checkpoint"
        raise TrainingError(
            f"Step {self._step + 1} of {self._run.name} ({task}) has loss {loss:g} and gradient "
            f"norm {self._norm:g}; {where}: lower learning_rate or gradient_clipping and train "
            "again."
        )

    def _log(self) -> None:
        now, (then, tokens) = time.monotonic(), self._window
        self._window = (now, self._tokens)
        records = self._curve.close_window(
            self._step,
            learning_rate=learning_rate(self._step - 1, self._training),
            gradient_norm=self._norm,
            tokens_per_s=round((self._tokens - tokens) / max(now - then, 1e-9), 1),
        )
        if self._ranks.is_first:
            self._curve.write(self._curve_uri)
            self.board.add(records)
            for record in records:
                logger.info(" ".join(f"{k}={_short(v)}" for k, v in record.items()))

    def _save(self, loss: float) -> Artifact:
        validation = self._validate()
        metadata = {
            "run": self._run.name,
            "step": self._step,
            "steps": self._training.steps,
            "loss": loss,
            "validation_loss": validation,
            "precision": self._precision,
            "zero_stage": self._training.zero_stage,
            "world_size": self._ranks.world_size,
            "seconds": round(self._seconds, 2),
            "tokens_per_s": round(self._tokens / max(self._seconds, 1e-9), 1),
            **self._run.metadata,
        }
        state = {
            "step": self._step,
            "seconds": self._seconds,
            "tokens": self._tokens,
            "curve": self._curve.state(),
        }
        artifact = self._checkpoints.save(self._engine, self._average, state, metadata)
        if self._ranks.is_first:
            self.board.add_validation(self._step, validation)
            logger.info("event=checkpoint uri=%s validation=%s", artifact.uri, validation)
        self._observers.on_checkpoint(metadata)
        self._window = (time.monotonic(), self._tokens)
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


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
