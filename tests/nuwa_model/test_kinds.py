"""Full and axial attention, the baselines, against masks and against each other."""

import json
from dataclasses import replace
from functools import partial
from textwrap import dedent
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.attention import ATTENTIONS, axial_mask, nearby_mask
from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import PREDICTED
from nuwa_model.errors import GridError, UnknownNameError
from nuwa_model.grid import Extent, Grid
from nuwa_model.model import Nuwa
from nuwa_model.sight import EVERYWHERE, AttentionKind
from tests.nuwa_model.drawing import draw
from tests.nuwa_model.test_model import CONFIG, make_batch

WINDOW = Extent(3, 3, 3)
MASKS = {"full": partial(nearby_mask, extent=EVERYWHERE), "axial": axial_mask}
BASELINES = sorted(MASKS)
KINDS = ("encoder_attention", "decoder_attention")


def test_a_cell_sees_its_row_its_column_and_its_place_in_all_frames():
    grid = Grid(2, 3, 4)
    picture = """\
        ....
        .#..
        ....

        .#..
        ####
        .#.."""
    assert draw(axial_mask(grid, grid)[1 * 12 + 1 * 4 + 1], grid) == dedent(picture)


def test_a_slot_sees_the_earlier_slots_in_line_with_the_cell_that_it_predicts():
    slots = Grid(3, 4, 5)
    slot = (2 * 4 + 2) * 5 + 1  # frame 2, row 2, column 1: predicts column 1
    mask = axial_mask(slots, slots, causal=True, offset=PREDICTED)
    picture = """\
        .....
        .....
        ..#..
        .....

        .....
        .....
        ..#..
        .....

        ..#..
        ..#..
        ##...
        ....."""
    assert draw(mask[slot], slots) == dedent(picture)


def test_the_last_slot_of_a_row_is_in_line_with_its_row_alone():
    slots = Grid(2, 2, 3)
    mask = axial_mask(slots, slots, causal=True, offset=PREDICTED)
    assert draw(mask[-1], slots) == "...\n...\n\n...\n###"


def test_a_coarse_query_sees_the_lines_through_its_projection():
    fine = Grid(1, 4, 4)
    assert draw(axial_mask(Grid(1, 2, 2), fine)[3], fine) == "..#.\n..#.\n####\n..#."


def test_a_text_is_one_line():
    assert axial_mask(Grid(2, 3, 4), Grid(5, 1, 1)).all()


@pytest.mark.parametrize("kind", BASELINES)
def test_what_the_window_would_be_changes_nothing(kind):
    grid, tensors = Grid(2, 3, 4), drawn(Grid(2, 3, 4), Grid(2, 3, 4))
    narrow, wide = (
        ATTENTIONS[kind](*tensors, query_grid=grid, key_grid=grid, extent=extent, causal=True)
        for extent in (Extent(1, 1, 1), EVERYWHERE)
    )
    assert torch.equal(narrow, wide)


def drawn(query, key):
    """Queries, keys and values, heads innermost but one as projections leave them."""
    return [
        torch.randn(2, grid.num_cells, 2, 4, dtype=torch.float64).transpose(1, 2).requires_grad_()
        for grid in (query, key, key)
    ]


def under_the_mask(q, k, v, mask, key_mask=None):
    mask = mask[None, None] if key_mask is None else mask & key_mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def assert_same_values_and_gradients(one, other, tensors):
    for out in (one, other):
        assert out.isfinite().all()
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    grads = [torch.autograd.grad(out.square().sum(), tensors) for out in (one, other)]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        *(("nearby", backend) for backend in ("reference", "dense", "rows")),
        *((kind, backend) for kind in BASELINES for backend in ("auto", "dense")),
    ],
)
@pytest.mark.parametrize("is_causal", [True, False])
def test_what_was_planned_while_sampling_serves_training_too(kind, backend, is_causal):
    query = Grid(2, 3, 7)  # of no other test: plans are made once
    key = query if is_causal else Grid(1, 2, 5)
    attend = partial(
        ATTENTIONS[kind],
        query_grid=query,
        key_grid=key,
        extent=WINDOW,
        causal=is_causal,
        offset=PREDICTED if is_causal else (0, 0, 0),
        backend=backend,
    )
    with torch.inference_mode():
        attend(*drawn(query, key))
    tensors = drawn(query, key)
    attend(*tensors).sum().backward()
    assert all(x.grad is not None for x in tensors)


GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
SHIFTS = st.integers(-2, 2)


@settings(max_examples=120, deadline=None)
@given(
    query=GRIDS,
    key=GRIDS,
    causal=st.booleans(),
    offset=st.tuples(SHIFTS, SHIFTS, SHIFTS) | st.just(PREDICTED),
)
def test_lines_give_the_values_and_gradients_of_their_mask(query, key, causal, offset):
    key = query if causal else key
    mask = axial_mask(query, key, causal=causal, offset=offset)
    if not mask.any(dim=1).all():
        return  # a query that sees nothing has no softmax
    tensors = drawn(query, key)
    out = ATTENTIONS["axial"](
        *tensors, query_grid=query, key_grid=key, extent=WINDOW, causal=causal, offset=offset
    )
    assert_same_values_and_gradients(out, under_the_mask(*tensors, mask), tensors)


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("backend", ["auto", "reference", "rows"])
@settings(max_examples=20, deadline=None)
@given(query=GRIDS, key=GRIDS, causal=st.booleans())
def test_every_way_to_a_baseline_gives_what_its_mask_gives(kind, backend, query, key, causal):
    key = query if causal else key
    offset = PREDICTED if causal else (0, 0, 0)
    tensors = drawn(query, key)
    out = ATTENTIONS[kind](
        *tensors,
        query_grid=query,
        key_grid=key,
        extent=WINDOW,
        causal=causal,
        offset=offset,
        backend=backend,
    )
    mask = MASKS[kind](query, key, causal=causal, offset=offset)
    assert_same_values_and_gradients(out, under_the_mask(*tensors, mask), tensors)


@pytest.mark.parametrize("kind", BASELINES)
@settings(max_examples=20, deadline=None)
@given(query=GRIDS, key=GRIDS, causal=st.booleans(), seed=st.integers(0, 99))
def test_padded_keys_are_not_seen(kind, query, key, causal, seed):
    key = query if causal else key
    generator = torch.Generator().manual_seed(seed)
    key_mask = torch.rand(2, key.num_cells, generator=generator) < 0.7
    mask = MASKS[kind](query, key, causal=causal)
    if not (mask & key_mask[:, None, :]).any(dim=2).all():
        return
    tensors = drawn(query, key)
    out = ATTENTIONS[kind](
        *tensors, query_grid=query, key_grid=key, extent=WINDOW, causal=causal, key_mask=key_mask
    )
    assert_same_values_and_gradients(out, under_the_mask(*tensors, mask, key_mask), tensors)


@pytest.mark.parametrize("kind", BASELINES)
def test_the_gradient_reaches_exactly_the_cells_seen(kind):
    grid, cell = Grid(2, 3, 4), 17
    q, k, v = drawn(grid, grid)
    out = ATTENTIONS[kind](
        q, k, v, query_grid=grid, key_grid=grid, extent=WINDOW, causal=True, offset=PREDICTED
    )
    out[:, :, cell].sum().backward()
    seen = MASKS[kind](grid, grid, causal=True, offset=PREDICTED)[cell]
    for grad in (k.grad, v.grad):
        assert torch.equal(grad.abs().sum(dim=(0, 1, 3)) > 0, seen)


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("is_autocast", [False, True])
def test_bfloat16_is_as_near_as_its_eight_bits_allow(kind, is_autocast):
    torch.manual_seed(0)
    grid = Grid(3, 9, 10)
    tensors = [torch.randn(2, 2, grid.num_cells, 16).bfloat16() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        out = ATTENTIONS[kind](
            *tensors, query_grid=grid, key_grid=grid, extent=WINDOW, causal=True, offset=PREDICTED
        )
    mask = MASKS[kind](grid, grid, causal=True, offset=PREDICTED)
    exact = under_the_mask(*(x.double() for x in tensors), mask)
    assert out.dtype == torch.bfloat16
    assert (out - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_what_does_not_fit_is_refused_whatever_the_kind(kind):
    x, grid = torch.randn(1, 1, 4, 2), Grid(1, 2, 2)
    attend = partial(ATTENTIONS[kind], x, x, x, extent=WINDOW, query_grid=grid)
    with pytest.raises(GridError, match="do not fill"):
        attend(key_grid=Grid(1, 2, 3))
    with pytest.raises(GridError, match="needs one grid"):
        attend(key_grid=Grid(1, 1, 4), causal=True)
    with pytest.raises(UnknownNameError, match="Did you mean 'reference'"):
        attend(key_grid=grid, backend="refrence")


def test_settings_know_every_kind_and_no_other():
    assert set(get_args(AttentionKind)) == set(ATTENTIONS)
    with pytest.raises(UnknownNameError, match="Did you mean 'axial'"):
        NuwaConfig(decoder_attention="axal")


@pytest.mark.parametrize(
    ("kind", "picture"),
    [
        ("full", "#####\n#####\n#####\n#####\n\n#####\n#####\n##...\n....."),
        ("axial", ".....\n.....\n..#..\n.....\n\n..#..\n..#..\n##...\n....."),
    ],
)
def test_a_prediction_depends_on_what_the_decoder_s_kind_sees(kind, picture):
    torch.manual_seed(0)
    config = replace(CONFIG, decoder_depth=1, decoder_attention=kind)
    model, batch, embedded = Nuwa(config).double(), make_batch(config=config), []

    def keep(module, args, output):
        output.retain_grad()
        embedded.append(output)

    model.decoder.embedding.register_forward_hook(keep)
    model(batch)[0, 1, 2, 2].pow(2).sum().backward()
    assert draw(embedded[0].grad[0].abs().sum(dim=-1) > 0, config.target_grid) == picture


@pytest.mark.parametrize(
    ("kind", "picture"),
    [
        ("nearby", ".....\n.###.\n.###.\n.###."),
        ("full", "#####\n#####\n#####\n#####"),
        ("axial", "..#..\n..#..\n#####\n..#.."),
    ],
)
def test_the_encoder_has_a_kind_of_its_own(kind, picture):
    torch.manual_seed(0)
    config = replace(CONFIG, encoder_depth=1, encoder_attention=kind)
    encoder, batch, embedded = Nuwa(config).double().encoder, make_batch("S2I"), []

    def keep(module, args, output):
        output.retain_grad()
        embedded.append(output)

    encoder.sketch.register_forward_hook(keep)
    context = encoder(batch.condition, batch.condition_mask, is_sketch=True)
    context.states[0, 2 * 5 + 2].pow(2).sum().backward()
    assert draw(embedded[0].grad[0].abs().sum(dim=-1) > 0, config.image_grid) == picture


def test_an_axial_video_needs_no_tensor_of_all_pairs():
    grid, sizes = Grid(8, 12, 12), []
    tensors = [x[:1, :1] for x in drawn(grid, grid)]
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: sizes.append(x.untyped_storage().size()) or x, lambda x: x
    ):
        ATTENTIONS["axial"](
            *tensors, query_grid=grid, key_grid=grid, extent=WINDOW, causal=True, offset=PREDICTED
        )
    numbers = max(sizes) / 8
    assert numbers <= 2 * grid.num_cells * (grid.s + grid.h + grid.w)


def test_a_model_saved_before_there_were_kinds_is_nearby(tmp_path):
    Nuwa(CONFIG).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    older = {name: value for name, value in settings.items() if name not in KINDS}
    assert len(older) == len(settings) - 2
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert Nuwa.from_pretrained(tmp_path).config == CONFIG


@pytest.mark.parametrize("setting", KINDS)
def test_a_saved_model_keeps_its_kinds(tmp_path, setting):
    config = replace(CONFIG, **{setting: "axial"})
    Nuwa(config).save_pretrained(tmp_path)
    assert Nuwa.from_pretrained(tmp_path).config == config
