from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets.shapes import COLORS, PATH_SECONDS, random_scene
from pipelines.datasets.shapes_captions import caption, read_caption
from pipelines.datasets.shapes_drawing import draw_labels
from pipelines.datasets.shapes_edits import recolored, redirected
from pipelines.errors import SourceError

SEEDS = st.integers(0, 2**32)
PIXEL = 1 / 32


def told_scene(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    return scene, caption(scene, rng), draw_labels(scene, 0.0, 32)


@given(seed=SEEDS)
def test_another_color_is_all_that_changes(seed):
    _, text, _ = told_scene(seed)
    before, after = read_caption(text), read_caption(recolored(text))
    assert after.color != before.color
    assert after.color in COLORS
    assert after._replace(color=before.color) == before


@given(seed=SEEDS)
def test_another_direction_is_all_that_changes_and_has_room(seed):
    scene, text, labels = told_scene(seed)
    before, after = read_caption(text), read_caption(redirected(text, labels))
    assert after._replace(direction=before.direction) == before
    turned = replace(scene.things[0], direction=after.direction)
    for place in turned.center(PATH_SECONDS):
        assert turned.radius - PIXEL <= place <= 1 - turned.radius + PIXEL


def test_most_things_can_turn():
    told = [told_scene(seed) for seed in range(100)]
    assert sum(redirected(text, labels) != text for _, text, labels in told) > 60


def test_where_nothing_is_to_be_seen_the_caption_stays():
    text = "a red circle moves slowly to the left"
    assert redirected(text, np.zeros((32, 32), np.uint8)) == text


@pytest.mark.parametrize("edit", [recolored, lambda text: redirected(text, np.ones((8, 8)))])
def test_other_captions_are_refused(edit):
    with pytest.raises(SourceError, match="names no color"):
        edit("a dog runs")
