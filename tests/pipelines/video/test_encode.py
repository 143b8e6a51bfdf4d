import numpy as np
import pytest

from pipelines.datasets.shapes import Scene, Thing
from pipelines.datasets.shapes_drawing import draw_scene
from pipelines.errors import StorageError
from pipelines.video.encode import write_mp4
from pipelines.video.frames import read_frames
from tests.pipelines.video.media import psnr

SCENE = Scene((Thing("red", "square", "right", "slowly", 0.16, (0.3, 0.5)),), "grey")


def movie(size=64):
    return np.stack([draw_scene(SCENE, index / 5, size) for index in range(20)])


def test_what_is_written_is_what_is_read(tmp_path):
    frames, seen = movie(), []
    write_mp4(tmp_path / "v.mp4", frames, 5)
    video = read_frames(str(tmp_path / "v.mp4"), size=64, deadline_s=30, take=seen.append)
    assert [slot.index for slot in video.slots] == list(range(0, 20, 2))
    assert psnr(np.stack(seen), frames[::2]) > 32
    # Color as such, away from edges where chroma is shared between pixels.
    assert np.abs(np.stack(seen)[0, 32, 19].astype(int) - frames[0, 32, 19]).max() <= 4


def test_a_clip_written_at_its_own_rate_is_read_frame_by_frame(tmp_path):
    write_mp4(tmp_path / "v.mp4", movie()[:10], 2.5)
    video = read_frames(str(tmp_path / "v.mp4"), size=64, deadline_s=30, take=lambda frame: None)
    assert [slot.index for slot in video.slots] == list(range(10))


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(StorageError, match=r"could not write .*\(20 frames of 63x63\)") as told:
        write_mp4(tmp_path / "v.mp4", movie(63), 5)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
