"""Both schedules draw the same tokens at the sizes that people use, not only at tiny ones."""

from dataclasses import replace

import pytest
import torch

from nuwa_model.generation import freeze, generate
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.generation.stepper import Stepper
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from nuwa_model.tasks import TASKS

SCHEDULES = ("wavefront", "sequential")
SMALL = Grid(3, 4, 4)


def slow(preset):
    return pytest.param(preset, marks=pytest.mark.slow)


def made(preset, dtype, **changes):
    torch.manual_seed(0)
    config = replace(PRESETS[preset], text_vocabulary=64, **changes)
    model = Nuwa(config).to(dtype).eval()
    with torch.no_grad():
        model.decoder.head.project_out.weight.mul_(30)  # some tokens are likelier than others
    return model


def condition(model, task):
    config = model.config
    grid = config.target_grid if task.target == "video" else config.image_grid
    is_sketch = task.condition == "sketch"
    shape = grid if is_sketch else config.text_grid
    tokens = torch.randint(30, (1, *shape), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, shape.num_cells, dtype=torch.bool)
    with torch.no_grad():
        return grid, model.encoder(tokens, mask, is_sketch=is_sketch)


def given(task, grid):
    """What a task knows before: a first frame, or a picture with a hole in its middle."""
    known = torch.full((1, *grid), -1)
    if task.given == "first_frames":
        known[:, 0] = 3
    if task.given == "outside_mask":
        known.fill_(5)
        known[:, :, 1 : grid.h - 1, 1 : grid.w - 1] = -1
    return known


def drawn_by_both(model, task):
    grid, context = condition(model, task)
    return [
        generate(
            model, context, target_grid=grid, known=given(task, grid), schedule=schedule, seed=4
        ).tokens
        for schedule in SCHEDULES
    ]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_whole_grid_of_the_smallest_model_is_the_same_for_every_task(task):
    assert torch.equal(*drawn_by_both(made("tiny", torch.float64), task))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["T2V", "S2V"])
def test_a_whole_grid_of_the_demo_s_model_is_the_same(task):
    assert torch.equal(*drawn_by_both(made("demo", torch.float64), TASKS[task]))


@pytest.mark.parametrize("preset", ["base", slow("nuwa_870m"), slow("nuwa_256")])
def test_two_layers_of_real_width_draw_the_same(preset):
    shape = {"encoder_depth": 1, "decoder_depth": 2, "target_grid": SMALL, "codebook_size": 512}
    model = made(preset, torch.float64, **shape)
    assert torch.equal(*drawn_by_both(model, TASKS["T2V"]))


@pytest.mark.parametrize("preset", ["tiny", slow("demo")])
def test_logits_of_both_schedules_agree_in_float32(preset):
    model = made(preset, torch.float32)
    model.decoder.head.project_out.weight.data.div_(30)
    grid, context = condition(model, TASKS["T2V"])
    tokens = torch.randint(60, (1, grid.num_cells), generator=torch.Generator().manual_seed(2))
    sight, found = model.config.decoder_sight, []
    for schedule in SCHEDULES:
        stepper = Stepper(freeze(model), [context], grid)
        logits = torch.zeros(1, grid.num_cells, model.config.codebook_size)
        with torch.inference_mode():
            for step in plan_passes(grid, sight, schedule):
                plan = plan_pass(step, grid, sight, tokens.device)
                logits[:, plan.cells] = stepper.step(plan, tokens)
        found.append(logits)
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)
