import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nuwa_model.generation import conditions
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.conditions import Condition
from nuwa_model.generation.frozen import freeze
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.generation.seen import Masked
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_context, make_model

CPU = torch.device("cpu")
GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
EXTENTS = st.sampled_from([Extent(1, 1, 1), Extent(3, 3, 3), Extent(3, 5, 3), Extent(5, 3, 5)])


def readings(model, grid, monkeypatch):
    """All of a sketch under a mask, and only what is near, in every pass."""
    context = make_context(model, is_sketch=True)
    condition = Condition(freeze(model), slice(0, 2), context, grid)
    sight = model.config.decoder_sight
    for step in plan_passes(grid, sight, "wavefront", 0):
        plan = plan_pass(step, grid, sight, CPU)
        query = torch.randn(2, 2, len(step.slots), 12, dtype=torch.float64)
        told = []
        for saved, is_masked in ((1 << 30, True), (0, False)):
            monkeypatch.setattr(conditions, "_LEAST_SAVED", saved)
            reading = condition.reading(plan)
            assert isinstance(reading.seen, Masked) is is_masked
            told.append(condition.attend(1, query, reading))
        yield told


@given(grid=GRIDS, extent=EXTENTS, is_rotary=st.booleans())
def test_the_near_cells_of_a_sketch_tell_a_slot_what_all_under_a_mask_do(grid, extent, is_rotary):
    model = make_model(grid, extent, is_rotary=is_rotary)
    with torch.no_grad(), pytest.MonkeyPatch.context() as monkeypatch:
        for masked, near in readings(model, grid, monkeypatch):
            torch.testing.assert_close(near, masked, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "axial", "nearby"])
def test_of_a_large_sketch_only_near_cells_are_read_where_only_those_are_seen(kind):
    grid = Grid(2, 6, 6)
    model = make_model(grid, Extent(1, 3, 3), decoder_attention=kind)
    condition = Condition(freeze(model), slice(0, 2), make_context(model, is_sketch=True), grid)
    sight = model.config.decoder_sight
    plans = [plan_pass(s, grid, sight, CPU) for s in plan_passes(grid, sight, "sequential", 0)]
    are_masked = {isinstance(condition.reading(plan).seen, Masked) for plan in plans}
    assert are_masked == {kind != "nearby"}
