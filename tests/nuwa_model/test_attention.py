import math
from textwrap import dedent

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.attention import BACKENDS, nearby_attention, nearby_mask
from nuwa_model.decoder import PREDICTED
from nuwa_model.errors import ConfigError, GridError, UnknownNameError
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.drawing import draw

WINDOW = Extent(3, 3, 3)

ANYWHERE = set(BACKENDS) - {"triton", "flex"}
"""Backends that run on every machine; the others have their own tests."""


@pytest.mark.parametrize(
    ("cell", "picture"),
    [
        pytest.param(5, "###.\n###.\n###.", id="inside"),
        pytest.param(0, "##..\n##..\n....", id="corner"),
        pytest.param(7, "..##\n..##\n..##", id="edge"),
    ],
)
def test_a_cell_is_near_its_neighbors_and_never_wraps_around(cell, picture):
    grid = Grid(1, 3, 4)
    assert draw(nearby_mask(grid, grid, WINDOW)[cell], grid) == picture


def test_a_coarse_query_is_projected_onto_a_fine_context():
    fine = Grid(1, 4, 4)
    mask = nearby_mask(Grid(1, 2, 2), fine, Extent(1, 1, 1))
    assert draw(mask.any(dim=0), fine) == "#.#.\n....\n#.#.\n...."


def test_a_text_sees_all_of_itself():
    text = Grid(5, 1, 1)
    assert nearby_mask(text, text, Extent(math.inf, 1, 1)).all()


def test_a_slot_sees_the_earlier_slots_around_the_cell_that_it_predicts():
    slots = Grid(2, 4, 5)
    slot = (1 * 4 + 2) * 5 + 1  # frame 1, row 2, column 1: predicts column 1
    mask = nearby_mask(slots, slots, WINDOW, causal=True, offset=PREDICTED)
    picture = """\
        .....
        .###.
        .###.
        .###.

        .....
        .###.
        .#...
        ....."""
    assert draw(mask[slot], slots) == dedent(picture)


def test_a_slot_always_sees_itself_even_with_a_window_of_one_cell():
    slots = Grid(2, 2, 3)
    mask = nearby_mask(slots, slots, Extent(1, 1, 1), causal=True, offset=PREDICTED)
    assert mask.diagonal().all()


def test_causal_attention_over_two_grids_is_refused():
    with pytest.raises(GridError, match="needs one grid"):
        nearby_mask(Grid(1, 2, 2), Grid(1, 3, 3), WINDOW, causal=True)


@pytest.mark.parametrize("extent", [Extent(2, 3, 3), Extent(0, 3, 3), Extent(3, 3, 2.5)])
def test_an_extent_that_is_no_odd_width_is_refused(extent):
    with pytest.raises(ConfigError, match="odd width"):
        nearby_mask(Grid(1, 2, 2), Grid(1, 2, 2), extent)


def test_a_misspelled_backend_is_named_with_the_nearest_one():
    x = torch.randn(1, 1, 4, 2)
    grid = Grid(1, 2, 2)
    with pytest.raises(UnknownNameError, match="Did you mean 'reference'"):
        nearby_attention(x, x, x, query_grid=grid, key_grid=grid, extent=WINDOW, backend="refrence")


def test_cells_that_do_not_fill_the_grid_are_refused():
    x = torch.randn(1, 1, 5, 2)
    grid = Grid(1, 2, 2)
    with pytest.raises(GridError, match="do not fill"):
        nearby_attention(x, x, x, query_grid=grid, key_grid=grid, extent=WINDOW)


GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
WIDTHS = st.sampled_from([1, 3, 5, 7, math.inf])
EXTENTS = st.builds(Extent, WIDTHS, WIDTHS, WIDTHS)


@pytest.mark.parametrize("name", sorted(ANYWHERE - {"reference"}))
@settings(max_examples=40, deadline=None)
@given(query=GRIDS, key=GRIDS, extent=EXTENTS, causal=st.booleans(), shift=st.integers(0, 1))
def test_every_backend_gives_the_values_and_gradients_of_the_reference(
    name, query, key, extent, causal, shift
):
    if causal:
        key = query
    elif not nearby_mask(query, key, extent, offset=(0, 0, shift)).any(dim=1).all():
        return  # a query that sees nothing has no softmax
    tensors = [  # heads innermost but one, as projections leave them
        torch.randn(2, grid.num_cells, 2, 4, dtype=torch.float64).transpose(1, 2)
        for grid in (query, key, key)
    ]
    for tensor in tensors:
        tensor.requires_grad_()

    def run(backend):
        out = nearby_attention(
            *tensors,
            query_grid=query,
            key_grid=key,
            extent=extent,
            causal=causal,
            offset=(0, 0, shift),
            backend=backend,
        )
        return out, *torch.autograd.grad(out.square().sum(), tensors)

    for fast, slow in zip(run(name), run("reference"), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(ANYWHERE))
def test_the_gradient_reaches_exactly_the_cells_seen(name):
    grid = Grid(2, 3, 4)
    q, k, v = (torch.randn(1, 2, grid.num_cells, 4, requires_grad=True) for _ in range(3))
    out = nearby_attention(
        q,
        k,
        v,
        query_grid=grid,
        key_grid=grid,
        extent=WINDOW,
        causal=True,
        offset=PREDICTED,
        backend=name,
    )
    cell = 17
    out[:, :, cell].sum().backward()
    seen = nearby_mask(grid, grid, WINDOW, causal=True, offset=PREDICTED)[cell]
    assert torch.equal(v.grad.abs().sum(dim=(0, 1, 3)) > 0, seen)


@pytest.mark.parametrize("name", sorted(ANYWHERE - {"reference"}))
@pytest.mark.parametrize("is_autocast", [False, True])
def test_bfloat16_is_as_near_the_reference_as_its_eight_bits_allow(name, is_autocast):
    torch.manual_seed(0)
    grid = Grid(3, 9, 10)
    tensors = [torch.randn(2, 2, grid.num_cells, 16).bfloat16() for _ in range(3)]

    def run(backend, dtype):
        leaves = [x.detach().to(dtype, copy=True).requires_grad_() for x in tensors]
        with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast and dtype != torch.float64):
            out = nearby_attention(
                *leaves,
                query_grid=grid,
                key_grid=grid,
                extent=WINDOW,
                causal=True,
                offset=PREDICTED,
                backend=backend,
            )
            out.square().sum().backward()
        return out, *(leaf.grad for leaf in leaves)

    for fast, slow in zip(run(name, torch.bfloat16), run("reference", torch.float64), strict=True):
        assert fast.dtype == torch.bfloat16
        assert (fast - slow).abs().max() < 0.02 * slow.abs().max()


def test_padded_keys_change_nothing():
    text = Grid(6, 1, 1)
    q, k, v = (torch.randn(2, 2, 6, 4) for _ in range(3))
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)

    def run(key, value):
        return nearby_attention(
            q,
            key,
            value,
            query_grid=text,
            key_grid=text,
            extent=Extent(math.inf, 1, 1),
            key_mask=mask,
        )

    other = torch.where(mask[:, None, :, None], k, torch.randn_like(k) * 9)
    torch.testing.assert_close(run(k, v), run(other, v))
