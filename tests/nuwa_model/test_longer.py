import pytest
import torch

from nuwa_model.errors import GridError
from nuwa_model.generation import Request, Sampling, generate, generate_frames
from nuwa_model.generation.longer import generate_long
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_context, make_model

GRID = Grid(4, 3, 3)


def make(is_sketch=False, grid=GRID):
    model = make_model(grid, Extent(3, 3, 3))
    return model, make_context(model, is_sketch)


def decode(model, context, num_frames, grid=GRID, known=None, **settings):
    asked = Request(target_grid=grid, sampling=Sampling(**settings), known=known)
    return torch.stack(list(generate_frames(model, context, asked, num_frames=num_frames)), dim=1)


@pytest.mark.parametrize("num_frames", [1, 3, 4])
def test_a_video_no_longer_than_a_window_is_the_one_that_generate_draws(num_frames):
    model, context = make()
    grid = GRID._replace(s=num_frames)
    expected = generate(model, context, target_grid=grid, seed=3, temperature=30).tokens
    assert torch.equal(decode(model, context, num_frames, seed=3, temperature=30), expected)


@pytest.mark.parametrize("num_frames", [5, 6, 7, 11])
def test_every_window_goes_on_from_the_last_half_of_the_one_before(num_frames):
    model, context = make()
    tokens = decode(model, context, num_frames, temperature=0)
    assert tokens.shape == (2, num_frames, 3, 3)
    for first in range(2, num_frames - 2, 2):
        window = tokens[:, first : first + 4]
        known = window.clone()
        known[:, 2:] = -1
        grid = GRID._replace(s=window.shape[1])
        expected = generate(model, context, target_grid=grid, known=known, temperature=0).tokens
        assert torch.equal(window, expected)


def test_no_two_windows_draw_with_the_same_noise():
    model, context = make()
    with torch.no_grad():
        model.decoder.head.project_out.weight.zero_()  # all tokens as likely in every cell
    tokens = decode(model, context, 12).flatten(2)
    assert len({tuple(frame.tolist()) for frame in tokens[0]}) == 12


def test_given_first_frames_stay_as_they_are():
    model, context = make()
    known = torch.full((2, *GRID), -1)
    known[:, :1] = 5
    tokens = decode(model, context, 9, known=known)
    assert (tokens[:, 0] == 5).all()
    assert tokens.shape[1] == 9


def test_a_frame_is_handed_on_before_the_next_window_is_begun():
    model, context = make()
    asked = Request(target_grid=GRID, sampling=Sampling())
    frames = generate_frames(model, context, asked, num_frames=10**9)
    assert next(frames).shape == (2, 3, 3)
    frames.close()


def test_the_passes_of_all_windows_are_counted_up_to_the_last():
    model, context = make()
    waves = []
    asked = Request(target_grid=GRID, sampling=Sampling())
    made = generate_long(model, context, asked, num_frames=9, on_wave=waves.append)
    shares = [wave.number / wave.of for wave in waves]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert made.num_steps == sum(wave.is_drawn for wave in waves)
    assert made.tokens.shape == (2, 9, 3, 3)


@pytest.mark.parametrize(
    ("is_sketch", "grid", "num_frames", "told"),
    [
        (False, GRID, 0, "at least 1"),
        (False, Grid(1, 3, 3), 2, "one frame"),
        (True, GRID, 5, "at most 4"),
    ],
)
def test_a_length_that_cannot_be_is_refused(is_sketch, grid, num_frames, told):
    model, context = make(is_sketch, grid)
    with pytest.raises(GridError, match=told):
        decode(model, context, num_frames, grid)
