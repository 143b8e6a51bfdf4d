from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nuwa_model.errors import ConfigError
from nuwa_model.tasks import get_task
from pipelines.config import GenerationConfig
from pipelines.generation import painter
from pipelines.generation.given import Given, free_tokens, read_given
from pipelines.generation.painter import choose_device, cut_texts, known_tokens, paint
from pipelines.generation.wanted import Wanted
from tests.pipelines.generation.small_export import FACTOR, OUTLINE, SIZE
from tests.pipelines.video.media import clouds


def wanted(task, *, settings=None, **words):
    settings = GenerationConfig(**{"num_samples": 1, **(settings or {})})
    return Wanted(task=get_task(task), out=Path("x.png"), settings=settings, **words)


def painted(export, asked):
    return np.stack(list(paint(export, asked, read_given(asked, OUTLINE))))


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(clouds(SIZE, SIZE)).save(tmp_path / "p.png")
    return str(tmp_path / "p.png")


@pytest.fixture
def mask(tmp_path):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[6:13, 3:14] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    return str(tmp_path / "m.png")


@pytest.mark.parametrize(("task", "texts"), [("I2I", ()), ("TI2I", ("a red circle",))])
def test_outside_the_mask_the_picture_stays(export, picture, mask, task, texts):
    frames = painted(export, wanted(task, texts=texts, image=picture, mask=mask))[0, 0]
    is_free = np.asarray(Image.open(mask)) > 0
    before = np.asarray(Image.open(picture))
    assert np.array_equal(frames[~is_free], before[~is_free])
    assert (frames[is_free] != before[is_free]).mean() > 0.5


@pytest.mark.parametrize(("task", "texts"), [("V2V", ()), ("TV2V", ("a red circle",))])
def test_a_given_frame_stays(export, picture, task, texts):
    asked = wanted(task, texts=texts, image=picture)
    frames = painted(export, asked)[0]
    assert np.array_equal(frames[0], np.asarray(Image.open(picture)))
    assert frames[1:].std() > 0


def test_known_tokens_are_those_of_the_picture_where_nothing_is_hidden(export):
    pixels, is_free = clouds(SIZE, SIZE)[None], np.zeros((1, SIZE, SIZE), bool)
    is_free[0, 9, 9] = True
    known = known_tokens(export, Given(pixels=pixels, is_free=is_free))
    free = torch.tensor(free_tokens(is_free, FACTOR))
    assert (known[free] == -1).all()
    assert (known[~free] >= 0).all()
    hidden = pixels.copy()
    hidden[0, 9, 9] = 0
    assert torch.equal(known, known_tokens(export, Given(pixels=hidden, is_free=is_free)))


def test_a_seed_draws_the_same_again_and_so_does_every_schedule(export):
    asked = wanted("T2V", texts=("a red circle",), settings={"seed": 3, "num_samples": 2})
    first = painted(export, asked)
    assert np.array_equal(first, painted(export, asked))
    assert not np.array_equal(first[0], first[1])
    settings = replace(asked.settings, schedule="sequential")
    assert np.array_equal(first, painted(export, replace(asked, settings=settings)))
    settings = replace(asked.settings, seed=4)
    assert not np.array_equal(first, painted(export, replace(asked, settings=settings)))


def test_samples_of_a_text_do_not_depend_on_what_else_is_asked_for(export, monkeypatch):
    asked = wanted("T2I", texts=("a red circle", "a circle"), settings={"num_samples": 3})
    together = painted(export, asked)
    assert asked.samples[3] == ("a circle", 0)
    alone = painted(export, replace(asked, texts=("a circle",)))
    assert np.array_equal(together[3:], alone)
    monkeypatch.setattr(painter, "AT_ONCE", 4)
    assert np.array_equal(together, painted(export, asked))


def test_sketches_are_drawn(export, tmp_path):
    sketches = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((SIZE, SIZE), number, np.uint8)).save(path)
        sketches.append(painted(export, wanted("S2I", sketch=str(path))))
    assert sketches[0].shape == (1, 1, SIZE, SIZE, 3)
    assert not np.array_equal(*sketches)


@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_a_video_is_as_long_as_asked_and_begins_alike(export, picture, num_frames):
    for task, more in (("T2V", {"texts": ("a red circle",)}), ("V2V", {"image": picture})):
        asked = wanted(task, num_frames=max(num_frames, 1 + (task == "V2V")), **more)
        frames = painted(export, asked)[0]
        usual = painted(export, replace(asked, num_frames=0))[0]
        assert len(frames) == asked.num_frames
        assert np.array_equal(frames[:3], usual[: len(frames)])


def test_several_candidates_of_a_video_of_several_windows_are_refused(export):
    settings = {"num_candidates": {"T2V": 2}}
    asked = wanted("T2V", texts=("a red circle",), num_frames=7, settings=settings)
    with pytest.raises(ConfigError, match="in several windows, and not ranked: draw 1"):
        painted(export, asked)


def test_every_pass_is_told(export):
    waves = []
    asked = wanted("T2V", texts=("a red circle",))
    list(paint(export, asked, read_given(asked, OUTLINE), waves.append))
    assert [wave.number for wave in waves] == list(range(1, waves[0].of + 1))


def test_a_text_that_is_too_long_is_told(export):
    long = "a red circle and a blue square"
    ((text, read),) = cut_texts(export, ["a red circle", long])
    assert text == long
    assert long.startswith(read)


def test_a_device_that_is_not_there_is_refused_in_one_line():
    for name in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match=f"--device {name} cannot be used") as caught:
            choose_device(name)
        assert "\n" not in str(caught.value)
    assert choose_device("cpu") == "cpu"
