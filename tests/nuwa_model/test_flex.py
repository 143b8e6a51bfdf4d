"""FlexAttention against the definition: values on a CPU, uncompiled, which has no gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.attention import nearby_attention, nearby_mask
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.grid import Extent, Grid

GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
WIDTHS = st.sampled_from([1, 3, 5, math.inf])
EXTENTS = st.builds(Extent, WIDTHS, WIDTHS, WIDTHS)
SMALL = {"query_grid": Grid(1, 2, 2), "key_grid": Grid(1, 2, 2), "extent": Extent(1, 3, 3)}


@settings(max_examples=15, deadline=None)
@given(query=GRIDS, key=GRIDS, extent=EXTENTS, causal=st.booleans(), shift=st.integers(0, 1))
def test_values_are_those_of_the_reference(query, key, extent, causal, shift):
    if causal:
        key = query
    elif not nearby_mask(query, key, extent, offset=(0, 0, shift)).any(dim=1).all():
        return  # a query that sees nothing has no softmax
    q, k, v = (
        torch.randn(2, 2, grid.num_cells, 16, dtype=torch.float64) for grid in (query, key, key)
    )
    fast, slow = (
        nearby_attention(
            q,
            k,
            v,
            query_grid=query,
            key_grid=key,
            extent=extent,
            causal=causal,
            offset=(0, 0, shift),
            backend=name,
        )
        for name in ("flex", "reference")
    )
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


def test_gradients_on_a_cpu_are_refused_in_one_line():
    x = torch.randn(1, 1, 4, 16, requires_grad=True)
    with pytest.raises(ConfigError, match="no gradients on a CPU") as error:
        nearby_attention(x, x, x, backend="flex", **SMALL)
    assert "\n" not in str(error.value)


def test_a_mask_of_padded_keys_is_refused():
    x = torch.randn(1, 1, 4, 16)
    mask = torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(GridError, match="no key mask"):
        nearby_attention(x, x, x, backend="flex", key_mask=mask, **SMALL)
