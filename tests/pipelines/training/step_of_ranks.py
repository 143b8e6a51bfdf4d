"""Ranks that resume the toy run, take one step all on the same batch, and write all weights.

python -m … STORE SETTINGS OUT. The mean of equal gradients is each of them, so any number of ranks
takes the very same step if it resumed the very same weights, moments, counts and decays.
"""

import json
import sys
from dataclasses import replace

import torch
from deepspeed.utils import safe_get_full_fp32_param

from nuwa_model.losses import next_token_loss
from pipelines.training.checkpoint import Checkpoints
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import start_engine, take_step
from pipelines.training.ranks import Ranks
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_training


def main(store, settings, out):
    training = toy_training(**settings)
    engine = start_engine(toy_model(), replace(training, gradient_clipping=1e9), "float32")
    checkpoints = Checkpoints(store, "toy", keep=2, config={}, check_owner=lambda: None)
    assert checkpoints.resume(engine, AveragedWeights(engine.module)) is not None
    batch = ToyBatches(training).batch_at(100)
    engine.backward(next_token_loss(engine(batch), batch.target))
    take_step(engine, 1e-2)
    is_partitioned = engine.zero_optimization_stage() > 0
    weights = {
        name: safe_get_full_fp32_param(p) if is_partitioned else p.data
        for name, p in engine.module.named_parameters()
    }
    if Ranks.from_environment().is_first:
        torch.save({name: weight.clone() for name, weight in weights.items()}, out)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
