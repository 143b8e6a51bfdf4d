"""Losses of a short training, kept in ``golden_losses.json``.

Where a change of them is meant, record them anew and commit the difference with the reason:

    pytest tests/pipelines/training/test_golden.py --write-golden
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from nuwa_model.batch import Batch
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from pipelines.config import TrainingConfig
from pipelines.training.loop import train
from pipelines.training.run import TrainingRun
from tests.nuwa_model.test_model import EVERY_TASK, make_batch

GOLDEN = Path(__file__).with_name("golden_losses.json")
TOLERANCE = 1e-4
"""Sums in another order (SSE, AVX2 or AVX-512, more threads) move a loss by 4e-7 of it at most."""

TRAINING = TrainingConfig(steps=20, batch_size=2, learning_rate=2e-3, log_every=1)
RENEW = f"If that is meant: pytest {Path(*Path(__file__).parts[-4:])} --write-golden"


@dataclass(frozen=True)
class OneOfEach:
    """The same batch of each task, task after task."""

    def batch_at(self, step: int, micro_batch: int = 0) -> Batch:
        return make_batch(EVERY_TASK[step % len(EVERY_TASK)], config=PRESETS["tiny"])


def train_tiny(store):
    """Losses of a training, as ``[task, nats a token]`` of every step."""
    torch.manual_seed(0)
    run = TrainingRun(store=str(store), name="golden", training=TRAINING, config={}, metadata={})
    train(run, Nuwa(PRESETS["tiny"]), OneOfEach(), precision="float32")
    lines = (Path(run.root) / "curve.jsonl").read_text().splitlines()
    return [[record["task"], record["loss"]] for record in map(json.loads, lines)]


def deviations(found, recorded):
    """A line for each step whose loss is not the recorded one."""
    return [
        f"step {step} ({task}): {loss:.6f}, {loss / golden - 1:+.2%} from {golden:.6f}"
        for step, ((task, loss), (golden_task, golden)) in enumerate(
            zip(found, recorded, strict=True), start=1
        )
        if task != golden_task or loss != pytest.approx(golden, rel=TOLERANCE)
    ]


def test_training_follows_the_recorded_losses(tmp_path, request):
    found = train_tiny(tmp_path)
    if request.config.getoption("--write-golden"):
        lines = (json.dumps([task, round(loss, 6)]) for task, loss in found)
        GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    wrong = deviations(found, json.loads(GOLDEN.read_text()))
    if wrong:
        pytest.fail("\n".join([f"{len(wrong)} of {len(found)} steps deviate", *wrong, RENEW]))


def test_a_loss_that_deviates_is_named_with_its_step_and_distance():
    recorded = [["T2I", 4.0], ["T2V", 3.0]]
    assert deviations([["T2I", 4.0001], ["T2V", 3.03]], recorded) == [
        "step 2 (T2V): 3.030000, +1.00% from 3.000000"
    ]
