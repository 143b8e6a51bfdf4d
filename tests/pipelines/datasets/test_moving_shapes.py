import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets import list_sources
from pipelines.datasets.shapes import COLORS, SKETCH_CLASSES
from pipelines.datasets.shapes_captions import read_caption
from pipelines.errors import SourceError
from pipelines.settings import load_config
from pipelines.video.frames import read_frames


def settings(root, *, train=4, validation=2, size=64, more=()):
    return [
        f"dataset.root={root}",
        f"dataset.shapes.num_train={train}",
        f"dataset.shapes.num_validation={validation}",
        f"dataset.shapes.size={size}",
        *more,
    ]


def listed(root, **more):
    return list(list_sources(load_config(overrides=settings(root, **more))))


def content(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes") / "media"
    return root, listed(root)


def test_videos_of_both_splits_are_written_with_captions_and_sketches(shapes):
    root, refs = shapes
    assert [(ref.uri, ref.split) for ref in refs] == [
        *((f"{root}/train/{index:05d}.mp4", "train") for index in range(4)),
        *((f"{root}/validation/{index:05d}.mp4", "validation") for index in range(2)),
    ]
    assert all(len(ref.text) == 1 for ref in refs)
    assert all(len(list(Path(ref.sketch_uri).glob("*.png"))) == 19 for ref in refs)


def test_a_video_shows_what_its_caption_and_its_sketch_say(shapes):
    for ref in shapes[1]:
        frames = []
        video = read_frames(ref.uri, size=64, deadline_s=30, take=frames.append)
        assert (len(frames), video.num_source_frames) == (10, 19)
        told = read_caption(ref.text[0])
        labels = np.asarray(Image.open(f"{ref.sketch_uri}/00000.png"))
        assert set(np.unique(labels)) == {0, SKETCH_CLASSES.index(told.shape)}
        seen = np.median(frames[0][labels > 0], axis=0)
        assert min(COLORS, key=lambda name: np.abs(seen - COLORS[name]).sum()) == told.color


def test_no_video_of_one_split_is_in_the_other(shapes):
    files = content(shapes[0])
    videos = [data for name, data in files.items() if name.endswith(".mp4")]
    assert len(set(videos)) == len(videos)


def test_doing_it_again_changes_nothing(shapes):
    root, refs = shapes
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert listed(root) == refs
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_more_videos_begin_with_the_same_ones(shapes, tmp_path):
    fewer = content(shapes[0])
    more = listed(tmp_path / "media", train=5)
    again = content(tmp_path / "media")
    assert len(more) == 7
    assert all(
        again[name] == data for name, data in fewer.items() if name.endswith((".mp4", ".png"))
    )


def test_other_settings_in_the_same_folder_are_refused_in_one_line(shapes):
    with pytest.raises(
        SourceError, match=r"moving shapes of other settings.*choose another"
    ) as told:
        listed(shapes[0], train=5)
    assert "\n" not in str(told.value)


def test_a_users_own_folder_is_left_alone(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match="is not empty and holds no moving shapes"):
        listed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def test_textures_and_a_second_object_are_drawn(tmp_path):
    more = ["dataset.shapes.textured_background=true", "dataset.shapes.second_object=true"]
    (ref,) = listed(tmp_path / "media", train=1, validation=0, more=more)
    assert " while " in ref.text[0]


@pytest.mark.slow
def test_a_generator_that_is_killed_is_finished_by_the_next(tmp_path):
    arguments = settings(tmp_path / "media", train=40)
    code = (
        "import sys; from pipelines.settings import load_config; "
        "from pipelines.datasets import list_sources; "
        "list(list_sources(load_config(overrides=sys.argv[1:])))"
    )
    for enough in (3, 10, 20):
        killed = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("media/train/*.mp4"))) < enough:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert not (tmp_path / "media/captions.jsonl").exists()
    listed(tmp_path / "media", train=40)
    listed(tmp_path / "undisturbed", train=40)
    left = {n: data for n, data in content(tmp_path / "media").items() if ".part" not in n}
    assert left == content(tmp_path / "undisturbed")
