"""The Triton kernel against the definition: on a GPU where there is one, else interpreted."""

import importlib.util
import math
import os
import subprocess
import sys
from textwrap import dedent

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.attention import kernel, nearby_attention, nearby_mask
from nuwa_model.attention.box_sides import sides_for
from nuwa_model.decoder import PREDICTED
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.drawing import draw

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported, by the first call

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)

WINDOW = Extent(3, 3, 3)
VIDEO = Grid(2, 3, 4)


def drawn(query, key, *, heads=1, size=16, dtype=torch.float64):
    """Queries, keys and values, batch of one."""
    return [
        torch.randn(1, heads, grid.num_cells, size, dtype=dtype, device=DEVICE, requires_grad=True)
        for grid in (query, key, key)
    ]


def values_and_gradients(tensors, backend, **window):
    out = nearby_attention(*tensors, backend=backend, **window)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=DEVICE).view_as(out)
    return out, *torch.autograd.grad((out * weights).sum(), tensors)


def assert_equals_the_reference(tensors, *, rtol, atol, **window):
    fast, slow = (values_and_gradients(tensors, name, **window) for name in ("triton", "reference"))
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
WIDTHS = st.sampled_from([1, 3, 5, math.inf])
EXTENTS = st.builds(Extent, WIDTHS, WIDTHS, WIDTHS)
SHIFTS = st.integers(-1, 1)


@needs_triton
@settings(max_examples=20, deadline=None)
@given(
    query=GRIDS,
    key=GRIDS,
    extent=EXTENTS,
    causal=st.booleans(),
    offset=st.tuples(SHIFTS, SHIFTS, SHIFTS),
)
def test_values_and_gradients_are_those_of_the_reference(query, key, extent, causal, offset):
    if causal:
        key = query
    elif not nearby_mask(query, key, extent, offset=offset).any(dim=1).all():
        return  # a query that sees nothing has no softmax
    assert_equals_the_reference(
        drawn(query, key),
        query_grid=query,
        key_grid=key,
        extent=extent,
        causal=causal,
        offset=offset,
        rtol=1e-10,
        atol=1e-10,
    )


@needs_triton
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [
        pytest.param(torch.float32, 1e-5, id="float32"),
        # Half a unit in the last of eight bits of the weights, the values and the result.
        pytest.param(torch.bfloat16, 2**-6, id="bfloat16"),
        pytest.param(torch.float16, 2**-9, id="float16"),
    ],
)
def test_short_floats_stay_within_their_rounding(dtype, bound):
    tensors = drawn(VIDEO, VIDEO, heads=2, dtype=dtype)
    window = {"query_grid": VIDEO, "key_grid": VIDEO, "extent": WINDOW, "offset": PREDICTED}
    fast = values_and_gradients(tensors, "triton", causal=True, **window)
    wide = [x.detach().double().requires_grad_() for x in tensors]
    exact = values_and_gradients(wide, "reference", causal=True, **window)
    for ours, theirs in zip(fast, exact, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= bound * theirs.abs().max()


@needs_triton
@pytest.mark.parametrize("size", [5, 24])
def test_a_head_need_not_be_a_power_of_two(size):
    assert_equals_the_reference(
        drawn(Grid(1, 3, 3), Grid(1, 4, 5), size=size),
        query_grid=Grid(1, 3, 3),
        key_grid=Grid(1, 4, 5),
        extent=WINDOW,
        rtol=1e-10,
        atol=1e-10,
    )


@needs_triton
def test_heads_are_read_where_projections_leave_them():
    """Heads side by side in a cell, keys and values side by side, a gradient that is expanded."""
    both = torch.randn(2, VIDEO.num_cells, 2, 3, 16, dtype=torch.float64, device=DEVICE)
    q, k, v = both.requires_grad_().permute(3, 0, 2, 1, 4)
    window = {"query_grid": VIDEO, "key_grid": VIDEO, "extent": WINDOW}
    grads = [
        torch.autograd.grad(nearby_attention(q, k, v, backend=name, **window).sum(), both)[0]
        for name in ("triton", "reference")
    ]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


@needs_triton
def test_the_gradient_reaches_exactly_the_cells_seen():
    q, k, v = drawn(VIDEO, VIDEO)
    slot = 17  # frame 1, row 1, column 1: predicts column 1
    out = nearby_attention(
        q,
        k,
        v,
        query_grid=VIDEO,
        key_grid=VIDEO,
        extent=WINDOW,
        causal=True,
        offset=PREDICTED,
        backend="triton",
    )
    out[:, :, slot].sum().backward()
    picture = """\
        .###
        .###
        .###

        .###
        .#..
        ...."""
    for x in (k, v):
        assert draw(x.grad.abs().sum(dim=(0, 1, 3)) > 0, VIDEO) == dedent(picture)


@needs_triton
def test_a_query_that_sees_nothing_gets_zeros():
    q, k, v = drawn(Grid(1, 1, 2), Grid(1, 1, 2))
    window = {"query_grid": Grid(1, 1, 2), "key_grid": Grid(1, 1, 2), "extent": Extent(1, 1, 1)}
    out = nearby_attention(q, k, v, offset=(0, 0, 1), backend="triton", **window)
    out.sum().backward()
    assert not out[:, :, 1].any()
    assert not q.grad.isnan().any()
    assert not v.grad[:, :, 0].any()


@needs_triton
def test_a_mask_of_padded_keys_is_refused():
    q, k, v = drawn(VIDEO, VIDEO)
    mask = torch.ones(1, VIDEO.num_cells, dtype=torch.bool)
    with pytest.raises(GridError, match="no key mask"):
        nearby_attention(
            q,
            k,
            v,
            query_grid=VIDEO,
            key_grid=VIDEO,
            extent=WINDOW,
            key_mask=mask,
            backend="triton",
        )


def attend_to_itself(x):
    grid = Grid(1, 1, x.shape[2])
    return nearby_attention(
        x, x, x, query_grid=grid, key_grid=grid, extent=WINDOW, backend="triton"
    )


def test_a_machine_without_triton_says_in_one_line_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "nuwa_model.attention.box_kernels", None)
    kernel._kernels.cache_clear()
    with pytest.raises(ConfigError, match="pip install triton") as error:
        attend_to_itself(torch.randn(1, 1, 4, 16))
    kernel._kernels.cache_clear()
    assert "\n" not in str(error.value)


@needs_triton
@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU")
def test_a_machine_without_a_gpu_says_in_one_line_what_to_do(root):
    script = "from tests.nuwa_model.test_kernel import *; attend_to_itself(torch.ones(1, 1, 4, 16))"
    script = script.replace("; ", "; del os.environ['TRITON_INTERPRET']; ", 1)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (
        "ConfigError: The attention backend 'triton' runs on GPUs" in done.stderr.splitlines()[-1]
    )
    assert "TRITON_INTERPRET=1" in done.stderr.splitlines()[-1]


def test_a_head_that_is_too_wide_is_refused():
    with pytest.raises(ConfigError, match="at most 128"):
        attend_to_itself(torch.randn(1, 1, 4, 129))


def test_a_text_is_cut_into_runs_and_an_image_within_its_frame():
    text, image = Grid(77, 1, 1), Grid(1, 21, 22)
    assert sides_for(text, text, Grid(77, 0, 0), False, 64) == (Grid(64, 1, 1), Grid(64, 1, 1))
    own, other = sides_for(image, image, Grid(0, 1, 1), True, 64)
    assert own.s == other.s == 1
    assert own.num_cells == other.num_cells == 64


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(dtype, root):
    """The interpreter runs Python; only the compiler knows what its language lacks."""
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    script = "from tests.nuwa_model.compiling import main; main()"
    command = [sys.executable, "-c", script, dtype]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert max(int(line.split()[-1]) for line in done.stdout.splitlines()) <= 99 * 1024
