"""What the averaged weights make of held-out examples."""

from typing import Any, Protocol

import torch

from nuwa_model.batch import Batch
from nuwa_model.losses import next_token_loss
from pipelines.config import TrainingConfig
from pipelines.errors import TrainingError
from pipelines.training.ema import AveragedWeights
from pipelines.training.ranks import mean_over_ranks

VALIDATION_BATCHES = 4
"""About one training step's work, so that it can come with every checkpoint."""


class Batches(Protocol):
    """What the loop reads: any step's batch, at any time."""

    def batch_at(self, step: int, micro_batch: int = 0) -> Batch:
        """This rank's share of a step; a pure function."""


@torch.no_grad()
def validate(engine: Any, average: AveragedWeights, batches: Batches | None) -> dict[str, float]:
    """Mean loss by task, nothing if there are no batches; every rank must call it.

    The batches are the first few of the mixture, the same each time: a task of little weight may
    not be among them.

    Args:
        engine: The ``DeepSpeedEngine``; it is left training.
        average: Whose weights are measured.
        batches: The first few are read.
    """
    if batches is None:
        return {}
    losses: dict[str, list[float]] = {}
    engine.eval()
    with average.applied():
        for step in range(VALIDATION_BATCHES):
            batch = batches.batch_at(step).to(str(engine.device))
            loss = next_token_loss(engine(batch), batch.target, batch.given_frames)
            losses.setdefault(batch.task.name, []).append(mean_over_ranks(loss))
    engine.train()
    return {task: sum(values) / len(values) for task, values in sorted(losses.items())}


def refuse_missing(batches: Batches | None, training: TrainingConfig) -> None:
    """Refuse settings that need validation where nothing is held out.

    Raises:
        TrainingError: There are no batches.
    """
    if batches is None and (training.patience or training.export == "best"):
        raise TrainingError(
            "There are no held-out examples of these tasks to validate with, but patience is "
            f"{training.patience} and export {training.export}: set patience=0 and export=last, "
            "or hold some out (dataset.validation_fraction)."
        )
