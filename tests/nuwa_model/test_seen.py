import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nuwa_model.config import NuwaConfig
from nuwa_model.generation import seen
from nuwa_model.generation.cache import RingCache, plan_pass
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.generation.seen import Gathered, Summed, seen_by
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import Sight

CPU = torch.device("cpu")


def filled(config, grid, batch, dtype=torch.float64):
    ring = RingCache(config, grid, batch, dtype=dtype, device=CPU)
    torch.manual_seed(0)
    ring.keys.normal_()
    ring.values.normal_()
    return ring


def both_ways(plan, ring, monkeypatch):
    for least, way in ((1, Summed), (1 << 30, Gathered)):
        monkeypatch.setattr(seen, "_LEAST_QUERIES", least)
        found = seen_by(plan.seen, plan.mask, ring)
        assert isinstance(found, way)
        yield found


@given(
    grid=st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    extent=st.sampled_from([Extent(1, 1, 1), Extent(3, 3, 3), Extent(3, 5, 3), Extent(5, 3, 5)]),
    batch=st.integers(1, 3),
)
def test_sums_by_hand_are_what_the_fused_kernel_gives_in_every_pass(grid, extent, batch):
    config = NuwaConfig(dim=24, num_heads=3, target_grid=grid, extent=extent)
    ring, sight = filled(config, grid, batch), Sight("nearby", extent)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for step in plan_passes(grid, sight, "wavefront", 0):
            plan = plan_pass(step, grid, sight, CPU)
            query = torch.randn(batch, 3, len(step.slots), 8, dtype=torch.float64)
            summed, gathered = (
                way.attend(query, ring) for way in both_ways(plan, ring, monkeypatch)
            )
            torch.testing.assert_close(summed, gathered, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_sums_by_hand_are_as_exact_as_the_numbers_that_they_are_made_of(dtype, bound):
    grid = Grid(3, 6, 6)
    config = NuwaConfig(dim=128, num_heads=2, target_grid=grid, extent=Extent(3, 3, 3))
    ring, sight = filled(config, grid, 9, dtype), Sight("nearby", config.extent)
    plan = plan_pass(plan_passes(grid, sight, "wavefront", 0)[12], grid, sight, CPU)
    query = torch.randn(9, 2, len(plan.own), 64, dtype=dtype)
    found = seen_by(plan.seen, plan.mask, ring)
    assert isinstance(found, Summed)
    exact = RingCache(config, grid, 9, dtype=torch.float64, device=CPU)
    exact.keys.copy_(ring.keys)
    exact.values.copy_(ring.values)
    expected = seen_by(plan.seen, plan.mask, exact).attend(query.double(), exact)
    torch.testing.assert_close(found.attend(query, ring).double(), expected, rtol=0, atol=bound)
