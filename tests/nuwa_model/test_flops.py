"""Counted arithmetic is what torch counts, pair by pair and product by product."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nuwa_model.attention import axial_mask, nearby_mask
from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import PREDICTED
from nuwa_model.flops import (
    flops_per_token,
    forward_flops,
    recomputed_flops,
    seen_pairs,
    target_grid_of,
)
from nuwa_model.grid import Extent, Grid
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from nuwa_model.sight import sight_of
from nuwa_model.tasks import TASKS
from tests.nuwa_model.test_model import make_batch

GRIDS = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
WIDTHS = st.sampled_from([1, 3, 5, math.inf])
EXTENTS = st.builds(Extent, WIDTHS, WIDTHS, WIDTHS)


@settings(deadline=None)
@given(
    kind=st.sampled_from(["nearby", "full", "axial"]),
    queries=GRIDS,
    keys=GRIDS,
    extent=EXTENTS,
    causal=st.booleans(),
    ahead=st.integers(-1, 1),
)
def test_pairs_are_those_of_the_mask(kind, queries, keys, extent, causal, ahead):
    keys, sight = queries if causal else keys, sight_of(kind, extent)
    mask = mask_of(sight, queries, keys, causal=causal, offset=(0, 0, ahead))
    assert seen_pairs(sight, queries, keys, causal=causal, ahead=ahead) == int(mask.sum())


def mask_of(sight, queries, keys, **how):
    if sight.kind == "axial":
        return axial_mask(queries, keys, **how)
    return nearby_mask(queries, keys, sight.extent, **how)


def pairs_of_a_task(config, task):
    """All pairs of cells in all layers, and those that see each other."""
    target = target_grid_of(config, task)
    slots = target._replace(w=target.w + 1)
    is_sketch = task.condition == "sketch"
    condition = target if is_sketch else config.text_grid
    extent = config.extent if is_sketch else config.text_extent
    itself = mask_of(sight_of(config.encoder_attention, extent), condition, condition)
    before = mask_of(config.decoder_sight, slots, slots, causal=True, offset=PREDICTED)
    cross = mask_of(sight_of(config.decoder_attention, extent), target, condition)
    columns = torch.arange(slots.w).clamp(max=target.w - 1)  # the last stands on the last cell
    cross = cross.view(*target, -1)[:, :, columns]
    masks = [itself] * config.encoder_depth + [before, cross] * config.decoder_depth
    return sum(mask.numel() for mask in masks), sum(int(mask.sum()) for mask in masks)


@pytest.mark.parametrize("task", ["T2V", "T2I", "V2V", "S2V", "S2I"])
@pytest.mark.parametrize("kinds", [("nearby", "nearby"), ("axial", "full"), ("full", "axial")])
def test_operations_are_those_that_torch_counts_where_every_pair_is_computed(task, kinds):
    config = NuwaConfig(
        target_grid=Grid(2, 3, 4),
        encoder_attention=kinds[0],
        decoder_attention=kinds[1],
        attention_backend="reference",
    )
    model, batch = Nuwa(config), make_batch(task, batch=3, config=config)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        model(batch)
    with FlopCounterMode(display=False) as tables, torch.no_grad():
        for _ in range(2):  # the tokens that are read, and those that are written
            model.decoder.embedding.table()
        if TASKS[task].condition == "sketch":
            model.encoder.sketch.table()
    computed, seen = pairs_of_a_task(config, TASKS[task])
    target = Grid(*batch.target.shape[1:])
    masked = 4 * config.dim * (computed - seen)
    counted = once.get_total_flops() - tables.get_total_flops()  # which the batch shares
    assert counted == 3 * (forward_flops(config, TASKS[task], target) + masked)


def test_checkpointed_layers_do_again_what_torch_counts():
    config = NuwaConfig(target_grid=Grid(2, 3, 4), attention_backend="reference")
    model, batch = Nuwa(config), make_batch("T2V", batch=3, config=config)
    counted = []
    for is_checkpointed in (False, True):
        model.checkpoint_activations(is_checkpointed)
        with FlopCounterMode(display=False) as counter:
            model(batch).sum().backward()
        counted.append(counter.get_total_flops())
    slots = Grid(2, 3, 5)
    seen = seen_pairs(config.decoder_sight, slots, slots, causal=True, ahead=1)
    masked = config.decoder_depth * 4 * config.dim * (slots.num_cells**2 - seen)
    expected = 3 * (recomputed_flops(config, TASKS["T2V"]) + masked)
    assert counted[1] - counted[0] == expected


def test_a_token_of_the_paper_s_model_costs_about_six_operations_for_each_weight():
    config = PRESETS["nuwa_870m"]
    assert flops_per_token(config, TASKS["T2V"]) == pytest.approx(6 * 600e6, rel=0.2)
