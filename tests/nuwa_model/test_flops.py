"""Counted arithmetic is what torch counts, pair by pair and product by product."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nuwa_model.attention import nearby_mask
from nuwa_model.config import NuwaConfig
from nuwa_model.flops import flops_per_token, forward_flops, near_pairs, recomputed_flops
from nuwa_model.grid import Extent, Grid
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from nuwa_model.tasks import TASKS
from tests.nuwa_model.test_model import make_batch

GRIDS = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
WIDTHS = st.sampled_from([1, 3, 5, math.inf])
EXTENTS = st.builds(Extent, WIDTHS, WIDTHS, WIDTHS)


@settings(deadline=None)
@given(queries=GRIDS, keys=GRIDS, extent=EXTENTS, causal=st.booleans(), ahead=st.integers(0, 1))
def test_pairs_are_those_of_the_mask(queries, keys, extent, causal, ahead):
    keys = queries if causal else keys
    mask = nearby_mask(queries, keys, extent, causal=causal, offset=(0, 0, ahead))
    assert near_pairs(queries, keys, extent, causal=causal, ahead=ahead) == int(mask.sum())


@pytest.mark.parametrize("task", ["T2V", "T2I", "V2V"])
def test_operations_are_those_that_torch_counts_where_every_pair_is_computed(task):
    config = NuwaConfig(target_grid=Grid(2, 3, 4), attention_backend="reference")
    model, batch = Nuwa(config), make_batch(task, batch=3, config=config)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        model(batch)
    with FlopCounterMode(display=False) as table, torch.no_grad():
        model.decoder.embedding.table()
    slots = batch.target[0].numel() // 4 * 5
    seen = near_pairs(Grid(slots // 15, 3, 5), Grid(slots // 15, 3, 5), config.extent,
                      causal=True, ahead=1)  # fmt: skip
    masked = config.decoder_depth * 4 * config.dim * (slots**2 - seen)
    shared = 2 * table.get_total_flops()  # of the tokens that are read, and of those written
    counted = once.get_total_flops() - shared
    assert counted == 3 * (forward_flops(config, TASKS[task]) + masked)


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
    seen = near_pairs(slots, slots, config.extent, causal=True, ahead=1)
    masked = config.decoder_depth * 4 * config.dim * (slots.num_cells**2 - seen)
    expected = 3 * (recomputed_flops(config, TASKS["T2V"]) + masked)
    assert counted[1] - counted[0] == expected


def test_a_token_of_the_paper_s_model_costs_about_six_operations_for_each_weight():
    config = PRESETS["nuwa_870m"]
    assert flops_per_token(config, TASKS["T2V"]) == pytest.approx(6 * 600e6, rel=0.2)
