"""A rank of the toy run that is killed at a place in the saving of step 4: … STORE SETTINGS.

``settings`` also hold ``killed`` (which rank) and ``at``, a place in ``PLACES``.
"""

import json
import os
import signal
import sys

from pipelines import artifacts, transfers
from pipelines.training import checkpoint
from pipelines.training.ema import AveragedWeights
from pipelines.training.ranks import Ranks
from tests.pipelines.training.toy import train_toy

PLACES = {
    "shards": (AveragedWeights, "save"),  # DeepSpeed's are written, the average is not
    "upload": (transfers, "upload"),
    "manifest": (artifacts, "publish"),  # all ranks are done, on a disk
    "seal": (artifacts, "seal"),  # and in a bucket
    "old": (checkpoint.Checkpoints, "_delete_old"),
}
SECOND = 2
"""Checkpoints are saved after steps 2, 4 and 6."""


def kill_at(place):
    """Die at the second visit, before anything is done there."""
    owner, name = PLACES[place]
    whole, visits = getattr(owner, name), []

    def visit(*arguments, **options):
        visits.append(place)
        if len(visits) == SECOND:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments, **options)

    setattr(owner, name, visit)


def main(store, killed, at, **settings):
    if Ranks.from_environment().rank == killed:
        kill_at(at)
    train_toy(store, **settings)


if __name__ == "__main__":
    main(sys.argv[1], **json.loads(sys.argv[2]))
