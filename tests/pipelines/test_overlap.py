"""Runs of one job that overlap end in the store that one undisturbed run makes."""

import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import ray
import torch
from PIL import Image

from pipelines.clip_tokenizer import ClipTokenizer
from pipelines.config import TokenizeConfig
from pipelines.datasets.catalog import read_known
from pipelines.datasets.plan import make_plan
from pipelines.datasets.settle import Settlement
from pipelines.jobs.decode_clips import decode_clips, list_and_look
from pipelines.jobs.tokenize_clips import plan_work
from pipelines.settings import load_config
from pipelines.store.once import OnceWriter
from pipelines.store.table import StoreTable
from pipelines.store.verify import verify_store
from pipelines.video.ffmpeg import binary
from pipelines.video.shard_work import decode_shard, split_work
from tests.pipelines.drawn_clips import config_of, fill, publish_vqgan
from tests.pipelines.video.media import counting
from tests.stores import contents

TIMEOUT_S = 60


class Gate:
    """Holds the first ffmpeg that meets a file named ``gate`` until it is opened."""

    def __init__(self, folder):
        self._met, self._open = folder / "met", folder / "open"
        self.script = (
            '#!/bin/sh\ncase "$*" in */gate.*)\n'
            f"  if mkdir {shlex.quote(str(self._met))} 2>/dev/null; then\n"
            f"    while [ ! -e {shlex.quote(str(self._open))} ]; do sleep 0.02; done\n"
            f'  fi;;\nesac\nexec {shlex.quote(binary())} "$@"\n'
        )

    def close(self):
        self._open.unlink(missing_ok=True)
        if self._met.exists():
            self._met.rmdir()

    def wait(self):
        deadline = time.monotonic() + TIMEOUT_S
        while not self._met.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def open(self):
        self._open.touch()


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A small Ray whose ffmpeg stops at the gate."""
    folder = tmp_path_factory.mktemp("gate")
    gate = Gate(folder)
    (folder / "ffmpeg").write_text(gate.script)
    (folder / "ffmpeg").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FFMPEG_BINARY", str(folder / "ffmpeg"))
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield gate
        ray.shutdown()


@pytest.fixture
def gate(workers):
    workers.close()
    yield workers
    workers.open()


@pytest.fixture
def folder(tmp_path):
    """Six images, a video at the gate, one that is broken."""
    root = tmp_path / "media"
    root.mkdir()
    for index in range(6):
        draw(root / f"{index}.png", index)
    film(root / "gate.mp4", seconds=2)
    (root / "broken.mp4").write_bytes(b"no video")
    return root


def draw(path, shade):
    Image.new("RGB", (40, 40), (shade * 20, 99, 40)).save(path)


def film(path, seconds):
    """A video, made under a name that no gate stops."""
    counting(path.with_name("made.mp4"), rate=10, seconds=seconds).replace(path)


def change(folder):
    """One new, one touched, one mended, two changed, one vanished, one with another caption."""
    draw(folder / "new.png", 9)
    os.utime(folder / "5.png", (1, 1))
    film(folder / "broken.mp4", seconds=1)
    draw(folder / "0.png", 10)
    film(folder / "gate.mp4", seconds=3)
    (folder / "1.png").unlink()
    (folder / "2.txt").write_text("a plain color")


def config(folder, store, *more):
    given = ("dataset.name=folder", f"dataset.root={folder}", f"store={store}")
    return load_config(overrides=(*given, "clips.shard_sources=2", *more))


@contextmanager
def run_held_at_the_gate(gate, settings):
    """Another run is in the middle of its work inside, and ends after."""
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(decode_clips, settings)
        try:
            gate.wait()
            yield
        finally:
            gate.open()
        held.result(TIMEOUT_S)


def assert_equals_an_undisturbed_run(store, alone, folder):
    assert verify_store(store) == []
    decode_clips(config(folder, alone))
    assert contents(store) == contents(alone)


def test_runs_that_divide_new_sources_differently_settle_each_once(gate, folder, tmp_path):
    store, alone = str(tmp_path / "store"), str(tmp_path / "alone")
    with run_held_at_the_gate(gate, config(folder, store)):
        draw(folder / "new.png", 9)
        decode_clips(config(folder, store, "clips.shard_sources=3"))
    assert_equals_an_undisturbed_run(store, alone, folder)
    assert decode_clips(config(folder, store))["was_complete"]


def test_runs_that_find_the_same_changes_make_them_once(gate, folder, tmp_path):
    store, alone = str(tmp_path / "store"), str(tmp_path / "alone")
    gate.open()
    for place in (store, alone):
        decode_clips(config(folder, place))
    change(folder)
    gate.close()
    with run_held_at_the_gate(gate, config(folder, store)):
        decode_clips(config(folder, store, "clips.shard_sources=1"))
    assert_equals_an_undisturbed_run(store, alone, folder)


def test_runs_that_take_the_same_rows_out_take_none_of_each_others(gate, folder, tmp_path):
    """Two runs plan before either has done anything, and each then does every step in turn."""
    store, alone = str(tmp_path / "store"), str(tmp_path / "alone")
    gate.open()
    for place in (store, alone):
        decode_clips(config(folder, place))
    change(folder)
    sources = list_and_look(config(folder, store))
    runs = [Settlement(store, "folder") for _ in range(2)]
    known = read_known(store, "folder")
    plan = make_plan(sources, known)
    for run in runs:
        run.forget(plan, known)
    marked = StoreTable(store, "catalog").read(["source_uri", "is_gone"]).to_pylist()
    assert [row["source_uri"] for row in marked if row["is_gone"]] == [str(folder / "1.png")]
    decode_clips(config(folder, store))
    assert_equals_an_undisturbed_run(store, alone, folder)


@pytest.mark.parametrize("first_lives", [True, False])
def test_clips_whose_source_is_not_settled_yet_end_in_the_store_once(
    gate, folder, tmp_path, first_lives
):
    """A run sees clips of another that has not come to the catalog yet, and may never come."""
    store, alone = str(tmp_path / "store"), str(tmp_path / "alone")
    gate.open()
    runs = []
    for shard_sources in (2, 3):
        settings = config(folder, store, f"clips.shard_sources={shard_sources}")
        run, known = Settlement(store, "folder"), read_known(store, "folder")
        plan = make_plan(list_and_look(settings), known)
        run.forget(plan, known)
        root = run.clips.table.root
        work = split_work(root, "folder", plan.decode, settings.clips, settings.fetch)
        runs.append((run, [decode_shard(item) for item in work]))
        runs[0][0].clips.commit(shard for result in runs[0][1] for shard in result.shards)
    for run, results in runs if first_lives else runs[1:]:
        for result in results:
            run.commit(result)
    assert_equals_an_undisturbed_run(store, alone, folder)


def test_jobs_that_divide_new_clips_differently_tokenize_each_once(tmp_path):
    settings = config_of(tmp_path / "store")
    torch.manual_seed(0)
    fingerprint = publish_vqgan(settings, tmp_path / "vqgan").fingerprint
    table = StoreTable(settings.store, "tokens")
    worker = ClipTokenizer(
        str(tmp_path / "vqgan"), table.root, "frames", 32, TokenizeConfig(batch_size=8)
    )
    jobs = []
    for train in (4, 12):  # the later job sees the clips of the earlier one, and more
        fill(settings.store, train=train, seed=train)
        jobs.append((OnceWriter(table), plan_work(settings, "frames", fingerprint)))
    assert set(jobs[0][1]) - set(jobs[1][1])
    for writer, work in reversed(jobs):
        writer.commit(worker.write_shard(item).shard for item in work)
    assert verify_store(settings.store) == []
    assert table.num_rows() == 16
    assert plan_work(settings, "frames", fingerprint) == []
