"""A job that trains the toy slowly on the cluster of ``RAY_ADDRESS``: python -m … STORE."""

import os
import sys
from pathlib import Path

from pipelines.training.launch import launch
from pipelines.training.loop import train
from pipelines.training.ranks import Ranks
from tests.pipelines.training import spread_toy
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_run

STEPS = 160
SETTINGS = {"num_workers": 2, "steps": STEPS, "log_every": 1, "checkpoint_every": STEPS}


def train_rank(store, observers):
    run, ranks = toy_run(store, **SETTINGS), Ranks.from_environment()
    (Path(store) / f"rank-{ranks.rank}.pid").write_text(str(os.getpid()))
    batches = ToyBatches(run.training, ranks.rank, ranks.world_size, pause_s=0.25)
    train(run, toy_model(), batches, observers=observers)


if __name__ == "__main__":
    root = toy_run(sys.argv[1]).root
    launch(spread_toy.train_rank, sys.argv[1], root=root, num_workers=2, steps=STEPS)
