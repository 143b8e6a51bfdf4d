"""A model and batches so small that a step takes milliseconds; also a program for a rank."""

import json
import sys
import time
from dataclasses import dataclass

import torch

from nuwa_model.batch import Batch
from nuwa_model.config import NuwaConfig
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa
from nuwa_model.tasks import get_task
from pipelines.config import TrainingConfig
from pipelines.training.loop import train
from pipelines.training.ranks import Ranks
from pipelines.training.run import TrainingRun

CONFIG = NuwaConfig(
    dim=32,
    num_heads=2,
    encoder_depth=1,
    decoder_depth=1,
    target_grid=Grid(2, 2, 2),
    text_vocabulary=16,
    text_length=4,
    codebook_size=8,
    codebook_dim=8,
    sketch_codebook_size=8,
    sketch_codebook_dim=8,
)


def toy_model(seed: int = 0) -> Nuwa:
    torch.manual_seed(seed)
    return Nuwa(CONFIG)


@dataclass(frozen=True)
class ToyBatches:
    """Batches that are a pure function of the step; tasks take turns."""

    training: TrainingConfig
    rank: int = 0
    world_size: int = 1
    pause_s: float = 0.0

    def batch_at(self, step: int, micro_batch: int = 0) -> Batch:
        time.sleep(self.pause_s)
        task = get_task(("T2V", "T2I")[step % 2])
        size = self.training.batch_size // self.training.gradient_accumulation
        generator = torch.Generator().manual_seed(1000 * step + micro_batch)
        share = slice(
            size // self.world_size * self.rank, size // self.world_size * (self.rank + 1)
        )
        grid = CONFIG.target_grid if task.target == "video" else CONFIG.image_grid
        target = torch.randint(8, (size, *grid), generator=generator)
        condition = torch.randint(1, 16, (size, 4, 1, 1), generator=generator)
        mask = torch.ones(size, 4, dtype=torch.bool)
        return Batch(
            task=task,
            target=target[share],
            condition=condition[share],
            condition_mask=mask[share],
        )


def toy_training(**settings) -> TrainingConfig:
    common = {"steps": 6, "batch_size": 4, "checkpoint_every": 2, "log_every": 2}
    return TrainingConfig(**{**common, **settings})


def toy_run(store, **settings) -> TrainingRun:
    return TrainingRun(
        store=str(store),
        name="toy",
        training=toy_training(**settings),
        config={"toy": True},
        metadata={"store_version": {}},
    )


def train_toy(store, *, batches=None, pause_s=0.0, **settings):
    """Train in this process, as any rank would."""
    run, ranks = toy_run(store, **settings), Ranks.from_environment()
    batches = batches or ToyBatches(run.training, ranks.rank, ranks.world_size, pause_s)
    model = toy_model()
    model.checkpoint_activations(run.training.activation_checkpointing)
    return train(run, model, batches, validation=ToyBatches(run.training))


if __name__ == "__main__":
    train_toy(sys.argv[1], **json.loads(sys.argv[2]))
