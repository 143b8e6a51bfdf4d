"""Settings of what tokenizers are compared by."""

from dataclasses import dataclass

from nuwa_model.errors import refuse_outside
from pipelines.config.ranges import ANY

_MOST_SEEDS = 100


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """How tokenizers are compared, by ``nuwa run ablate-tokenizer``.

    Args:
        seeds: Trainings of each variant. The first has the seed of ``vqgan_training``, and each
            other one the next.
        steps: Optimizer steps of each; 0 is ``vqgan_training.steps``. The discriminator joins
            after the same share of them.
    """

    seeds: int = 3
    steps: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be compared."""
        refuse_outside(self, seeds=(1, _MOST_SEEDS), steps=ANY)
