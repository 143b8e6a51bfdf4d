"""What samples of a store's own clips are asked for."""

import numpy as np
import pytest
import torch

from nuwa_model.generation import Synthesis
from nuwa_model.grid import Grid
from nuwa_model.tasks import TASKS
from pipelines.config import GenerationConfig
from pipelines.errors import StoreError
from pipelines.evaluation.kept import score_kept
from pipelines.evaluation.material import Clip, Material, Sample
from pipelines.generation.marks import first_labels, hole_around
from pipelines.generation.originals import with_originals
from pipelines.generation.requests import Requests, make_requests, prompted
from pipelines.loading.examples import Clip as TokenClip
from pipelines.loading.examples import TokenExamples
from pipelines.settings import load_config
from pipelines.store.table import StoreTable
from tests.pipelines import drawn_clips

GRID = Grid(3, 8, 8)
TEXT = "a red circle moves slowly to the left"
SETTINGS = GenerationConfig(num_samples=2, given_frames=1)


def examples(text=TEXT):
    frames = np.arange(3 * 64, dtype=np.uint16).reshape(GRID)
    clips = [TokenClip("drawn", name, "video", (text,), frames) for name in ("a", "b")]
    return TokenExamples.of(clips)


def labels(rows=slice(8, 12), columns=slice(12, 16)):
    """A thing on one token, (2, 3) of 8×8."""
    marked = np.zeros((32, 32), np.uint8)
    marked[rows, columns] = 1
    return marked


def asked(task, marked=None, text=TEXT):
    def marks(clip_ids):
        return {} if marked is None else dict.fromkeys(clip_ids, marked)

    return make_requests(examples(text), task, GRID, SETTINGS, marks)


def test_a_thing_is_repainted_in_another_color_where_its_sketch_marks_it():
    requests = asked("TI2I", labels())
    assert requests.texts[0] == "a yellow circle moves slowly to the left"
    free = (requests.known[0, 0] < 0).nonzero().tolist()
    assert free == [[row, column] for row in (1, 2, 3) for column in (2, 3, 4)]


def test_a_video_is_turned_to_where_there_is_room():
    requests = asked("TV2V", labels())
    assert requests.texts[0] == "a red circle moves slowly to the right"
    assert (requests.known[:, 0] >= 0).all()
    assert (requests.known[:, 1:] == -1).all()


@pytest.mark.parametrize("marked", [None, np.zeros((32, 32), np.uint8), np.ones((32, 32), "u1")])
def test_where_a_sketch_does_not_tell_a_thing_from_the_rest_the_lower_half_is_free(marked):
    free = asked("TI2I", marked).known[0, 0] < 0
    assert not free[:4].any()
    assert free[4:].all()


def test_captions_of_something_else_stay():
    assert asked("TI2I", labels(), text="a dog runs").texts[0] == "a dog runs"
    assert asked("TV2V", labels(), text="a dog runs").texts[0] == "a dog runs"


@pytest.mark.parametrize("task", ["T2V", "V2V", "I2I"])
def test_other_tasks_are_asked_for_what_the_clip_shows(task):
    assert asked(task, labels()).texts[0] == TEXT


def test_of_each_prompt_several_samples_are_asked_for():
    settings = GenerationConfig(tasks=("T2I",), prompts=("a dog", "a cat"), samples_a_prompt=2)
    requests = prompted("T2I", settings)
    assert requests.texts == ("a dog", "a dog", "a cat", "a cat")
    assert requests.known is None
    assert requests.part(1, 3).texts == ("a dog", "a cat")


def test_what_is_unknown_marks_nothing():
    marked = labels()
    marked[20:, :] = 255
    assert hole_around(marked, 8, 8).sum() == 9


def test_a_hole_at_the_border_ends_there():
    assert hole_around(labels(slice(0, 4), slice(0, 4)), 8, 8).sum() == 4


def test_labels_are_those_of_the_first_frame_of_each_clip_that_has_a_sketch(tmp_path):
    drawn_clips.fill(tmp_path, train=2, sketches=True)
    drawn_clips.fill(tmp_path, train=1, seed=1)
    found = first_labels(str(tmp_path), ["0-0", "0-1", "1-0"])
    assert found.keys() == {"0-0", "0-1"}
    assert found["0-0"].shape == (32, 32)
    assert set(np.unique(found["0-0"])) <= {0, 1, 2, 3}
    assert first_labels(str(tmp_path / "nothing"), ["0-0"]) == {}


def given_and_made(store, is_known):
    """A request of a stored clip, and what a model makes of it: black."""
    drawn_clips.fill(store, train=1)
    known = torch.where(is_known, 5, -1)[None]
    requests = Requests(task=TASKS["TV2V"], clip_ids=("0-0",), texts=("",), known=known)
    pixels = torch.zeros(1, 3, 32, 32, 3, dtype=torch.uint8)
    return requests, Synthesis(pixels, known.clamp(min=0), num_steps=1)


def test_given_pixels_are_the_clip_s_own(tmp_path):
    is_known = torch.zeros(3, 8, 8, dtype=torch.bool)
    is_known[0, :4] = True
    requests, made = given_and_made(tmp_path, is_known)
    pixels = with_originals(str(tmp_path), requests, made).pixels[0]
    assert (pixels[0, :16] > 100).any()  # the clip's bright background
    assert not pixels[0, 16:].any()
    assert not pixels[1:].any()


def test_a_clip_that_is_gone_is_named(tmp_path):
    requests, made = given_and_made(tmp_path, torch.ones(3, 8, 8, dtype=torch.bool))
    table = StoreTable(str(tmp_path), "clips")
    added, removed = table.without({"clip_id": "0-0"})
    table.commit(added, remove=removed)
    with pytest.raises(StoreError, match=r"Clip 0-0 of .* is gone"):
        with_originals(str(tmp_path), requests, made)


@pytest.mark.parametrize(("what", "kept"), [("nothing", 1.0), ("a token", 0.0), ("a pixel", 0.0)])
def test_what_was_given_and_is_not_kept_is_counted(tmp_path, what, kept):
    known = np.full((1, 8, 8), -1, np.int32)
    known[0, :4] = 7
    tokens = np.full((1, 8, 8), 7, np.uint16)
    original = np.full((3, 32, 32, 3), 9, np.uint8)
    frames = original[:1].copy()
    frames[:, 16:] = 0  # free
    if what == "a token":
        tokens[0, 3, 7] = 8
    if what == "a pixel":
        frames[0, 15, 31, 2] += 1
    np.save(tmp_path / "known.npy", known)
    np.save(tmp_path / "tokens.npy", tokens)
    sample = Sample(
        task="TI2I", index=0, clip_id="a", text="", strip="", video="", frames=frames,
        tokens=str(tmp_path / "tokens.npy"), known=str(tmp_path / "known.npy"),
    )  # fmt: skip
    clip = Clip(clip_id="a", dataset="", split="train", kind="video", text="", frames=original)
    material = Material(config=load_config(preset="tiny"), samples=(sample,), clips={"a": clip})
    scores = {score.metric: score.value for score in score_kept(material)}
    assert min(scores.values()) == kept
    assert len(scores) == 2
