import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuwa_model.errors import ConfigError
from nuwa_model.tasks import get_task
from pipelines.config import GenerationConfig
from pipelines.errors import StorageError
from pipelines.generation.sample_files import (
    PNG_KEY,
    Place,
    describe,
    places,
    refuse_odd_size,
    write_sample,
)
from pipelines.generation.wanted import Wanted
from pipelines.video.ffmpeg import binary
from tests.pipelines.generation.small_export import OUTLINE
from tests.pipelines.video.media import clouds

VIDEO = np.stack([np.roll(clouds(32, 32), 5 * number, axis=1) for number in range(4)])
TEXT = 'a "red" círculo; 赤\n=# \\'
ABOUT = {"text": TEXT, "seed": 7}


def wanted(out, task="T2V", *, count=1, texts=("a circle",)):
    settings = GenerationConfig(num_samples=count)
    return Wanted(task=get_task(task), out=Path(out), texts=texts, settings=settings)


def place(out, task="T2V"):
    (found,) = places(wanted(out, task), overwrite=False)
    return found


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def told_by_ffmpeg(path, *arguments):
    command = [binary(), "-hide_banner", "-i", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_picture_is_kept_bit_for_bit_and_says_how_it_was_made(tmp_path):
    write_sample(place(tmp_path / "x.png", "T2I"), VIDEO[:1], ABOUT)
    with Image.open(tmp_path / "x.png") as picture:
        assert np.array_equal(np.asarray(picture), VIDEO[0])
        assert json.loads(picture.info[PNG_KEY]) == ABOUT
    assert names_in(tmp_path) == ["x.png"]


def test_a_long_video_has_a_row_of_the_strip_for_each_window(tmp_path):
    write_sample(place(tmp_path / "x.png"), VIDEO, ABOUT, window=3)
    with Image.open(tmp_path / "x.png") as picture:
        strip = np.asarray(picture)
    assert strip.shape == (64, 96, 3)
    assert np.array_equal(strip[:32], np.concatenate(VIDEO[:3], axis=1))
    assert np.array_equal(strip[32:, :32], VIDEO[3])
    assert not strip[32:, 32:].any()


def test_a_video_has_two_and_a_half_frames_a_second_and_a_strip_beside_it(tmp_path):
    write_sample(place(tmp_path / "x.mp4"), VIDEO, ABOUT)
    said = told_by_ffmpeg(tmp_path / "x.mp4")
    assert re.search(r"\b2\.50? fps\b", said.stderr)
    assert "Duration: 00:00:01.60" in said.stderr
    comment = told_by_ffmpeg(tmp_path / "x.mp4", "-f", "ffmetadata", "-").stdout
    line = next(x for x in comment.splitlines() if x.startswith("comment="))
    assert json.loads(re.sub(r"\\(.)", r"\1", line.removeprefix("comment="))) == ABOUT
    strip = np.asarray(Image.open(tmp_path / "x-strip.png"))
    assert np.array_equal(strip, np.concatenate(list(VIDEO), axis=1))


def test_a_gif_has_two_and_a_half_frames_a_second_and_goes_round(tmp_path):
    write_sample(place(tmp_path / "x.GIF"), VIDEO, ABOUT)
    with Image.open(tmp_path / "x.GIF") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, 400, 0)
        assert json.loads(gif.info["comment"]) == ABOUT
        gif.seek(3)
        error = np.abs(np.asarray(gif.convert("RGB")).astype(int) - VIDEO[3]).mean()
    assert error < 8
    assert (tmp_path / "x-strip.png").exists()


def test_a_video_in_a_png_is_its_strip_alone(tmp_path):
    write_sample(place(tmp_path / "x.png"), VIDEO, ABOUT)
    assert np.asarray(Image.open(tmp_path / "x.png")).shape == (32, 128, 3)
    assert names_in(tmp_path) == ["x.png"]


def test_several_samples_are_numbered_beside_the_name(tmp_path):
    two = places(wanted(tmp_path / "a.b.gif", count=2), overwrite=False)
    assert [p.path.name for p in two] == ["a.b-0.gif", "a.b-1.gif"]
    many = places(wanted(tmp_path / "x.mp4", count=4, texts=("a", "b", "c")), overwrite=False)
    assert [p.strip.name for p in many][::11] == ["x-00-strip.png", "x-11-strip.png"]


def test_what_a_file_says_is_what_decides_its_pixels():
    asked = wanted("x.mp4", "TV2V")
    told = describe(asked, OUTLINE, "a circle", 3)
    assert told == {
        "made_by": "nuwa", "model": "small", "fingerprints": {"vqgan": "0123"}, "task": "TV2V",
        "text": "a circle", "sample": 3, "seed": 0, "temperature": 1.0, "top_k": 0, "top_p": 0.95,
        "guidance": 2.0, "given_frames": 1, "num_candidates": 1,
    }  # fmt: skip
    assert "guidance" not in describe(wanted("x.png", "S2I", texts=()), OUTLINE, "", 0)


def test_a_file_that_is_there_is_kept_unless_it_may_be_overwritten(tmp_path):
    for name in ("x.mp4", "x-strip.png"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=f"{name} is there already"):
            place(tmp_path / "x.mp4")
        assert len(places(wanted(tmp_path / "x.mp4"), overwrite=True)) == 1
        (tmp_path / name).unlink()


def test_a_file_that_was_given_is_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = replace(wanted("p.png", "I2I", texts=()), image=str(tmp_path / "p.png"))
    with pytest.raises(ConfigError, match="is one of the files given"):
        places(asked, overwrite=True)


@pytest.mark.parametrize(
    ("out", "task", "told"),
    [
        ("x.mp4", "T2I", "T2I makes a picture: end it in .png"),
        ("x.jpg", "T2I", "T2I makes a picture: end it in .png"),
        ("x.png.avi", "T2V", "T2V makes a video: end it in .mp4 or .gif or .png"),
        ("x", "T2V", "is no file name"),
        ("", "T2V", "is no file name"),
        ("folder.png", "T2I", "is no file name"),
        ("file/x.png", "T2I", "is no folder to write in"),
        ("s3://bucket/x.png", "T2I", "is no file of this machine"),
    ],
)
def test_odd_places_are_refused_in_one_line(tmp_path, monkeypatch, out, task, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=told) as caught:
        places(wanted(out, task), overwrite=True)
    assert "\n" not in str(caught.value)


def test_a_new_folder_is_made(tmp_path):
    write_sample(place(tmp_path / "new" / "er" / "x.mp4"), VIDEO, ABOUT)
    assert len(names_in(tmp_path / "new" / "er")) == 2


def test_odd_frames_are_no_mp4_and_leave_nothing_behind(tmp_path):
    odd = Place(tmp_path / "x.mp4", tmp_path / "x-strip.png")
    with pytest.raises(ConfigError, match=r"name a \.gif"):
        refuse_odd_size([odd], 15)
    with pytest.raises(StorageError):
        write_sample(odd, VIDEO[:, :31, :31], ABOUT)
    assert names_in(tmp_path) == []
