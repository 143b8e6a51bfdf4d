import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.generation import conditions, seen
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.conditions import Condition
from nuwa_model.generation.frozen import freeze
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.generation.seen import Gathered, Masked, Summed
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_context, make_model

CPU = torch.device("cpu")
GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
EXTENTS = st.sampled_from([Extent(1, 1, 1), Extent(3, 3, 3), Extent(3, 5, 3), Extent(5, 3, 5)])


def told(model, rows, dtype, monkeypatch, *, copied, least_queries, way):
    """What the second layer finds in a sketch in every pass, read in one way."""
    monkeypatch.setattr(conditions, "_MOST_COPIED", copied)
    monkeypatch.setattr(seen, "_LEAST_QUERIES", least_queries)
    grid, sight = model.config.target_grid, model.config.decoder_sight
    context = make_context(model, is_sketch=True)
    context = replace(context, states=context.states.to(dtype))
    condition = Condition(freeze(model.to(dtype)), rows, context, grid)
    generator = torch.Generator().manual_seed(2)
    for step in plan_passes(grid, sight, "wavefront", 0):
        plan = plan_pass(step, grid, sight, CPU)
        query = torch.randn(4, 2, len(step.slots), 12, dtype=torch.float64, generator=generator)
        reading = condition.reading(plan)
        assert isinstance(reading.seen, way)
        yield condition.attend(1, query.to(dtype), reading)


MASKED = {"copied": 0, "least_queries": 1, "way": Masked}
GATHERED = {"copied": math.inf, "least_queries": 1 << 30, "way": Gathered}
SUMMED = {"copied": math.inf, "least_queries": 1, "way": Summed}


@settings(max_examples=40)
@given(grid=GRIDS, extent=EXTENTS, is_rotary=st.booleans(), first=st.integers(0, 2))
def test_near_cells_of_a_sketch_tell_what_all_under_a_mask_do(grid, extent, is_rotary, first):
    model, rows = make_model(grid, extent, is_rotary=is_rotary), slice(first, first + 2)
    with torch.no_grad(), pytest.MonkeyPatch.context() as monkeypatch:
        masked, gathered, summed = (
            list(told(model, rows, torch.float64, monkeypatch, **way))
            for way in (MASKED, GATHERED, SUMMED)
        )
    torch.testing.assert_close(gathered, masked, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(summed, masked, rtol=1e-12, atol=1e-12)


def test_sums_over_near_cells_are_as_exact_as_bfloat16_is(monkeypatch):
    model, rows = make_model(Grid(2, 4, 4), Extent(3, 3, 3)), slice(0, 2)
    with torch.no_grad():
        exact = list(told(model, rows, torch.float64, monkeypatch, **MASKED))
        rough = list(told(model, rows, torch.bfloat16, monkeypatch, **SUMMED))
    for x, expected in zip(rough, exact, strict=True):
        assert x.dtype == torch.bfloat16
        torch.testing.assert_close(x.double(), expected, rtol=0, atol=0.03 * expected.abs().max())


@pytest.mark.parametrize("kind", ["full", "axial", "nearby"])
def test_of_a_large_sketch_only_near_cells_are_read_where_only_those_are_seen(kind):
    grid = Grid(2, 6, 6)
    model = make_model(grid, Extent(1, 3, 3), decoder_attention=kind)
    condition = Condition(freeze(model), slice(0, 2), make_context(model, is_sketch=True), grid)
    sight = model.config.decoder_sight
    plans = [plan_pass(s, grid, sight, CPU) for s in plan_passes(grid, sight, "sequential", 0)]
    are_masked = {isinstance(condition.reading(plan).seen, Masked) for plan in plans}
    assert are_masked == {kind != "nearby"}
