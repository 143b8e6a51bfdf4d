"""Estimates, held against what models and ranks really keep."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


DEEP = replace(BASE, decoder_depth=6, encoder_depth=3)


def kept(config, task, *, is_bfloat16, is_checkpointed=False):
    """Bytes that a forward pass keeps for the backward pass, but for the weights' own."""
    model, batch = Nuwa(config), make_batch(task, batch=1, config=config)
    model.checkpoint_activations(is_checkpointed)
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
    copied = shapes_of_weights(model) if is_bfloat16 else set()
    storages = [t.untyped_storage() for t in tensors if tuple(sorted(t.shape)) not in copied]
    others = {s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}
    return sum(others.values())


class Held(TorchDispatchMode):
    """Bytes of all results that are alive at once, but for those of some shapes."""

    def __init__(self, left_out):
        super().__init__()
        self.most, self._left_out, self._alive = 0, left_out, {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if (
                isinstance(tensor, torch.Tensor)
                and tuple(sorted(tensor.shape)) not in self._left_out
            ):
                storage = tensor.untyped_storage()
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {k: held for k, held in self._alive.items() if not held[0].expired()}
        self.most = max(self.most, sum(nbytes for _, nbytes in self._alive.values()))
        return result


def most_held(config, task, *, is_bfloat16):
    """Bytes of a forward and a backward pass with checkpointed layers, at their worst."""
    model, batch = Nuwa(config), make_batch(task, batch=1, config=config)
    model.checkpoint_activations()
    with Held(shapes_of_weights(model)) as held:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            loss = next_token_loss(model(batch), batch.target)
        loss.backward()
    return held.most


def shapes_of_weights(model):
    """Of their copies and gradients too, turned or not."""
    return {tuple(sorted(x.shape)) for x in model.parameters()}


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


@pytest.mark.parametrize("is_bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("dim", "grid", "task"), [(256, Grid(3, 6, 6), "T2V"), (256, Grid(1, 12, 12), "T2I")]
)
def test_checkpointed_activations_are_the_most_that_both_passes_hold(dim, grid, task, is_bfloat16):
    config = replace(DEEP, dim=dim, target_grid=grid)
    precision = "bfloat16" if is_bfloat16 else "float32"
    told = activations(config, TASKS[task], precision=precision, is_checkpointed=True)
    assert told == pytest.approx(most_held(config, task, is_bfloat16=is_bfloat16), rel=0.25)


@pytest.mark.parametrize("task", ["T2V", "S2V"])
def test_checkpointed_layers_keep_a_fraction_of_the_bytes(task):
    config = replace(DEEP, dim=256, target_grid=Grid(3, 8, 8))
    both = [kept(config, task, is_bfloat16=False, is_checkpointed=is_on) for is_on in (False, True)]
    assert both[1] < both[0] / 4


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


def test_a_step_with_checkpointed_layers_does_more_and_is_worth_the_same():
    steps = [
        mean_step(RunConfig(training=TrainingConfig(activation_checkpointing=is_on)))
        for is_on in (False, True)
    ]
    assert steps[0].recomputed == 0
    assert 0 < steps[1].recomputed < steps[1].flops / 3
    assert replace(steps[1], recomputed=0.0) == steps[0]


def test_parameters_are_counted_without_making_them():
    learned, counted = count_parameters(PRESETS["nuwa_870m"])
    assert counted == pytest.approx(870e6, rel=0.01)
    assert learned > counted
