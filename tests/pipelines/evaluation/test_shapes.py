"""The judge: right on real clips, and hard to please with anything else."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nuwa_model.errors import ConfigError
from pipelines.datasets.shapes import COLORS, DIRECTIONS, SHAPES, random_scene
from pipelines.datasets.shapes_captions import Attributes
from pipelines.evaluation.shapes import Reading, judge_agreement, read_video

BACKGROUND = 240


def told(scene):
    thing = scene.things[0]
    return Attributes(thing.color, thing.shape, thing.direction, thing.speed)


@pytest.mark.parametrize(
    ("size", "blur", "noise"),
    [
        pytest.param(64, 0, 0, id="64 pixels"),
        pytest.param(64, 1.5, 8, id="64 pixels, blurred and noisy"),
        pytest.param(32, 0, 0, id="32 pixels"),
        pytest.param(32, 0.8, 6, id="32 pixels, blurred and noisy"),
    ],
)
def test_real_clips_are_read_right(film, size, blur, noise):
    rng = np.random.default_rng(7)
    scenes = [random_scene(rng) for _ in range(60)]
    readings = [read_video(film(scene, size=size, blur=blur, noise=noise)) for scene in scenes]
    assert judge_agreement(readings, [told(scene) for scene in scenes])["all"] >= 0.98


def test_clips_on_textured_backgrounds_are_read_right(film):
    rng = np.random.default_rng(8)
    scenes = [random_scene(rng, textured_background=True) for _ in range(40)]
    readings = [read_video(film(scene)) for scene in scenes]
    assert judge_agreement(readings, [told(scene) for scene in scenes])["all"] >= 0.98


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_color_and_shape_is_read_from_one_image(film, scene, color, shape):
    reading = read_video(film(scene(color, shape), num_frames=1))
    assert reading == Reading(color, shape, None)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_time_reversed_motion_reads_as_the_opposite_direction(film, scene, direction):
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    video = film(scene(direction=direction))
    assert read_video(video).direction == direction
    assert read_video(video[::-1]).direction == opposite[direction]


def test_a_mirrored_video_reads_as_the_mirrored_direction_and_nothing_else_changes(film, scene):
    video = film(scene("red", "triangle", "left"))
    mirrored = video[:, :, ::-1]
    assert read_video(mirrored) == read_video(video)._replace(direction="right")


def test_turned_by_a_quarter_right_becomes_up(film, scene):
    video = film(scene(shape="circle", direction="right"))
    assert read_video(np.rot90(video, axes=(1, 2))).direction == "up"


def test_exchanged_color_channels_read_as_the_exchanged_color(film, scene):
    video = film(scene("red", "circle"))
    assert read_video(video[..., ::-1]) == read_video(video)._replace(color="blue")


def test_an_empty_video_reads_as_nothing():
    reading = read_video(np.full((10, 64, 64, 3), BACKGROUND, np.uint8))
    assert reading[:3] == (None, None, None)
    assert "0 of 10 frames" in reading.note


def test_a_thing_seen_in_two_frames_of_ten_does_not_count(film, scene):
    video = film(scene()).copy()
    video[2:] = BACKGROUND
    assert read_video(video)[:3] == (None, None, None)


def test_a_thing_missing_in_one_frame_of_ten_still_counts(film, scene):
    video = film(scene()).copy()
    video[4] = BACKGROUND
    assert read_video(video) == Reading("blue", "square", "right")


def test_a_still_thing_has_no_direction(film, scene):
    video = np.repeat(film(scene())[:1], 10, axis=0)
    reading = read_video(video)
    assert reading[:3] == ("blue", "square", None)
    assert reading.note == "no clear motion"


def test_a_thing_that_jumps_about_has_no_direction(film, scene):
    order = [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert read_video(film(scene())[order]).direction is None


def test_a_thing_that_moves_aslant_has_no_direction(film, scene):
    frames = [np.roll(film(scene())[0], (2 * step, 2 * step), axis=(0, 1)) for step in range(10)]
    assert read_video(np.stack(frames)).direction is None


def test_noise_reads_as_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    assert read_video(noise)[:3] == (None, None, None)


def test_a_frame_full_of_color_is_no_thing():
    video = np.full((10, 64, 64, 3), BACKGROUND, np.uint8)
    video[:, 5:59, 5:59] = COLORS["red"]
    assert read_video(video)[:3] == (None, None, None)


def test_pieces_far_apart_are_no_thing():
    video = np.full((10, 64, 64, 3), BACKGROUND, np.uint8)
    for row, column in ((5, 5), (5, 50), (50, 5), (50, 50)):
        video[:, row : row + 9, column : column + 9] = COLORS["red"]
    assert read_video(video)[:3] == (None, None, None)


def test_a_color_outside_the_palette_has_no_name():
    video = np.full((1, 64, 64, 3), BACKGROUND, np.uint8)
    video[:, 20:40, 20:40] = (60, 60, 60)
    assert read_video(video)[:2] == (None, "square")


def test_a_color_that_changes_halfway_has_no_name(film, scene):
    video = np.concatenate([film(scene("red"))[:5], film(scene("blue"))[5:]])
    assert read_video(video).color is None


def test_a_shape_that_changes_halfway_has_no_name(film, scene):
    video = np.concatenate([film(scene(shape="circle"))[:5], film(scene(shape="square"))[5:]])
    assert read_video(video).shape is None


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param([(60, 105), (160, 105), (160, 150), (60, 150)], id="bar"),
        pytest.param([(60, 60), (160, 60), (110, 160)], id="triangle upside down"),
        pytest.param([(110, 50), (170, 110), (110, 170), (50, 110)], id="diamond"),
    ],
)
def test_a_shape_outside_the_vocabulary_has_no_name(corners):
    picture = Image.new("RGB", (256, 256), (BACKGROUND,) * 3)
    ImageDraw.Draw(picture).polygon(corners, fill=COLORS["blue"])
    video = np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))[None]
    assert read_video(video)[:2] == ("blue", None)


def test_agreement_counts_each_attribute_and_all_together():
    asked = [Attributes("red", "circle", "left", "slowly")] * 4
    seen = [
        Reading("red", "circle", "left"),
        Reading("red", "circle", "right"),
        Reading("red", None, "left"),
        Reading(None, None, None),
    ]
    assert judge_agreement(seen, asked) == {
        "color": 0.75,
        "shape": 0.5,
        "direction": 0.5,
        "all": 0.25,
    }
    assert judge_agreement(seen, asked, has_motion=False)["all"] == 0.5


def test_readings_without_captions_are_refused():
    with pytest.raises(ConfigError, match="1 readings cannot be compared with 0 captions"):
        judge_agreement([Reading("red")], [])
