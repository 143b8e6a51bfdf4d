"""Estimates, held against what models and ranks really keep."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nuwa_model.grid import Grid
from nuwa_model.losses import next_token_loss
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from nuwa_model.tasks import TASKS
from pipelines.config import RunConfig, TrainingConfig
from pipelines.training.sizing import activations, count_parameters, mean_step, memory
from tests.nuwa_model.test_model import make_batch
from tests.pipelines.training import held_by_a_rank

ROOT = Path(__file__).parents[3]
BASE = replace(
    PRESETS["base"], decoder_depth=2, encoder_depth=2, text_vocabulary=100, text_length=16,
    codebook_size=512, codebook_dim=8,
)  # fmt: skip


def kept(config, task, *, is_bfloat16):
    """Bytes that a forward pass keeps for the backward pass, but for the weights' own."""
    model, batch = Nuwa(config), make_batch(task, batch=1, config=config)
    own = {x.untyped_storage().data_ptr() for x in [*model.parameters(), *model.buffers()]}
    tensors = []

    def keep(tensor):
        tensors.append(tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16),
    ):
        next_token_loss(model(batch), batch.target)
    copied = {tuple(sorted(x.shape)) for x in model.parameters()} if is_bfloat16 else set()
    storages = [t.untyped_storage() for t in tensors if tuple(sorted(t.shape)) not in copied]
    others = {s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}
    return sum(others.values())


@pytest.mark.parametrize("is_bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("dim", "grid", "task"),
    [
        (256, Grid(4, 8, 8), "T2V"),
        (512, Grid(3, 12, 12), "T2V"),
        (512, Grid(1, 16, 16), "T2I"),
    ],
)
def test_activations_are_what_a_forward_pass_keeps(dim, grid, task, is_bfloat16):
    config = replace(BASE, dim=dim, target_grid=grid)
    precision = "bfloat16" if is_bfloat16 else "float32"
    told = activations(config, TASKS[task], precision=precision)
    assert told == pytest.approx(kept(config, task, is_bfloat16=is_bfloat16), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_states_are_what_each_of_two_ranks_holds(stage, tmp_path):
    out = tmp_path / "held"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    rank = [*torchrun, "-m", held_by_a_rank.__name__, str(stage), str(out)]
    subprocess.run(rank, check=True, cwd=ROOT)
    training = TrainingConfig(batch_size=4, num_workers=2, zero_stage=stage)
    config = RunConfig.__new__(RunConfig)  # of a run, only these two sections matter here
    object.__setattr__(config, "model", held_by_a_rank.MODEL)
    object.__setattr__(config, "training", training)
    told = memory(config, zero_stage=stage, ranks=2, precision="float32")
    # The buffer of stages 1 and 2 is gone when the step begins.
    expected = told.total - told.activations - (told.buffer if stage in (1, 2) else 0)
    assert int(out.read_text()) == pytest.approx(expected, rel=0.03)


def test_a_step_is_the_mean_over_the_mixture():
    config = RunConfig(training=TrainingConfig(tasks={"T2I": 1.0, "T2V": 3.0}, batch_size=8))
    cells = config.model.target_grid.num_cells
    step = mean_step(config)
    assert step.examples == 8
    assert step.tokens == 8 * (0.25 * cells / 10 + 0.75 * cells)
    alone = mean_step(replace(config, training=TrainingConfig(tasks={"T2V": 1.0}, batch_size=8)))
    assert alone.flops > step.flops


def test_parameters_are_counted_without_making_them():
    learned, counted = count_parameters(PRESETS["nuwa_870m"])
    assert counted == pytest.approx(870e6, rel=0.01)
    assert learned > counted
