import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.video.frames import read_frames
from tests.pipelines.video.media import corners, counting, make, quadrants

FAST_START = ("-movflags", "faststart")
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"
DASH = '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"></MPD>'


def first_frame(path, size=32):
    frames = []
    read_frames(str(path), size=size, deadline_s=30, take=frames.append)
    return frames[0]


def fault(path, deadline_s=30):
    with pytest.raises(MediaError) as raised:
        read_frames(str(path), size=32, deadline_s=deadline_s, take=lambda frame: None)
    return raised.value


@pytest.fixture
def four_colors(tmp_path):
    """A video of red, green, blue and white quarters."""
    Image.fromarray(quadrants(64)).save(tmp_path / "quadrants.png")
    return make(
        tmp_path / "four.mp4",
        *("-loop", "1", "-t", "0.5", "-r", "10", "-i", tmp_path / "quadrants.png"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A healthy video with its index in front."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    source = ("-f", "lavfi", "-i", "testsrc=r=25:d=4:s=320x240")
    return make(path, *source, "-pix_fmt", "yuv420p", *FAST_START)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        pytest.param(0, ["red", "green", "blue", "white"], id="upright"),
        pytest.param(90, ["green", "white", "red", "blue"], id="a quarter"),
        pytest.param(180, ["white", "blue", "green", "red"], id="upside down"),
    ],
)
def test_a_rotated_video_comes_out_upright(tmp_path, four_colors, degrees, expected):
    path = make(
        tmp_path / "turned.mp4", "-display_rotation", degrees, "-i", four_colors, "-c", "copy"
    )
    assert corners(first_frame(path)) == expected


def test_pixels_that_are_not_square_keep_circles_round(tmp_path):
    """A circle squeezed to half its width, marked as such, comes out as a circle."""
    y, x = np.mgrid[:128, :64]
    ellipse = ((x - 31.5) * 2) ** 2 + (y - 63.5) ** 2 < 40**2
    Image.fromarray((ellipse * 255).astype(np.uint8)).save(tmp_path / "ellipse.png")
    path = make(
        tmp_path / "v.mp4",
        *("-loop", "1", "-t", "0.2", "-r", "10", "-i", tmp_path / "ellipse.png"),
        *("-vf", "setsar=2", "-pix_fmt", "yuv420p"),
    )
    seen = first_frame(path, size=64)[..., 0] > 127
    assert seen.any(axis=0).sum() == pytest.approx(seen.any(axis=1).sum(), abs=1)
    assert seen.sum() == pytest.approx(np.pi * 20**2, rel=0.05)


@pytest.mark.parametrize(
    "coding",
    [
        pytest.param(("-pix_fmt", "yuv420p"), id="limited range"),
        pytest.param(("-pix_fmt", "yuvj420p"), id="full range"),
        pytest.param(("-pix_fmt", "yuv420p10le"), id="ten bits"),
        pytest.param(("-pix_fmt", "yuv444p"), id="whole chroma"),
    ],
)
@pytest.mark.parametrize("shade", [16, 128, 240])
def test_shades_come_out_right_whatever_the_coding(tmp_path, coding, shade):
    Image.new("RGB", (64, 64), (shade, shade, shade)).save(tmp_path / "p.png")
    path = make(tmp_path / "v.mp4", "-i", tmp_path / "p.png", "-c:v", "libx264", *coding)
    assert first_frame(path).mean() == pytest.approx(shade, abs=2)


@pytest.mark.parametrize("name", ["a b.mp4", "-i.mp4", "ä:1%d.mp4", "http:.mp4", "it's.mp4"])
def test_any_name_is_only_a_name(tmp_path, four_colors, name, monkeypatch):
    shutil.copy(four_colors, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert corners(first_frame(name)) == ["red", "green", "blue", "white"]


def test_a_file_without_pictures_is_named_so(tmp_path):
    path = make(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=d=1")
    assert fault(path).code == "no_video_stream"


def test_cover_art_is_no_video(tmp_path, four_colors):
    path = make(
        tmp_path / "song.mp4",
        *("-f", "lavfi", "-i", "sine=d=1", "-i", tmp_path / "quadrants.png"),
        *("-map", "0", "-map", "1", "-c:v", "png", "-disposition:v", "attached_pic"),
    )
    assert fault(path).code == "no_video_stream"


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, bytes(range(256)) * 20])
def test_a_file_that_is_no_video_is_unreadable(tmp_path, content):
    (tmp_path / "v.mp4").write_bytes(content)
    assert fault(tmp_path / "v.mp4").code == "container_unreadable"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_breaks_off_is_truncated(tmp_path, whole, suffix):
    entire = make(tmp_path / f"whole.{suffix}", "-i", whole, "-c", "copy", *FAST_START)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(entire.read_bytes()[: entire.stat().st_size // 2])
    assert fault(path).code == "truncated"


def test_damage_inside_a_video_is_found(tmp_path, whole):
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) // 3, len(data), 200):
        data[place] ^= 0xFF
    (tmp_path / "v.mp4").write_bytes(data)
    assert fault(tmp_path / "v.mp4").code == "decode_errors"


def test_a_huge_picture_is_refused_before_it_takes_memory(tmp_path):
    path = make(
        tmp_path / "huge.mp4",
        *("-f", "lavfi", "-i", "color=s=8192x8192:r=5:d=0.2", "-preset", "ultrafast"),
    )
    assert fault(path).code == "too_large"


def test_a_video_that_takes_too_long_is_given_up(tmp_path, whole):
    assert fault(whole, deadline_s=0.001).code == "timeout"


def test_a_missing_file_is_an_input_error(tmp_path):
    assert fault(tmp_path / "none.mp4").code == "io_error"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", HLS),
        ("list.mp4", HLS),
        ("other.mp4", "ffconcat version 1.0\nfile '{secret}'\n"),
        ("list.mpd", DASH),
    ],
)
def test_a_playlist_is_refused_whatever_its_name(tmp_path, four_colors, name, text):
    (tmp_path / name).write_text(text.format(secret=four_colors))
    assert fault(tmp_path / name).code == "blocked_protocol"


def test_what_ffmpeg_said_is_kept_short_and_the_same_every_time(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"")
    told = {fault(tmp_path / "v.mp4").detail for _ in range(2)}
    assert len(told) == 1
    assert "0x" not in told.pop()


def test_a_slow_source_repeats_its_frames_and_says_which(tmp_path):
    path = counting(tmp_path / "slow.mp4", rate=1, seconds=3)
    video = read_frames(str(path), size=32, deadline_s=30, take=lambda frame: None)
    assert [slot.index for slot in video.slots] == [0, 0, 0, 1, 1, 2, 2, 2]
