"""A job that trains the toy on the cluster of ``RAY_ADDRESS``: python -m … STORE.

It takes its time until a file ``go`` lies in the store.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.training.launch import launch
from pipelines.training.loop import train
from pipelines.training.ranks import Ranks
from tests.pipelines.training import spread_toy
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_run

STEPS = 400
SETTINGS = {"num_workers": 2, "steps": STEPS, "log_every": 1, "checkpoint_every": STEPS}


@dataclass(frozen=True)
class WaitingBatches(ToyBatches):
    store: str = ""

    def batch_at(self, step, micro_batch=0):
        if not (Path(self.store) / "go").exists():
            time.sleep(0.3)
        return super().batch_at(step, micro_batch)


def train_rank(store, observers):
    run, ranks = toy_run(store, **SETTINGS), Ranks.from_environment()
    (Path(store) / f"rank-{ranks.rank}.pid").write_text(str(os.getpid()))
    batches = WaitingBatches(run.training, ranks.rank, ranks.world_size, store=store)
    train(run, toy_model(), batches, observers=observers)


if __name__ == "__main__":
    root = toy_run(sys.argv[1]).root
    launch(spread_toy.train_rank, sys.argv[1], root=root, num_workers=2, steps=STEPS)
