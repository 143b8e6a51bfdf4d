"""What a VQ-GAN in training makes of a few pictures, for a person who watches."""

from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import storage
from pipelines.config import TokenizerTrainingConfig
from pipelines.loading.pictures import Pictures
from pipelines.training.vqgan_plan import VQGANPlan
from pipelines.training.vqgan_quality import draw_reconstructions, to_draw

MOST_KEPT = 50
"""Grids kept of a run; of a long one not every checkpoint has its own."""
NEWEST = "newest.png"


class SampleGrids:
    """Draws originals above their reconstructions at the checkpoints of a run.

    It draws without random numbers, and always the same pictures, held-out ones where there are
    any: training is not changed by it, and a run that goes on writes what one never stopped does.

    Args:
        plan: Of the run.
        training_pictures: What the run learns from.
    """

    def __init__(self, plan: VQGANPlan, training_pictures: Pictures) -> None:
        self._plan, self._training_pictures = plan, training_pictures

    def write(self, model: VQGAN, step: int) -> None:
        """Draw the model as it is after so many steps; only rank 0 may call it."""
        was_training = model.training
        grid = draw_reconstructions(model.eval(), self._originals)
        model.train(was_training)
        if is_kept(step, self._plan.training):
            storage.replace_bytes(storage.join(self._plan.samples, f"step-{step:08d}.png"), grid)
        storage.replace_bytes(storage.join(self._plan.samples, NEWEST), grid)

    @cached_property
    def _originals(self) -> UInt8[np.ndarray, "b H W *c"]:
        return to_draw(measured_pictures(self._plan, self._training_pictures)[1])


def measured_pictures(plan: VQGANPlan, training_pictures: Pictures) -> tuple[str, Pictures]:
    """The split to judge a run by and its pictures: ``validation``, or ``train`` without one."""
    held_out = plan.pictures("validation")
    return ("validation", held_out) if len(held_out) else ("train", training_pictures)


def is_kept(step: int, training: TokenizerTrainingConfig) -> bool:
    """Whether the grid of a checkpoint stays when the next one is drawn."""
    if step == training.steps:
        return True
    checkpoints = -(-training.steps // training.checkpoint_every)
    return step // training.checkpoint_every % -(-checkpoints // MOST_KEPT) == 0
