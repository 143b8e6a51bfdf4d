import time

import numpy as np
import pytest
import torch

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.text import TextTokenizer
from pipelines.config import TrainingConfig
from pipelines.errors import StoreError
from pipelines.loading.examples import TokenExamples
from pipelines.loading.loader import TrainingLoader
from pipelines.store.table import store_versions
from tests.pipelines.loading.conftest import (
    NUM_FRAMES,
    Letters,
    commit_tokens,
    token_row,
    tokens_of,
)

ALL_TASKS = {"T2I": 1.0, "T2V": 1.0, "V2V": 1.0, "S2I": 1.0, "S2V": 1.0}
ALL_CAPTIONS = ["None", *(f"{word} {n}" for word in ("clip", "video") for n in range(10))]


@pytest.fixture
def loader(settings):
    def make(store, *, rank=0, world_size=1, split="train", sketches="seg", **training):
        config = settings(store, **{"tasks": ALL_TASKS, **training})
        return TrainingLoader(
            config,
            config.training,
            store_version=store_versions(store),
            fingerprint="abc",
            text=Letters(),
            rank=rank,
            world_size=world_size,
            sketch_fingerprint=sketches,
            split=split,
        )

    return make


def equal(a, b):
    return (
        a.task == b.task
        and torch.equal(a.target, b.target)
        and torch.equal(a.condition, b.condition)
        and torch.equal(a.condition_mask, b.condition_mask)
    )


def clip_numbers(batch):
    return (batch.target[:, 0, 0, 0] // 160).tolist()


def first_batch(loader, task):
    return next(b for b in map(loader.batch_at, range(200)) if b.task.name == task)


@pytest.mark.parametrize(
    ("task", "target", "condition"),
    [
        ("T2I", (8, 1, 4, 4), (8, 12, 1, 1)),
        ("T2V", (8, 4, 4, 4), (8, 12, 1, 1)),
        ("V2V", (8, 4, 4, 4), (8, 12, 1, 1)),
        ("S2I", (8, 1, 4, 4), (8, 1, 4, 4)),
        ("S2V", (8, 4, 4, 4), (8, 4, 4, 4)),
    ],
)
def test_a_batch_has_the_grids_that_its_task_promises(full_store, loader, task, target, condition):
    batch = first_batch(loader(full_store, tasks={task: 1.0}), task)
    assert (tuple(batch.target.shape), tuple(batch.condition.shape)) == (target, condition)
    assert batch.condition_mask.shape == (8, np.prod(condition[1:]))
    assert batch.target.dtype == batch.condition.dtype == torch.int64
    assert batch.condition_mask.dtype == torch.bool


def test_a_video_comes_with_one_of_its_own_captions(full_store, loader):
    made = loader(full_store, tasks={"T2V": 1.0}, text_dropout=0.0)
    seen = set()
    for step in range(30):
        batch = made.batch_at(step)
        for number, target, text in zip(
            clip_numbers(batch), batch.target, Letters.decode(batch.condition), strict=True
        ):
            assert np.array_equal(target.numpy(), tokens_of(number, NUM_FRAMES))
            assert text in (f"clip {number}", f"video {number}")
            seen.add(text)
        assert torch.equal(batch.condition_mask, batch.condition.flatten(1) != 0)
    assert len(seen) == 20


def test_a_picture_is_any_frame_of_any_clip_with_its_caption(full_store, loader):
    made = loader(full_store, tasks={"T2I": 1.0}, text_dropout=0.0)
    frames = set()
    for step in range(60):
        batch = made.batch_at(step)
        for target, text in zip(batch.target, Letters.decode(batch.condition), strict=True):
            number, frame = divmod(int(target[0, 0, 0]) // 16, 10)
            assert np.array_equal(target.numpy(), tokens_of(number, frame + 1)[-1:])
            assert text.endswith(str(number))
            frames.add((number, frame))
    expected = {(n, f) for n in range(10) for f in range(NUM_FRAMES)} | {(20, 0), (21, 0), (21, 1)}
    assert frames == expected


@pytest.mark.parametrize("task", ["S2I", "S2V"])
def test_a_sketch_is_that_of_the_same_frames(full_store, loader, task):
    batch = loader(full_store, tasks={task: 1.0}).batch_at(0)
    assert torch.equal(batch.condition, batch.target)  # as the fixture wrote them
    assert batch.condition_mask.all()


def test_a_task_without_condition_reads_the_word_none(full_store, loader):
    batch = loader(full_store, tasks={"V2V": 1.0}).batch_at(0)
    assert set(Letters.decode(batch.condition)) == {"None"}


def test_as_many_conditions_are_dropped_as_asked_and_none_in_validation(full_store, loader):
    arguments = {"tasks": {"T2V": 1.0}, "text_dropout": 0.25}
    train, held = (loader(full_store, split=s, **arguments) for s in ("train", "validation"))
    texts = [t for step in range(250) for t in Letters.decode(train.batch_at(step).condition)]
    assert texts.count("None") / len(texts) == pytest.approx(0.25, abs=0.04)
    held_texts = {t for step in range(20) for t in Letters.decode(held.batch_at(step).condition)}
    assert held_texts == {"held 30", "held 31"}


def test_a_resumed_run_reads_what_an_undisturbed_one_does(full_store, loader):
    undisturbed = [loader(full_store).batch_at(step) for step in range(12)]
    resumed = loader(full_store)
    assert all(equal(resumed.batch_at(step), undisturbed[step]) for step in range(5, 12))


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 2), (2, 1), (2, 2), (4, 1), (8, 1)])
def test_every_number_of_ranks_reads_the_same_global_batch(
    full_store, loader, world_size, accumulation
):
    alone = loader(full_store)
    ranks = [
        loader(full_store, rank=rank, world_size=world_size, gradient_accumulation=accumulation)
        for rank in range(world_size)
    ]
    for step in range(8):
        whole = alone.batch_at(step)
        parts = [rank.batch_at(step, m) for m in range(accumulation) for rank in ranks]
        assert {part.task for part in parts} == {whole.task}
        for name in ("target", "condition", "condition_mask"):
            together = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(together, getattr(whole, name))


def test_every_example_of_a_task_is_read_once_an_epoch_amid_other_tasks(full_store, loader):
    made = loader(full_store, tasks={"T2V": 1.0, "V2V": 2.0}, batch_size=5)
    steps = [made.batch_at(step) for step in range(60)]
    read = [n for batch in steps if batch.task.name == "T2V" for n in clip_numbers(batch)]
    for start in range(0, len(read) - 10, 10):
        assert sorted(read[start : start + 10]) == list(range(10))


def test_a_task_that_no_clip_serves_is_refused_with_the_way_out(store, loader):
    commit_tokens(store, [token_row(n) for n in range(3)])
    match = (
        r"of T2V: it needs a video of 4 frames with a caption\. .*training\.tasks='{\"V2V\": 0.2}'"
    )
    with pytest.raises(ConfigError, match=match):
        loader(store, tasks={"T2V": 0.8, "V2V": 0.2})
    with pytest.raises(ConfigError, match=r"of T2I: it needs a picture with .*'{\"V2V\": 1.0}'"):
        loader(store, tasks={"T2I": 1.0})
    with pytest.raises(ConfigError, match=r"of S2V: .* with tokenized sketches"):
        loader(store, tasks={"S2V": 1.0})
    assert loader(store, tasks={"V2V": 1.0, "T2V": 0.0}).num_examples == {"V2V": 3}


def test_a_batch_that_ranks_cannot_share_is_refused(full_store, loader):
    with pytest.raises(ConfigError, match=r"batch_size \(8\) must be a multiple of the 3 ranks"):
        loader(full_store, world_size=3)


def test_a_micro_batch_beyond_the_last_does_not_exist(full_store, loader):
    with pytest.raises(IndexError):
        loader(full_store).batch_at(0, 1)


def test_tokens_that_the_model_has_no_room_for_are_refused(tmp_path, loader):
    long, high = str(tmp_path / "long"), str(tmp_path / "high")
    commit_tokens(long, [token_row(0, frames=5)])
    with pytest.raises(StoreError, match=r"up to 5 frames .* model\.target_grid is \(4, 4, 4\)"):
        loader(long)
    commit_tokens(high, [token_row(0)])
    loader(high, tasks={"V2V": 1.0}, size=64)
    commit_tokens(high, [token_row(1)])
    with pytest.raises(StoreError, match=r"holds token 223, but the model's codebook has 64"):
        loader(high, tasks={"V2V": 1.0}, size=64)


def test_what_cannot_serve_is_counted_and_said(full_store, loader, caplog):
    caplog.set_level("INFO")
    loader(full_store)
    assert "clips=12 short=1 without_text=0 without_sketch=2" in caplog.text


def test_a_batch_costs_well_under_a_millisecond_an_example(tmp_path, loader):
    store = str(tmp_path / "many")
    commit_tokens(
        store, [token_row(n % 400, text=["a"]) | {"clip_id": str(n)} for n in range(2000)]
    )
    made = loader(store, tasks={"T2V": 1.0, "T2I": 1.0, "V2V": 1.0}, batch_size=64)
    made.batch_at(0)
    started = time.process_time()
    for step in range(100_000, 100_020):
        made.batch_at(step)
    assert (time.process_time() - started) / (20 * 64) < 0.5e-3


def test_examples_are_read_from_the_version_that_was_pinned(full_store):
    pinned = store_versions(full_store)
    commit_tokens(full_store, [token_row(99)])
    old = TokenExamples.load(full_store, pinned, fingerprint="abc", split="train")
    assert "099" not in old.clip_ids


def test_captions_are_encoded_by_the_text_tokenizer_of_the_run(full_store, settings):
    config = settings(full_store, tasks={"T2V": 1.0}, text_dropout=0.5)
    text = TextTokenizer.train([f"clip {n} video {n}" for n in range(10)], 300, 16)
    loader = TrainingLoader(
        config,
        config.training,
        store_version=store_versions(full_store),
        fingerprint="abc",
        text=text,
    )
    batch = loader.batch_at(0)
    known = {tuple(row.tolist()) for row in text.encode(ALL_CAPTIONS)[0]}
    assert {tuple(row.flatten().tolist()) for row in batch.condition} <= known
    assert torch.equal(batch.condition_mask, batch.condition.flatten(1) != 0)


def test_a_step_of_images_reads_as_many_times_more_examples_as_was_set(full_store, loader):
    made = loader(full_store, tasks={"T2I": 1.0}, batch_size=2, images_per_video=5)
    assert made.batch_at(3).target.shape[:2] == (10, 1)
    videos = loader(full_store, tasks={"V2V": 1.0}, batch_size=2, images_per_video=5)
    assert len(videos.batch_at(3).target) == 2


def test_ranks_share_the_larger_batches_of_images_alike(full_store, loader):
    def targets(world_size):
        shares = [
            loader(
                full_store,
                tasks={"T2I": 1.0},
                batch_size=4,
                images_per_video=3,
                rank=rank,
                world_size=world_size,
            )
            .batch_at(1)
            .target
            for rank in range(world_size)
        ]
        return torch.cat(shares)

    assert torch.equal(targets(1), targets(2))


def test_an_excerpt_is_a_run_of_frames_of_one_clip_with_its_caption_and_sketch(full_store, loader):
    settings = {"batch_size": 2, "excerpt_share": 1.0, "excerpt_frames": 2}
    starts = set()
    for task in ("V2V", "S2V"):
        made = loader(full_store, tasks={task: 1.0}, **settings)
        whole = loader(full_store, tasks={task: 1.0}, batch_size=2)
        clips = {(t[0] // 160 * 160).flatten()[0].item(): t for t in whole_targets(whole)}
        for step in range(20):
            batch = made.batch_at(step)
            assert batch.target.shape[:2] == (2 * (NUM_FRAMES // 2), 2)
            if task == "S2V":
                assert batch.condition.shape[1] == 2
            for excerpt, first_frame in zip(batch.target, batch.first_frame.tolist(), strict=True):
                clip = clips[(excerpt[0] // 160 * 160).flatten()[0].item()]
                assert torch.equal(clip[first_frame : first_frame + 2], excerpt)
                starts.add(first_frame)
    assert starts == set(range(NUM_FRAMES - 1))


@pytest.mark.parametrize("task", ["T2I", "T2V"])
def test_a_share_of_images_and_excerpts_opens_its_clip(full_store, loader, task):
    made = loader(
        full_store,
        tasks={task: 1.0},
        batch_size=4,
        images_per_video=2,
        excerpt_share=1.0,
        excerpt_frames=1,
        opening_share=0.5,
    )
    starts = torch.cat([made.batch_at(step).first_frame for step in range(200)])
    shares = starts.bincount(minlength=NUM_FRAMES) / len(starts)
    by_chance = 0.5 / NUM_FRAMES
    assert shares[0].item() == pytest.approx(0.5 + by_chance, abs=0.06)
    assert shares[1:].tolist() == pytest.approx([by_chance] * (NUM_FRAMES - 1), abs=0.06)


def test_validation_reads_the_same_images_whatever_share_training_takes_at_openings(
    full_store, loader
):
    first, second = (
        loader(full_store, tasks={"T2I": 1.0}, opening_share=share, split="validation").batch_at(0)
        for share in (0.0, 1.0)
    )
    assert equal(first, second)


def test_losses_of_excerpts_and_of_whole_videos_have_names_of_their_own(full_store, loader):
    made = loader(full_store, tasks={"T2I": 1.0, "V2V": 1.0}, batch_size=2, excerpt_share=0.5)
    lengths = {(b.name, b.target.shape[1]) for b in map(made.batch_at, range(50))}
    assert lengths == {("T2I", 1), ("V2V", NUM_FRAMES), ("V2V excerpts", 2)}


def test_only_tasks_that_begin_with_given_frames_are_given_some(full_store, loader):
    tasks = {"T2I": 1.0, "T2V": 1.0, "V2V": 1.0, "TV2V": 1.0}
    for split in ("train", "validation"):
        made = loader(full_store, tasks=tasks, batch_size=1, given_frames=1, split=split)
        given = {(b.task.name, b.given_frames) for b in map(made.batch_at, range(50))}
        assert given == {("T2I", 0), ("T2V", 0), ("V2V", 1), ("TV2V", 1)}


def whole_targets(loader):
    return [target for step in range(20) for target in loader.batch_at(step).target]


def test_a_share_of_the_steps_on_videos_reads_excerpts(full_store, loader):
    tasks = {"T2I": 1.0, "V2V": 3.0}
    made = loader(full_store, tasks=tasks, batch_size=2, excerpt_share=0.5, excerpt_frames=2)
    lengths = [made.batch_at(step).target.shape[1] for step in range(400)]
    shares = [lengths.count(n) / len(lengths) for n in (1, 2, NUM_FRAMES)]
    assert shares == pytest.approx([0.25, 0.375, 0.375], abs=0.07)


def test_a_task_that_is_given_frames_reads_no_excerpts(full_store, loader):
    tasks = {"T2V": 1.0, "V2V": 1.0}
    made = loader(full_store, tasks=tasks, batch_size=2, excerpt_share=1.0, given_frames=1)
    lengths = {(b.task.name, b.target.shape[1]) for b in map(made.batch_at, range(50))}
    assert lengths == {("T2V", 2), ("V2V", NUM_FRAMES)}


def test_validation_reads_whole_videos(full_store, loader):
    made = loader(full_store, tasks={"V2V": 1.0}, batch_size=2, excerpt_share=1.0, split="train")
    assert made.batch_at(0).target.shape[1] == 2
    made = loader(
        full_store, tasks={"V2V": 1.0}, batch_size=1, excerpt_share=1.0, split="validation"
    )
    assert made.batch_at(0).target.shape[1] == NUM_FRAMES


@pytest.mark.parametrize("share", ["excerpt_share", "opening_share"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match=share):
        TrainingConfig(**{share: 1.5})
