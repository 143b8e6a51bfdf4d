import math
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.attention import axial_mask, nearby_mask
from nuwa_model.decoder import PREDICTED, slot_grid
from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.generation import Sampling, freeze, generate
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.noise import uniform
from nuwa_model.generation.sampling import draw
from nuwa_model.generation.schedule import plan_passes, ring_frames, seen_slots
from nuwa_model.generation.stepper import Stepper
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import sight_of
from tests.nuwa_model.tiny_model import make_context, make_model

WINDOW = Extent(3, 3, 3)
NEARBY, FULL, AXIAL = (sight_of(kind, WINDOW) for kind in ("nearby", "full", "axial"))


def num_steps(grid, sight):
    """Passes that sample at least one cell."""
    return sum(
        any(c < grid.w for _, _, c in p.slots) for p in plan_passes(grid, sight, "wavefront")
    )


@pytest.mark.parametrize(
    ("grid", "sight", "steps"),
    [
        (Grid(1, 21, 21), NEARBY, 61),
        (Grid(10, 21, 21), NEARBY, 97),
        (Grid(4, 32, 32), NEARBY, 106),
        (Grid(10, 21, 21), sight_of("nearby", Extent(7, 7, 7)), 245),
        (Grid(1, 21, 21), AXIAL, 41),
        (Grid(10, 21, 21), AXIAL, 50),
        (Grid(2, 5, 5), FULL, 50),
    ],
)
def test_a_wave_takes_as_many_steps_as_the_sight_allows(grid, sight, steps):
    assert num_steps(grid, sight) == steps


@pytest.mark.parametrize(
    ("sight", "drawn"),
    [
        pytest.param(NEARBY, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]], id="nearby"),
        pytest.param(AXIAL, [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]], id="axial"),
        pytest.param(FULL, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], id="full"),
    ],
)
def test_waves_run_down_an_image_some_columns_behind_one_another(sight, drawn):
    grid, waves = Grid(1, 3, 4), {}
    for number, step in enumerate(plan_passes(grid, sight, "wavefront")):
        waves.update(dict.fromkeys(step.slots, number))
    assert [[waves[(0, r, c)] for c in range(grid.w)] for r in range(grid.h)] == drawn


GRIDS = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
EXTENTS = st.builds(Extent, *[st.sampled_from([1, 3, 5, 7])] * 3)
KINDS = st.sampled_from(["nearby", "full", "axial"])
SIGHTS = st.builds(sight_of, KINDS, EXTENTS)


@settings(max_examples=60, deadline=None)
@given(grid=GRIDS, sight=SIGHTS)
def test_no_slot_is_read_before_it_is_written_or_after_it_is_overwritten(grid, sight):
    slots, ring, written = slot_grid(grid), {}, set()
    frames = ring_frames(slots, sight.extent)
    for step in plan_passes(grid, sight, "wavefront"):
        for f, r, c in step.slots:
            assert c == 0 or (f, r, c - 1) in written, "its own token was not sampled before"
        for f, r, c in step.slots:
            ring[(f % frames, r, c)] = f
        for slot in step.slots:
            for f, r, c in seen_slots(slot, slots, sight):
                assert ring.get((f % frames, r, c)) == f
        written.update(step.slots)
    assert len(written) == slots.num_cells - 1  # the last one predicts nothing


@settings(max_examples=60, deadline=None)
@given(grid=GRIDS, sight=SIGHTS)
def test_a_slot_is_decoded_from_what_it_sees_in_training(grid, sight):
    slots = slot_grid(grid)
    mask_of = axial_mask if sight.kind == "axial" else partial(nearby_mask, extent=sight.extent)
    mask = mask_of(slots, slots, causal=True, offset=PREDICTED)
    for number, slot in enumerate(product(*map(range, slots))):
        seen = [*seen_slots(slot, slots, sight), slot]
        numbers = [(f * slots.h + r) * slots.w + c for f, r, c in seen]
        assert numbers == mask[number].nonzero().flatten().tolist()


@settings(max_examples=40, deadline=None)
@given(
    grid=GRIDS,
    extent=EXTENTS,
    kind=KINDS,
    is_sketch=st.booleans(),
    is_rotary=st.booleans(),
    guidance=st.sampled_from([1.0, 2.5]),
    temperature=st.sampled_from([0.0, 1.0, 30.0]),
    share_known=st.sampled_from([0.0, 0.4]),
    num_given=st.integers(0, 40),
    seed=st.integers(0, 2**40),
)
def test_waves_draw_the_very_tokens_that_one_cell_at_a_time_draws(
    grid, extent, kind, is_sketch, is_rotary, guidance, temperature, share_known, num_given, seed
):
    model = make_model(grid, extent, is_rotary=is_rotary, decoder_attention=kind)
    context = make_context(model, is_sketch)
    empty = None if guidance == 1 else make_context(model, is_sketch=False, seed=2)
    random = torch.rand(2, *grid, generator=torch.Generator().manual_seed(3))
    known = torch.where(random < share_known, (random * 160).long(), -1)
    known.flatten(1)[:, :num_given] = 7
    tokens = [
        generate(
            model,
            context,
            target_grid=grid,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_p=0.9,
            top_k=40,
            known=known,
            unconditional=empty,
            schedule=schedule,
        ).tokens
        for schedule in ("wavefront", "sequential")
    ]
    assert torch.equal(*tokens)
    assert torch.equal(tokens[0][known >= 0], known[known >= 0])


@pytest.mark.parametrize("is_rotary", [False, True])
@pytest.mark.parametrize("kind", ["nearby", "full", "axial"])
def test_cached_decoding_follows_the_model_s_own_logits(kind, is_rotary):
    grid = Grid(3, 4, 4)
    kinds = {"encoder_attention": kind, "decoder_attention": kind}
    model = make_model(grid, WINDOW, is_rotary=is_rotary, **kinds)
    context = make_context(model, is_sketch=False)
    tokens = generate(model, context, target_grid=grid, temperature=0).tokens
    with torch.no_grad():
        assert torch.equal(model.decoder(tokens, context).argmax(dim=-1), tokens)


@pytest.mark.parametrize("kind", ["nearby", "full", "axial"])
@pytest.mark.parametrize("schedule", ["wavefront", "sequential"])
@pytest.mark.parametrize("is_sketch", [False, True])
@pytest.mark.parametrize("is_rotary", [False, True])
@pytest.mark.parametrize("num_given", [0, 24, 30, 39, 50])
def test_logits_of_every_schedule_are_those_of_training(
    kind, schedule, is_sketch, is_rotary, num_given
):
    grid = Grid(5, 3, 4)
    model = make_model(grid, WINDOW, decoder_attention=kind, is_rotary=is_rotary)
    context, sight = make_context(model, is_sketch), model.config.decoder_sight
    tokens = torch.randint(64, (2, *grid), generator=torch.Generator().manual_seed(4))
    stepper = Stepper(freeze(model), [context], grid)
    found = torch.zeros(2, grid.num_cells, 64).double()
    with torch.inference_mode():
        if num_given:
            stepper.prefill(tokens.flatten(1), num_given)
        for step in plan_passes(grid, sight, schedule, num_given):
            plan = plan_pass(step, grid, sight, tokens.device)
            found[:, plan.cells] = stepper.step(plan, tokens.flatten(1))
        expected = model.decoder(tokens, context).flatten(1, 3)
    free = slice(num_given, None)
    torch.testing.assert_close(found[:, free], expected[:, free], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frozen_model_draws_the_same_again_and_again(dtype):
    grid = Grid(3, 3, 4)
    model = make_model(grid, WINDOW).to(dtype)
    context, frozen = make_context(model, is_sketch=False), freeze(model)
    assert freeze(frozen) is frozen
    expected = generate(model, context, target_grid=grid).tokens
    for _ in range(2):
        assert torch.equal(generate(frozen, context, target_grid=grid).tokens, expected)


@pytest.mark.parametrize("schedule", ["wavefront", "sequential"])
@pytest.mark.parametrize("kind", ["nearby", "axial"])
def test_a_slot_that_nobody_will_read_again_may_be_poisoned(kind, schedule):
    grid = Grid(5, 3, 4)
    model = make_model(grid, WINDOW, decoder_attention=kind)
    context, sight = make_context(model, is_sketch=False), model.config.decoder_sight
    tokens = torch.randint(64, (2, *grid), generator=torch.Generator().manual_seed(4))
    passes, slots = plan_passes(grid, sight, schedule), slot_grid(grid)
    last_reader = {}
    for number, step in enumerate(passes):
        for slot in step.slots:
            last_reader |= dict.fromkeys(seen_slots(slot, slots, sight), number)
    stepper = Stepper(freeze(model), [context], grid)
    found = torch.zeros(2, grid.num_cells, 64).double()
    for ring in stepper.rings:
        ring.keys.fill_(math.nan)
        ring.values.fill_(math.nan)
    holders, num_poisoned = {}, 0
    with torch.inference_mode():
        for number, step in enumerate(passes):
            plan = plan_pass(step, grid, sight, tokens.device)
            found[:, plan.cells] = stepper.step(plan, tokens.flatten(1))
            holders |= zip(plan.own.tolist(), step.slots, strict=True)
            done = [p for p, slot in holders.items() if last_reader.get(slot, -1) <= number]
            num_poisoned += len(done)
            for ring in stepper.rings:
                ring.keys[:, done] = ring.values[:, done] = math.nan
        expected = model.decoder(tokens, context).flatten(1, 3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert num_poisoned > slots.num_cells


def test_given_cells_up_to_the_first_free_one_take_one_pass():
    grid = Grid(3, 4, 4)
    model = make_model(grid, WINDOW)
    known = torch.full((2, *grid), -1)
    known[0, :2], known[1, :1] = 5, 6  # what all of a batch are given counts
    known[1, 1, :2] = 7
    waves = []
    samples = generate(
        model, make_context(model, False), target_grid=grid, known=known, on_wave=waves.append
    )
    assert waves[0].cells.tolist() == list(range(24))
    assert [wave.is_drawn for wave in waves] == [False] + [True] * samples.num_steps
    assert len(waves) < len(plan_passes(grid, NEARBY, "wavefront"))


def test_a_sample_does_not_depend_on_the_batch_that_it_is_drawn_in():
    grid = Grid(2, 3, 3)
    model = make_model(grid, WINDOW)
    context = make_context(model, is_sketch=False)
    both = generate(model, context, target_grid=grid, seed=5).tokens
    alone = Context(context.states[1:], context.grid, context.extent, context.mask[1:])
    one = generate(model, alone, target_grid=grid, seed=5, sample_ids=torch.tensor([1])).tokens
    assert torch.equal(one[0], both[1])


def test_a_target_larger_than_the_model_s_is_refused():
    model = make_model(Grid(1, 2, 2), WINDOW)
    context = make_context(model, is_sketch=False)
    with pytest.raises(GridError, match="larger than the model"):
        generate(model, context, target_grid=Grid(1, 3, 2))


def test_a_layer_that_sees_more_than_the_config_says_is_refused_with_the_reason():
    model = make_model(Grid(1, 2, 2), WINDOW)
    model.decoder.layers[1].extent = Extent(3, 5, 3)
    context = make_context(model, is_sketch=False)
    with pytest.raises(ConfigError, match=r"layer 1 sees .*5.* do not see one another"):
        generate(model, context, target_grid=Grid(1, 2, 2))


def test_known_tokens_of_another_codebook_are_refused():
    model = make_model(Grid(1, 2, 2), WINDOW)
    context = make_context(model, is_sketch=False)
    known = torch.full((2, 1, 2, 2), 64)
    with pytest.raises(GridError, match="codebook ends at 63"):
        generate(model, context, target_grid=Grid(1, 2, 2), known=known)


def test_several_samples_of_a_prompt_lie_one_after_another():
    grid = Grid(2, 3, 3)
    model = make_model(grid, WINDOW)
    context = make_context(model, is_sketch=False)
    asked = {"target_grid": grid, "num_samples": 3, "temperature": 50}
    tokens = generate(model, context, **asked).tokens
    second = Context(context.states[1:], context.grid, context.extent, context.mask[1:])
    alone = generate(model, second, **asked, sample_ids=torch.arange(3, 6)).tokens
    assert torch.equal(tokens[3:], alone)
    assert len({tuple(one.flatten().tolist()) for one in tokens}) == 6


def test_guidance_without_an_unconditional_context_is_refused():
    model = make_model(Grid(1, 2, 2), WINDOW)
    context = make_context(model, is_sketch=False)
    with pytest.raises(ConfigError, match="belong together"):
        generate(model, context, target_grid=Grid(1, 2, 2), guidance=2)


def test_noise_is_uniform_and_different_in_every_cell_sample_and_seed():
    noise = uniform(3, torch.arange(50), torch.arange(400))
    assert noise.unique().numel() == noise.numel()
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.std().item() == pytest.approx(math.sqrt(1 / 12), rel=0.02)
    assert not torch.equal(noise, uniform(3 + 2**33, torch.arange(50), torch.arange(400)))


def test_tokens_are_drawn_as_often_as_their_probability_says():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1, 20_000, 4)
    noise = uniform(0, torch.arange(1), torch.arange(20_000))
    shares = torch.bincount(draw(logits, noise, Sampling()).flatten()) / 20_000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.012)


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=2), {0, 1}),
        (Sampling(top_p=0.6), {0, 1}),
        (Sampling(top_p=0.5), {0}),
        (Sampling(temperature=0), {0}),
        (Sampling(), {0, 1, 2, 3}),
    ],
)
def test_cut_off_tokens_are_never_drawn(sampling, kept):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1, 2_000, 4)
    noise = uniform(0, torch.arange(1), torch.arange(2_000))
    assert set(draw(logits, noise, sampling).unique().tolist()) == kept
