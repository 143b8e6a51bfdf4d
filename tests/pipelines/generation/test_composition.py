import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.generation.composition import compose, continued, opacity

SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))
FEATHERS = st.integers(0, 4)


@st.composite
def masked(draw):
    """Two pictures, and where the first is free."""
    shape = (2, *draw(SIDES))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = [torch.tensor(random.integers(0, 256, (*shape, 3), np.uint8)) for _ in range(2)]
    return *pixels, torch.tensor(draw(arrays(bool, shape)))


@settings(max_examples=30, deadline=None)
@given(masked(), FEATHERS)
def test_what_is_given_is_kept_bit_for_bit(pictures, feather):
    pixels, generated, is_free = pictures
    composed = compose(generated[None], pixels, is_free, feather=feather)[0]
    assert torch.equal(composed[~is_free], pixels[~is_free])
    assert torch.equal(continued(pixels, is_free)[~is_free], pixels[~is_free])


@settings(max_examples=30, deadline=None)
@given(masked(), FEATHERS)
def test_what_lay_under_the_mask_has_no_say(pictures, feather):
    pixels, other, is_free = pictures
    hidden = torch.where(is_free[..., None], other, pixels)
    assert torch.equal(continued(pixels, is_free), continued(hidden, is_free))
    one, two = (compose(other[None], x, is_free, feather=feather) for x in (pixels, hidden))
    assert torch.equal(one, two)


def test_an_edge_fades_on_its_free_side_only():
    is_free = torch.zeros(1, 7, 9, dtype=torch.bool)
    is_free[0, 2:, 2:] = True  # as far as the border of the picture, which is no edge
    drawn = ["".join(str(round(3 * x)) for x in row) for row in opacity(is_free, 2)[0].tolist()]
    assert drawn == [
        "000000000",
        "000000000",
        "001111111",
        "001222222",
        "001233333",
        "001233333",
        "001233333",
    ]


@pytest.mark.parametrize("row", [15, 16, 17, 20, 24])
def test_an_edge_is_continued_by_what_is_next_to_it(row):
    pixels = torch.full((1, 32, 32, 3), 240, dtype=torch.uint8)
    pixels[0, 2:10, 12:20] = torch.tensor([220, 20, 20], dtype=torch.uint8)  # far from the edge
    is_free = torch.zeros(1, 32, 32, dtype=torch.bool)
    is_free[:, row:] = True
    beyond = continued(pixels, is_free)[0, row : row + 2].int()
    assert (240 - beyond).abs().max() <= 4


def test_without_a_given_pixel_a_frame_is_as_generated():
    generated = torch.arange(2 * 3 * 5 * 3, dtype=torch.uint8).reshape(1, 2, 3, 5, 3)
    is_free = torch.ones(2, 3, 5, dtype=torch.bool)
    is_free[0] = False
    composed = compose(generated, torch.zeros_like(generated[0]), is_free, feather=2)[0]
    assert torch.equal(composed[1], generated[0, 1])
    assert not composed[0].any()


def test_a_plain_color_goes_on_into_a_hole():
    pixels = torch.full((1, 13, 13, 3), 200, dtype=torch.uint8)
    is_free = torch.zeros(1, 13, 13, dtype=torch.bool)
    is_free[:, 3:11, 2:] = True
    hidden = pixels.masked_fill(is_free[..., None], 0)
    assert torch.equal(continued(hidden, is_free), pixels)
