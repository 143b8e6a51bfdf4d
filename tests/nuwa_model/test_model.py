import json
import math
from dataclasses import replace
from textwrap import dedent

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.batch import Batch
from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import DecoderLayer, slot_grid
from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.grid import Extent, Grid
from nuwa_model.losses import next_token_loss
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS, SKETCH_VQGANS, VQGANS
from nuwa_model.tasks import TASKS
from tests.nuwa_model.drawing import draw

CONFIG = replace(NuwaConfig(), target_grid=Grid(2, 4, 5))
GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
TINY = PRESETS["tiny"]
EVERY_TASK = ("T2I", "T2V", "V2V", "S2I", "S2V")


def make_batch(task="T2V", batch=2, config=CONFIG):
    generator = torch.Generator().manual_seed(1)
    grid = config.target_grid if TASKS[task].target == "video" else config.image_grid
    is_text = TASKS[task].condition != "sketch"
    shape = (config.text_length, 1, 1) if is_text else grid
    high = config.text_vocabulary if is_text else config.sketch_codebook_size
    condition = torch.randint(1, high, (batch, *shape), generator=generator)
    return Batch(
        task=TASKS[task],
        target=torch.randint(config.codebook_size, (batch, *grid), generator=generator),
        condition=condition,
        condition_mask=torch.ones(batch, condition[0].numel(), dtype=torch.bool),
    )


@pytest.mark.parametrize("task", EVERY_TASK)
def test_a_model_that_knows_nothing_pays_the_log_of_the_vocabulary(task):
    torch.manual_seed(0)
    batch = make_batch(task, config=TINY)
    loss = next_token_loss(Nuwa(TINY)(batch), batch.target)
    assert loss.item() == pytest.approx(math.log(TINY.codebook_size), rel=0.02)


def test_a_prediction_depends_on_the_whole_causal_neighborhood_and_on_nothing_later():
    torch.manual_seed(0)
    config = replace(CONFIG, decoder_depth=1)
    model, batch = Nuwa(config).double(), make_batch(config=config)
    embedded = []

    def keep(module, args, output):
        output.retain_grad()
        embedded.append(output)

    model.decoder.embedding.register_forward_hook(keep)
    model(batch)[0, 1, 2, 2].pow(2).sum().backward()
    seen = embedded[0].grad[0].abs().sum(dim=-1) > 0
    picture = """\
        .....
        .###.
        .###.
        .###.

        .....
        .###.
        .#...
        ....."""
    assert draw(seen, config.target_grid) == dedent(picture)


def test_a_target_takes_the_positions_of_the_time_at_which_it_begins():
    torch.manual_seed(0)
    model, batch = Nuwa(CONFIG).double(), make_batch("T2I")
    with torch.no_grad():
        at_the_beginning = model(batch)
        later = model(replace(batch, first_frame=torch.tensor([0, 1])))
        model.decoder.position.s[0] = model.decoder.position.s[1]
        moved = model(batch)
    assert torch.equal(later[0], at_the_beginning[0])
    assert torch.equal(later[1], moved[1])
    assert not torch.equal(later[1], at_the_beginning[1])


def test_an_excerpt_teaches_the_times_that_it_shows_to_target_and_sketch_alike():
    torch.manual_seed(0)
    config = replace(CONFIG, target_grid=Grid(6, 2, 2))
    model = Nuwa(config)
    whole = make_batch("S2V", config=config)
    excerpts = replace(
        whole,
        target=whole.target[:, :2],
        condition=whole.condition[:, :2],
        condition_mask=whole.condition_mask[:, :8],
        first_frame=torch.tensor([0, 3]),
    )
    next_token_loss(model(excerpts), excerpts.target).backward()
    for table in (model.decoder.position.s, model.encoder.sketch_position.s):
        assert (table.grad.abs().sum(dim=1) > 0).tolist() == [True, True, False, True, True, False]


def test_no_prediction_depends_on_its_own_or_a_later_token():
    torch.manual_seed(0)
    model, batch = Nuwa(CONFIG).double(), make_batch(batch=1)
    with torch.no_grad():
        before = model(batch).flatten(1, 3)
        for cell in (0, 7, 23, 39):
            other = batch.target.clone().flatten(1)
            other[:, cell:] = (other[:, cell:] + 1) % CONFIG.codebook_size
            changed = model(replace(batch, target=other.reshape(batch.target.shape)))
            torch.testing.assert_close(changed.flatten(1, 3)[:, : cell + 1], before[:, : cell + 1])


def test_the_condition_reaches_every_prediction():
    torch.manual_seed(0)
    model, batch = Nuwa(CONFIG), make_batch()
    other = replace(batch, condition=batch.condition.flip(1))
    with torch.no_grad():
        moved = (model(batch) - model(other)).abs().amax(dim=-1)
    assert (moved > 0).all()


@settings(max_examples=20, deadline=None)
@given(target=GRIDS, sketch=GRIDS, window=st.sampled_from([1, 3, math.inf]))
def test_the_last_column_sees_of_a_sketch_what_the_last_cell_sees(target, sketch, window):
    torch.manual_seed(0)
    layer = DecoderLayer(CONFIG).double().requires_grad_(False)
    layer.self_attention.to_out.weight.zero_()
    slots = slot_grid(target)
    states = torch.randn(2, sketch.num_cells, CONFIG.dim).double()
    context = Context(states, sketch, Extent(window, window, window), None)
    x = torch.randn(2, *slots, CONFIG.dim).double()
    x[:, :, :, -1] = x[:, :, :, -2]
    out = layer(x.flatten(1, 3), slots, context).view(x.shape)
    torch.testing.assert_close(out[:, :, :, -1], out[:, :, :, -2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", EVERY_TASK)
def test_checkpointed_layers_give_the_same_gradients(task):
    torch.manual_seed(0)
    model, batch = Nuwa(CONFIG).double(), make_batch(task)
    kept, computed_again = (gradients(model, batch, is_on) for is_on in (False, True))
    assert kept.keys() == computed_again.keys()
    assert all(torch.equal(kept[name], computed_again[name]) for name in kept)


def gradients(model, batch, is_checkpointed):
    model.zero_grad()
    model.checkpoint_activations(is_checkpointed)
    next_token_loss(model(batch), batch.target).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("task", EVERY_TASK)
def test_one_batch_of_every_task_is_learned_by_heart(task):
    torch.manual_seed(0)
    model, batch = Nuwa(TINY), make_batch(task, config=TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        next_token_loss(model(batch), batch.target).backward()
        optimizer.step()
    with torch.no_grad():
        assert next_token_loss(model(batch), batch.target).item() < 0.05


@pytest.mark.parametrize("given_frames", [0, 1, 2])
def test_nothing_is_learned_of_given_frames_and_all_of_the_others(given_frames):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 2, 7, dtype=torch.float64, requires_grad=True)
    target = torch.randint(7, (2, 3, 2, 2))
    loss = next_token_loss(logits, target, given_frames)
    loss.backward()
    is_learned = logits.grad.abs().sum(dim=(0, 2, 3, 4)) > 0
    assert is_learned.tolist() == [frame >= given_frames for frame in range(3)]
    per_frame = torch.stack(
        [next_token_loss(logits[:, [frame]], target[:, [frame]]) for frame in range(3)]
    )
    torch.testing.assert_close(loss, per_frame[given_frames:].mean())


def test_the_paper_s_model_has_870_million_parameters_by_its_convention():
    with torch.device("meta"):
        model = Nuwa(PRESETS["nuwa_870m"])
    assert model.num_parameters() == pytest.approx(870e6, rel=0.01)


def test_every_preset_s_parts_fit_together():
    assert PRESETS.keys() == VQGANS.keys() == SKETCH_VQGANS.keys()
    for name, config in PRESETS.items():
        assert config.codebook_size == VQGANS[name].codebook_size
        assert config.codebook_dim == VQGANS[name].codebook_dim
        assert config.sketch_codebook_size == SKETCH_VQGANS[name].codebook_size
        assert config.sketch_codebook_dim == SKETCH_VQGANS[name].codebook_dim


def test_a_saved_model_gives_the_same_logits(tmp_path):
    torch.manual_seed(0)
    model, batch = Nuwa(CONFIG), make_batch()
    model.set_codebooks(torch.randn(CONFIG.codebook_size, CONFIG.codebook_dim))
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(Nuwa.from_pretrained(tmp_path)(batch), model(batch))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(WeightsError, match="holds no NÜWA model"):
        Nuwa.from_pretrained(tmp_path)


def test_a_setting_that_this_version_does_not_know_is_not_passed_over(tmp_path):
    Nuwa(CONFIG).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "num_headz": 3}))
    with pytest.raises(WeightsError, match=r"config\.json sets num_headz, which"):
        Nuwa.from_pretrained(tmp_path)


def test_a_codebook_of_another_size_is_refused_with_the_setting_to_change():
    with pytest.raises(WeightsError, match=r"model\.codebook_size"):
        Nuwa(CONFIG).set_codebooks(torch.randn(3, CONFIG.codebook_dim))


def test_heads_that_do_not_divide_the_width_are_refused_with_the_nearest_width():
    with pytest.raises(ConfigError, match="the nearest that is, is 64"):
        NuwaConfig(dim=65)
