import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nuwa_model.errors import ConfigError
from nuwa_model.tasks import get_task
from pipelines.config import ClipsConfig, GenerationConfig
from pipelines.datasets.base import SourceRef
from pipelines.generation.given import free_tokens, read_given
from pipelines.generation.wanted import Wanted
from pipelines.video.clips import decode_source
from tests.pipelines.generation.small_export import FACTOR, NUM_FRAMES, OUTLINE, SIZE
from tests.pipelines.video.media import clouds, counting

BLOCKS = SIZE // FACTOR


def wanted(task, **words):
    files = {name: str(word) for name, word in words.items() if name != "given_frames"}
    numbers = GenerationConfig(given_frames=words.get("given_frames", 1))
    return Wanted(task=get_task(task), out=Path("x.png"), settings=numbers, **files)


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def picture(tmp_path):
    return save(tmp_path / "picture.png", clouds(40, 30))


def decoded(path, kind):
    """Frames of the first clip that data preparation makes of a file."""
    config = ClipsConfig(size=SIZE, num_frames=NUM_FRAMES, frame_format="png")
    rows = decode_source(SourceRef(str(path), kind), path, config, dataset="x").rows
    return np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in rows[0]["frames"]])


def test_a_picture_is_fitted_as_data_preparation_does_it(picture):
    found = read_given(wanted("I2I", image=picture), OUTLINE)
    assert np.array_equal(found.pixels, decoded(picture, "image"))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rate", [2, 30])
def test_the_first_frames_of_a_video_are_those_of_its_first_clip(tmp_path, count, rate):
    video = counting(tmp_path / "v.mp4", rate=rate, seconds=2)
    found = read_given(wanted("V2V", video=video, given_frames=count), OUTLINE)
    assert np.array_equal(found.pixels[:count], decoded(video, "video")[:count])
    assert found.is_free.all(axis=(1, 2)).tolist() == [False] * count + [True] * (3 - count)


def test_a_picture_can_be_the_first_frame(picture):
    found = read_given(wanted("TV2V", image=picture), OUTLINE)
    assert np.array_equal(found.pixels[:1], decoded(picture, "image"))
    assert found.is_free.any(axis=(1, 2)).tolist() == [False, True, True]


def test_without_a_mask_the_upper_half_is_given(picture):
    is_free = read_given(wanted("I2I", image=picture), OUTLINE).is_free[0]
    assert not is_free[: SIZE // 2].any()
    assert is_free[SIZE // 2 :].all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), share=st.sampled_from([0, 0.01, 0.1, 1]))
def test_a_token_is_free_if_and_only_if_the_mask_touches_its_block(seed, share):
    is_free = np.random.default_rng(seed).random((1, SIZE, SIZE)) < share
    tokens = free_tokens(is_free, FACTOR)
    for row, column in product(range(BLOCKS), repeat=2):
        block = is_free[0, row * FACTOR :, column * FACTOR :][:FACTOR, :FACTOR]
        assert tokens[0, row, column] == block.any()


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_no_given_pixel_holds_anything_of_what_the_mask_hides(tmp_path_factory, data):
    height, width = data.draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))
    folder = tmp_path_factory.mktemp("masks")
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + 3, left : left + 3] = 255
    save(folder / "mask.png", mask)
    found = []
    for hidden in (0, 255):
        pixels = clouds(width, height)
        pixels[mask > 0] = hidden
        save(folder / "picture.png", pixels)
        asked = wanted("I2I", image=folder / "picture.png", mask=folder / "mask.png")
        try:
            found.append(read_given(asked, OUTLINE))
        except ConfigError:  # nothing left to paint, or nothing to be seen
            return
    one, two = found
    assert np.array_equal(one.is_free, two.is_free)
    assert np.array_equal(one.pixels[~one.is_free], two.pixels[~one.is_free])


def test_a_mask_of_the_models_size_is_taken_pixel_by_pixel(tmp_path):
    picture = save(tmp_path / "p.png", clouds(SIZE, SIZE))
    spots = np.zeros((SIZE, SIZE), bool)
    spots[3, 5] = spots[9:12, 0:2] = True
    see_through = np.zeros((SIZE, SIZE, 4), np.uint8)
    see_through[..., 0] = 255  # red, but only opaque where there are spots
    see_through[..., 3] = spots * 255
    deep = Image.fromarray(spots.astype(np.uint16))
    masks = {
        "grey": Image.fromarray(spots.astype(np.uint8)),
        "bits": Image.fromarray(spots),
        "see_through": Image.fromarray(see_through),
        "deep": deep,
    }
    for name, mask in masks.items():
        mask.save(tmp_path / f"{name}.png")
        asked = wanted("I2I", image=picture, mask=tmp_path / f"{name}.png")
        assert np.array_equal(read_given(asked, OUTLINE).is_free[0], spots), name


def test_label_maps_are_read_for_every_frame(tmp_path):
    for number in range(NUM_FRAMES):
        save(tmp_path / f"{number}.png", np.full((20, 30), number, np.uint8))
    labels = read_given(wanted("S2V", sketch=tmp_path), OUTLINE).labels
    assert [set(np.unique(frame)) for frame in labels] == [{0}, {1}, {2}]
    unknown = save(tmp_path / "unknown.png", np.full((20, 30), 255, np.uint8))
    assert (read_given(wanted("S2I", sketch=unknown), OUTLINE).labels == 255).all()


def files(folder):
    """Every kind of file that somebody might give by mistake."""
    save(folder / "p.png", clouds(40, 30))
    black = np.zeros((30, 40), np.uint8)
    for name, value in (("black", 0), ("white", 255)):
        save(folder / f"{name}.png", black + np.uint8(value))
    almost = np.full((30, 40), 255, np.uint8)
    almost[15, 20] = 0
    save(folder / "almost.png", almost)
    save(folder / "other.png", black[:20])
    save(folder / "large.png", np.full((30, 40), 7, np.uint8))
    save(folder / "masked.jpg", black)
    left = black.copy()
    left[:, :1] = 255  # outside of the middle square
    save(folder / "left.png", left)
    (folder / "text.txt").write_text("no picture")
    (folder / "text.mp4").write_text("no video")
    counting(folder / "short.mp4", rate=10, seconds=0.3)
    (folder / "two").mkdir()
    for number in range(2):
        save(folder / "two" / f"{number}.png", black)


MISTAKES = [
    ("I2I", {"image": "none.png"}, "--image .*none.png names no file of this machine"),
    ("I2I", {"image": "two"}, "--image .*two is no file of this machine"),
    ("I2I", {"image": "text.txt"}, "--image .*cannot be used: not a picture of JPEG"),
    ("I2I", {"image": "short.mp4"}, "--image .*cannot be used: not a picture of JPEG"),
    ("I2I", {"image": "p.png", "mask": "black.png"}, "paints nothing of the square"),
    ("I2I", {"image": "p.png", "mask": "left.png"}, "paints nothing of the square"),
    ("I2I", {"image": "p.png", "mask": "white.png"}, r"touches all 4×4 tokens"),
    ("I2I", {"image": "p.png", "mask": "almost.png"}, r"touches all 4×4 tokens"),
    ("I2I", {"image": "p.png", "mask": "other.png"}, "it has 40×20 pixels, its picture 40×30"),
    ("I2I", {"image": "p.png", "mask": "masked.jpg"}, "not a picture of PNG, BMP, TIFF"),
    ("V2V", {"video": "text.mp4"}, "--video .*text.mp4 cannot be used: it is no video"),
    ("V2V", {"video": "p.png"}, "it is no video of a kind that is read"),
    ("V2V", {"video": "short.mp4", "given_frames": 2}, "has 1 of the 2 frames, at 2.5 a second"),
    ("V2V", {"video": "short.mp4", "given_frames": 3}, "give at most 2"),
    ("V2V", {"image": "p.png", "given_frames": 2}, "is one frame"),
    ("S2I", {"sketch": "p.png"}, "--sketch .*pixels of kind RGB"),
    ("S2I", {"sketch": "two"}, "--sketch .*two is no file"),
    ("S2I", {"sketch": "large.png"}, "has the label 7, but small knows those below 4"),
    ("S2V", {"sketch": "black.png"}, "--sketch .*black.png is no folder"),
    ("S2V", {"sketch": "two"}, "has 2 PNG files, but the video has 3 frames"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    files(folder)
    return folder


@pytest.mark.parametrize(("task", "words", "told"), MISTAKES)
def test_a_mistake_is_told_in_one_line(folder, task, words, told):
    words = {k: folder / v if isinstance(v, str) else v for k, v in words.items()}
    with pytest.raises(ConfigError, match=told) as caught:
        read_given(wanted(task, **words), OUTLINE)
    assert "\n" not in str(caught.value)


def test_a_model_without_sketches_is_named(folder):
    with pytest.raises(ConfigError, match="small was trained without sketches"):
        read_given(wanted("S2I", sketch=folder / "black.png"), replace(OUTLINE, num_classes=0))
