from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.video.frames import read_frames
from pipelines.video.window import Window, cover
from tests.pipelines.video.media import clouds, make, psnr

SIDES = st.integers(1, 4000)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        pytest.param(100, 100, Window(64, 64, 0, 0, 64), id="square"),
        pytest.param(1280, 720, Window(114, 64, 25, 0, 64), id="wide"),
        pytest.param(720, 1280, Window(64, 114, 0, 25, 64), id="tall"),
        pytest.param(5, 5, Window(64, 64, 0, 0, 64), id="smaller than a clip"),
    ],
)
def test_the_window_covers_the_square_around_the_middle(width, height, expected):
    assert cover(width, height, 64) == expected


@given(width=SIDES, height=SIDES, size=st.integers(1, 512), aspect=st.fractions(1 / 8, 8))
def test_no_window_leaves_its_picture(width, height, size, aspect):
    window = cover(width, height, size, aspect)
    assert min(window.width, window.height) == size
    assert 0 <= window.left <= window.left + size <= window.width
    assert 0 <= window.top <= window.top + size <= window.height


def test_pixels_twice_as_wide_as_high_count_twice():
    assert cover(100, 100, 64, Fraction(2)) == cover(200, 100, 64)


@pytest.mark.parametrize("shape", [(96, 54), (54, 96), (64, 64), (130, 46), (50, 34)])
@pytest.mark.parametrize("aspect", ["1/1", "4/3", "8/9"])
def test_ffmpeg_cuts_the_window_that_is_computed(tmp_path, shape, aspect):
    picture = Image.fromarray(clouds(*shape))
    picture.save(tmp_path / "p.png")
    path = make(
        tmp_path / "v.mkv", "-i", tmp_path / "p.png", "-vf", f"setsar={aspect}", "-c:v", "ffv1"
    )
    frames = []
    video = read_frames(str(path), size=33, deadline_s=30, take=frames.append)
    window = cover(*shape, 33, Fraction(aspect))
    assert video.window == window
    by_pillow = picture.resize((33, 33), Image.Resampling.BICUBIC, box=window.box(*shape))
    assert psnr(frames[0], np.asarray(by_pillow)) > 32
