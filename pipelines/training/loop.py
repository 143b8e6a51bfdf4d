"""The training loop. It reads only the environment, so any launcher can start it."""

import logging
import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from nuwa_model.losses import next_token_loss
from pipelines import storage
from pipelines.artifacts import Artifact
from pipelines.errors import TrainingError
from pipelines.training.board import Board
from pipelines.training.checkpoint import Checkpoints
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import Precision, choose_precision, start_engine, take_step
from pipelines.training.history import History
from pipelines.training.notice import Notice
from pipelines.training.observers import Observers
from pipelines.training.owner import Owner
from pipelines.training.ranks import Ranks, from_first_rank, means_over_ranks
from pipelines.training.run import TrainingRun
from pipelines.training.saved import read_state
from pipelines.training.schedule import ema_decay, learning_rate
from pipelines.training.speed import Speed
from pipelines.training.validation import Batches, refuse_missing, validate

logger = logging.getLogger(__name__)

EXPLODED = 3.0
"""A loss is taken for exploded from so many times that of a model that knows nothing."""


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
        TrainingError: Another process owns the run, the loss exploded, a checkpoint does not
            fit, nothing can be validated although the settings need it, or SIGTERM came: then a
            checkpoint of the last whole step was saved.
    """
    refuse_missing(validation, run.training)
    precision = precision or choose_precision()
    engine = start_engine(model, run.training, precision)
    observers = observers or Observers()
    with Owner(run.root) as owner, Notice() as notice:
        from_first_rank(owner.acquire)
        loop = _Loop(run, engine, precision, batches, validation, observers, owner, notice)
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
        notice: Notice,
    ) -> None:
        self._notice, self._is_to_end = notice, False
        self._is_to_save = self._was_warned = False
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
        self._history = History()
        self._loss_of_nothing = math.log(engine.module.config.codebook_size)
        self._speed = Speed(engine.module.config, precision, self._ranks.world_size)
        self._final = self._resume()
        place = storage.join(run.root, "tensorboard")
        self.board = Board(place if self._ranks.is_first else None, first_step=self._history.step)

    def run_to_the_end(self) -> Artifact:
        """Take all steps that are left, or fewer if the validations no longer get better."""
        self._engine.train()
        self._speed.restart()
        self._tell_step("")
        while self._history.step < self._training.steps and not self._has_stopped_early:
            loss = self._take_step()
            self._tell_step(f"loss {loss:.4f}")
            is_last = self._history.step == self._training.steps
            if is_last or self._history.step % self._training.log_every == 0:
                self._log()
                self._is_to_save = self._is_newly_warned()
            if is_last or self._history.step % self._training.checkpoint_every == 0:
                self._final = self._save(loss, self._validated())
            elif self._is_to_end or self._is_to_save:
                self._final = self._save(loss, {})  # the time may not be enough to validate
            if self._is_to_end and not is_last:
                self._end()
        assert self._final is not None  # there is at least one step
        if self._has_stopped_early and self._ranks.is_first:
            told = (self._run.name, self._history.step, self._history.best.step)
            logger.info("event=early_stop run=%s step=%d best_step=%d", *told)
        return self._final

    def _resume(self) -> Artifact | None:
        checkpoint = self._checkpoints.resume(self._engine, self._average)
        if checkpoint is None:
            return None
        self._history.restore(read_state(checkpoint))
        if self._ranks.is_first:
            logger.info("event=resume run=%s step=%d", self._run.name, self._history.step)
            self._history.curve.write(self._curve_uri)
        return checkpoint

    def _take_step(self) -> float:
        started = time.monotonic()
        task, loss = self._backward()
        self._norm = math.nan
        if loss < EXPLODED * self._loss_of_nothing:  # which no NaN is
            self._norm = take_step(self._engine, learning_rate(self._history.step, self._training))
        if not math.isfinite(self._norm):
            self._stop(task, loss)
        self._average.update(ema_decay(self._history.step, self._training.ema_decay))
        self._history.step += 1
        self._history.curve.add(task, loss)
        self._history.seconds += time.monotonic() - started
        return loss

    def _backward(self) -> tuple[str, float]:
        losses: list[Tensor] = []
        for micro_batch in range(self._training.gradient_accumulation):
            with self._speed.waiting():
                batch = self._batches.batch_at(self._history.step, micro_batch)
                batch = batch.to(str(self._engine.device))
            self._history.tokens += self._speed.count(batch)
            one = next_token_loss(self._engine(batch), batch.target, batch.given_frames)
            self._engine.backward(one)
            if micro_batch < self._training.gradient_accumulation - 1:
                self._engine.step()  # counts; the weights change at the last one
            losses.append(one.detach())
        mean = torch.stack(losses).mean()
        # Ranks hear a signal at different steps, and must save at the same.
        is_told = self._notice.is_given or self._observers.is_told_to_end()
        told = mean.new_tensor(float(is_told))
        loss, num_told = means_over_ranks(torch.stack([mean, told]))
        self._is_to_end = num_told > 0
        return batch.name, loss

    def _stop(self, task: str, loss: float) -> None:
        newest = from_first_rank(self._checkpoints.newest)
        where = f"the last good checkpoint is {newest.uri}" if newest else "there is no checkpoint"
        told = "" if math.isnan(self._norm) else f" and gradient norm {self._norm:g}"
        raise TrainingError(
            f"Step {self._history.step + 1} of {self._run.name} ({task}) has loss {loss:g}"
            f"{told}; {where}: lower learning_rate or gradient_clipping and "
            "train again."
        )

    def _log(self) -> None:
        records = self._history.curve.close_window(
            self._history.step,
            learning_rate=learning_rate(self._history.step - 1, self._training),
            gradient_norm=self._norm,
            **self._speed.close_window(),
        )
        if self._ranks.is_first:
            self._history.curve.write(self._curve_uri)
            self.board.add(records)
            self._observers.on_records(records)
            for record in records:
                logger.info(" ".join(f"{k}={_short(v)}" for k, v in record.items()))

    def _is_newly_warned(self) -> bool:
        before, self._was_warned = self._was_warned, self._observers.is_warned()
        if self._was_warned and not before and self._ranks.is_first:
            logger.warning("event=warned run=%s step=%d", self._run.name, self._history.step)
        return self._was_warned and not before

    def _end(self) -> None:
        assert self._final is not None
        raise TrainingError(
            f"{self._run.name} was told to end and saved step {self._history.step} as "
            f"{self._final.uri}: the same command goes on from there."
        )

    @property
    def _has_stopped_early(self) -> bool:
        return 0 < self._training.patience <= self._history.best.num_since

    def _save(self, loss: float, validation: dict[str, float]) -> Artifact:
        self._history.best.add(self._history.step, validation)
        metadata = {
            "run": self._run.name,
            "step": self._history.step,
            "steps": self._training.steps,
            "loss": loss,
            "validation_loss": validation,
            "best_step": self._history.best.step,
            "has_stopped_early": self._has_stopped_early,
            "precision": self._precision,
            "zero_stage": self._training.zero_stage,
            "world_size": self._ranks.world_size,
            "seconds": round(self._history.seconds, 2),
            "tokens_per_s": round(self._history.tokens / max(self._history.seconds, 1e-9), 1),
            **self._history.curve.newest("mfu", "data_wait", "memory_gb"),
            **self._run.metadata,
        }
        artifact = self._checkpoints.save(
            self._engine, self._average, self._history.state(), metadata
        )
        if self._ranks.is_first:
            self.board.add_validation(self._history.step, validation)
            logger.info("event=checkpoint uri=%s validation=%s", artifact.uri, validation)
        self._observers.on_checkpoint(metadata)
        self._speed.restart()
        return artifact

    def _validated(self) -> dict[str, float]:
        return validate(self._engine, self._average, self._validation)

    def _tell_step(self, note: str) -> None:
        if self._ranks.is_first:
            self._observers.on_step(self._history.step, note)

    @property
    def _curve_uri(self) -> str:
        return storage.join(self._run.root, "curve.jsonl")


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
