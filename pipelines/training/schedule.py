"""What changes with the step, as pure functions of the step."""

import math

from pipelines.config import TrainingConfig


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Learning rate of update ``step``: a straight warm-up, then half a cosine.

    Args:
        step: Updates taken before this one, in [0, steps).
        training: Peak, shares and number of steps.
    """
    warmup = math.ceil(training.warmup_fraction * training.steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    last = max(1, training.steps - 1 - warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, (step - warmup) / last))) / 2
    share = training.final_fraction + (1 - training.final_fraction) * cosine
    return training.learning_rate * share


def ema_decay(step: int, decay: float) -> float:
    """Decay of the averaged weights after update ``step``, in (0, decay].

    It grows from 0.1, so that the random start is forgotten also in a short run.
    """
    return min(decay, (1 + step) / (10 + step))
