import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets.shapes import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    PATH_SECONDS,
    PLACES,
    SHAPES,
    SKETCH_CLASSES,
    SPEEDS,
    Scene,
    Thing,
    random_scene,
)
from pipelines.datasets.shapes_captions import caption, read_caption
from pipelines.datasets.shapes_drawing import draw_labels, draw_scene
from pipelines.errors import SourceError

SEEDS = st.integers(0, 2**32)
SIZE = 64


def still(shape="circle", color="red", radius=0.16, start=(0.5, 0.5)):
    return Scene((Thing(color, shape, "right", "slowly", radius, start),), "white")


@given(seed=SEEDS, more=st.booleans())
def test_things_stay_wholly_inside_the_frame(seed, more):
    scene = random_scene(np.random.default_rng(seed), second_object=more)
    for thing, time_s in itertools.product(scene.things, (0.0, PATH_SECONDS)):
        for place in thing.center(time_s):
            assert thing.radius - 1e-9 <= place <= 1 - thing.radius + 1e-9


@given(seed=SEEDS, textured=st.booleans(), more=st.booleans())
def test_a_caption_tells_the_first_thing(seed, textured, more):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, textured_background=textured, second_object=more)
    first = scene.things[0]
    told = (first.color, first.shape, first.direction, first.speed)
    assert read_caption(caption(scene, rng)) == told


def test_captions_vary():
    rng = np.random.default_rng(0)
    scene = random_scene(rng)
    assert len({caption(scene, rng) for _ in range(100)}) >= 10


def test_a_caption_that_leaves_something_out_is_refused():
    with pytest.raises(SourceError, match=r"names no shape; expected one of circle"):
        read_caption("a red thing moves slowly to the left")


def test_every_combination_of_attributes_comes_up():
    rng = np.random.default_rng(0)
    seen = {
        (t.color, t.shape, t.direction) for t in (random_scene(rng).things[0] for _ in range(900))
    }
    assert len(seen) == len(COLORS) * len(SHAPES) * len(DIRECTIONS)


def test_the_same_seed_draws_the_same_scene():
    scenes = [random_scene(np.random.default_rng(7), second_object=True) for _ in range(2)]
    assert scenes[0] == scenes[1]
    assert np.array_equal(draw_scene(scenes[0], 1.0, SIZE), draw_scene(scenes[1], 1.0, SIZE))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_areas_of_geometry(shape):
    area = {"circle": np.pi, "square": 1.8**2, "triangle": 2.0}[shape]
    redness = (240.0 - draw_scene(still(shape), 0.0, 256)[..., 2]) / (240.0 - COLORS["red"][2])
    assert redness.sum() == pytest.approx(area * (0.16 * 256) ** 2, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sketch_outlines_what_the_frame_shows(shape):
    scene = still(shape)
    labels, frame = draw_labels(scene, 0.0, SIZE), draw_scene(scene, 0.0, SIZE)
    assert set(np.unique(labels)) == {0, SKETCH_CLASSES.index(shape)}
    is_red = np.abs(frame - np.array(COLORS["red"], float)).sum(axis=-1) < 250
    assert np.mean((labels > 0) == is_red) > 0.99


def test_a_triangle_points_up():
    widths = (draw_labels(still("triangle"), 0.0, SIZE) > 0).sum(axis=1)
    inside = widths[widths > 0]
    assert inside[0] <= 2
    assert (np.diff(inside) >= 0).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_things_move_as_told(direction, speed):
    scene = Scene((Thing("blue", "circle", direction, speed, 0.15, (0.5, 0.5)),), "grey")
    places = [
        np.argwhere(draw_labels(scene, time_s, 256) > 0).mean(axis=0) / 256 for time_s in (0.0, 0.4)
    ]
    y, x = places[1] - places[0]
    assert (x, y) == pytest.approx(np.array(DIRECTIONS[direction]) * SPEEDS[speed] * 0.4, abs=2e-3)


def test_the_first_thing_hides_the_second():
    first = Thing("red", "square", "left", "slowly", 0.16, (0.5, 0.5))
    second = Thing("blue", "circle", "right", "slowly", 0.16, (0.5, 0.5))
    scene = Scene((first, second), "white")
    assert tuple(draw_scene(scene, 0.0, SIZE)[32, 32]) == COLORS["red"]
    assert draw_labels(scene, 0.0, SIZE)[32, 32] == SKETCH_CLASSES.index("square")


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_plain_background_is_one_shade_and_a_textured_one_is_not(name):
    things = still().things
    plain = draw_scene(Scene(things, name), 0.0, SIZE)[:10]
    textured = draw_scene(Scene(things, name, texture_seed=3), 0.0, SIZE)[:10]
    assert set(np.unique(plain)) == {BACKGROUNDS[name]}
    assert textured.std() > 3
    assert (textured == textured[..., :1]).all()


def test_no_two_colors_are_near_each_other():
    """Distances in chroma, because that is what compression keeps least of."""
    to_chroma = np.array([[-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    chroma = {name: to_chroma @ rgb for name, rgb in COLORS.items()}
    for one, other in itertools.combinations(chroma, 2):
        assert np.linalg.norm(chroma[one] - chroma[other]) > 55, (one, other)


def test_a_frame_at_a_fraction_of_the_size_is_the_frame_made_smaller():
    scene = random_scene(np.random.default_rng(5))
    large, small = draw_scene(scene, 0.7, 128), draw_scene(scene, 0.7, 64)
    mean = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(mean - small).max() < 40  # corners are cut a little differently
    assert np.abs(mean - small).mean() < 0.3


@given(seed=SEEDS)
def test_a_path_begins_or_ends_on_one_of_eight_by_eight_places(seed):
    thing = random_scene(np.random.default_rng(seed)).things[0]
    ends = np.array([thing.center(0.0), thing.center(PATH_SECONDS)]) - thing.radius
    upper_left = ends.min(axis=0) * PLACES
    np.testing.assert_allclose(upper_left, upper_left.round(), atol=1e-9)
