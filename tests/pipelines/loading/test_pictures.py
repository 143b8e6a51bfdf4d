"""Pictures of the clips table, as large as they are kept and smaller."""

import numpy as np
import pytest

from nuwa_model.errors import ConfigError
from pipelines.loading.pictures import Pictures, average_down
from tests.pipelines.drawn_clips import fill


@pytest.mark.parametrize("times", [1, 2, 3])
def test_averaging_down_is_the_exact_mean_with_halves_rounded_up(times):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    side = 12 // times
    squares = pixels.astype(float).reshape(4, side, times, side, times, 3)
    expected = np.floor(squares.mean((2, 4)) + 0.5)
    assert np.array_equal(average_down(pixels, times), expected)


def test_a_square_of_one_color_keeps_it():
    color = np.arange(256, dtype=np.uint8)[:, None, None, None]
    squares = np.broadcast_to(color, (256, 2, 2, 3))
    assert np.array_equal(average_down(squares, 2), color.repeat(3, axis=3))


def test_pictures_are_averaged_down_when_they_are_read(tmp_path):
    fill(tmp_path)
    places = np.arange(12)
    whole = Pictures.load(str(tmp_path), "frames", "train", size=32)
    halves = Pictures.load(str(tmp_path), "frames", "train", size=32, shrink=2)
    assert len(halves) == len(whole) == 12
    assert np.array_equal(halves.at(places), average_down(whole.at(places), 2))


def test_the_size_that_is_checked_is_that_of_the_clips(tmp_path):
    fill(tmp_path, size=16)
    halves = Pictures.load(str(tmp_path), "frames", "train", size=32, shrink=2)
    with pytest.raises(ConfigError, match=r"16×16 pixels, but clips\.size is 32"):
        halves.at(np.arange(1))
