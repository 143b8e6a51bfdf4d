import numpy as np
import pytest

from nuwa_model.tasks import get_task
from pipelines.errors import StoreError
from pipelines.loading.examples import TokenExamples
from pipelines.store.table import store_versions
from tests.pipelines.loading.conftest import (
    NUM_FRAMES,
    commit_sources,
    commit_tokens,
    token_row,
    tokens_of,
)


def load(store, split="train", fingerprint="abc", **arguments):
    return TokenExamples.load(
        store, store_versions(store), fingerprint=fingerprint, split=split, **arguments
    )


def clip(examples, clip_id):
    number = examples.clip_ids.index(clip_id)
    first = examples.first[number]
    return number, slice(first, first + examples.length[number])


def test_tokens_come_back_as_the_grids_they_were_stored_as(full_store):
    examples = load(full_store)
    assert len(examples.clip_ids) == 12
    for clip_id, number, frames in (("003", 3, 4), ("020", 20, 1), ("021", 21, 2)):
        _, place = clip(examples, clip_id)
        assert np.array_equal(examples.frames[place], tokens_of(number, frames))


def test_a_split_holds_its_own_clips_only(full_store):
    assert load(full_store, "validation").clip_ids == ("030", "031")
    assert not {"030", "031"} & set(load(full_store).clip_ids)


def test_a_sketch_lies_beside_the_frames_of_its_clip(full_store):
    examples = load(full_store, sketch_fingerprint="seg")
    number, place = clip(examples, "003")
    assert np.array_equal(examples.sketches[place], tokens_of(3, 4))
    assert examples.has_sketch[number]
    assert examples.has_sketch.sum() == 10
    assert not examples.sketches[clip(examples, "020")[1]].any()


@pytest.mark.parametrize(
    ("task", "served"),
    [("T2I", 12), ("I2I", 12), ("T2V", 10), ("V2V", 10), ("S2V", 10), ("S2I", 10)],
)
def test_images_and_short_videos_serve_pictures_and_full_videos_serve_all(full_store, task, served):
    examples = load(full_store, sketch_fingerprint="seg")
    assert len(examples.serving(get_task(task), NUM_FRAMES)) == served


def test_a_clip_without_caption_serves_no_task_with_text(store):
    commit_tokens(store, [token_row(0), token_row(1, text=["one"])])
    examples = load(store)
    assert examples.serving(get_task("T2V"), NUM_FRAMES).tolist() == [1]
    assert examples.serving(get_task("V2V"), NUM_FRAMES).tolist() == [0, 1]


def test_captions_and_split_are_those_of_the_catalog(store):
    commit_tokens(store, [token_row(n, text=["copied"]) for n in range(3)])
    commit_sources(store, [(0, "train", ["edited", "twice"]), (1, "validation", [])])
    assert load(store).text == (("edited", "twice"),)
    assert load(store, "validation").text == ((),)


def test_tokens_of_clips_that_are_no_longer_there_are_left_out_and_counted(store, caplog):
    commit_tokens(store, [token_row(n, text=["copied"]) for n in range(3)])
    assert load(store).clip_ids == ("000", "001", "002"), "a store may hold tokens alone"
    commit_sources(store, [(0, "train", []), (1, "train", [])])
    assert load(store).clip_ids == ("000", "001")
    assert "old_tokens rows=1 tokenizer=abc" in caplog.text


def test_a_caption_edited_later_does_not_change_a_pinned_version(store):
    commit_tokens(store, [token_row(0)])
    commit_sources(store, [(0, "train", ["before"])])
    pinned = store_versions(store)
    commit_sources(store, [(0, "train", ["after"])])
    assert load(store).text == (("after",),)
    old = TokenExamples.load(store, pinned, fingerprint="abc", split="train")
    assert old.text == (("before",),)


def test_examples_do_not_depend_on_how_rows_were_put_into_shards(tmp_path):
    rows = [token_row(n) for n in range(6)]
    found = []
    for number, groups in enumerate(([rows], [[row] for row in reversed(rows)])):
        store = str(tmp_path / str(number))
        for group in groups:
            commit_tokens(store, group)
        found.append(load(store))
    assert found[0].clip_ids == found[1].clip_ids
    assert np.array_equal(found[0].frames, found[1].frames)


def test_what_is_not_there_is_said_in_one_line(store, full_store):
    with pytest.raises(StoreError, match=r"has no tokens yet: run the flow tokenize first"):
        TokenExamples.load(store, {}, fingerprint="abc", split="train")
    with pytest.raises(StoreError, match=r"no train clips of tokenizer xyz at version \d+"):
        load(full_store, fingerprint="xyz")


def test_rows_that_contradict_each_other_are_named(tmp_path):
    def refuse(name, rows, match):
        store = str(tmp_path / name)
        for row in rows:
            commit_tokens(store, [row])
        with pytest.raises(StoreError, match=match):
            load(store, sketch_fingerprint="seg")

    odd = {**token_row(0), "grid_w": 5}
    refuse("cells", [odd], r"Clip 000 has 64 tokens of kind video, but its grid \(4, 4, 5\)")
    other = {**token_row(1), "grid_h": 2, "grid_w": 8}
    refuse("grids", [token_row(0), other], r"different grids \[\(2, 8\), \(4, 4\)\]")
    sketch = token_row(0, "video_sketch", 3, tokenizer="seg")
    refuse("sketch", [token_row(0), sketch], r"Clip 000 has 4 frames but 3 sketches")


def test_two_rows_of_one_clip_are_refused(store):
    commit_tokens(store, [token_row(0)])
    commit_tokens(store, [token_row(0), token_row(1)])
    with pytest.raises(StoreError, match=r"Clip 000 of shapes has two rows of kind video"):
        load(store)
