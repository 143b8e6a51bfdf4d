"""A rank that trains two steps and tells how many bytes of tensors it holds: python … STAGE OUT."""

import gc
import sys
from dataclasses import replace
from pathlib import Path

import torch

from nuwa_model.losses import next_token_loss
from nuwa_model.model import Nuwa
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import start_engine, take_step
from pipelines.training.ranks import Ranks
from tests.pipelines.training.toy import CONFIG, ToyBatches, toy_training

MODEL = replace(CONFIG, dim=256, encoder_depth=2, decoder_depth=2)


def held() -> int:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def main(stage: int, out: Path) -> None:
    ranks = Ranks.from_environment()
    training = toy_training(
        zero_stage=stage, num_workers=ranks.world_size, batch_size=2 * ranks.world_size
    )
    torch.manual_seed(0)
    engine = start_engine(Nuwa(MODEL), training, "float32")
    average = AveragedWeights(engine.module)
    batches = ToyBatches(training, ranks.rank, ranks.world_size)
    for step in range(2):
        batch = batches.batch_at(step)
        engine.backward(next_token_loss(engine(batch), batch.target))
        found = held()  # with the gradients
        take_step(engine, 1e-3)
        average.update(0.9)
    if ranks.is_first:
        out.write_text(str(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
