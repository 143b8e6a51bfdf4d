import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from PIL import Image

from pipelines.config import ClipsConfig, FetchConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.catalog import Source
from pipelines.errors import StorageError, StoreError, TooManyErrorsError
from pipelines.jobs.decode_clips import decode_clips
from pipelines.settings import load_config
from pipelines.store.table import StoreTable
from pipelines.store.verify import verify_store
from pipelines.video.ffmpeg import binary
from pipelines.video.shard_work import split_work
from tests.pipelines.video.media import REAL, counting, needs_media, write_map
from tests.stores import contents


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    """One small Ray for all tests of this file.

    Its workers run ffmpeg through a script that kills them when it meets a certain name.
    """
    deadly = tmp_path_factory.mktemp("bin") / "ffmpeg"
    once = shlex.quote(str(deadly.with_name("once")))
    deadly.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'*"kills one worker"*) mkdir {once} 2>/dev/null && kill -9 $PPID;;\n'
        '*"kills its worker"*) kill -9 $PPID;;\nesac\n'
        f'exec {shlex.quote(binary())} "$@"\n'
    )
    deadly.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("FFMPEG_BINARY", str(deadly))
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two good videos of different length and one that is no video."""
    root = tmp_path_factory.mktemp("videos")
    counting(root / "long.mp4", rate=10, seconds=9)
    counting(root / "short.mp4", rate=10, seconds=1)
    (root / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture
def folder(tmp_path, videos):
    """A copy of the videos that a test may change."""
    return shutil.copytree(videos, tmp_path / "videos")


SHAPES = ("dataset.shapes.num_train=2", "dataset.shapes.num_validation=1", "dataset.shapes.size=32")


def run(root, store, *more):
    overrides = ("dataset.name=folder", f"dataset.root={root}", f"store={store}", *more)
    return decode_clips(load_config(overrides=overrides))


def label_of(png):
    return Image.open(io.BytesIO(png)).getpixel((9, 9))


def versions(store):
    return {name: StoreTable(store, name).version() for name in ("clips", "errors", "catalog")}


def clip_rows(store, *columns):
    rows = StoreTable(store, "clips").read(list(columns) or None).to_pylist()
    return sorted(rows, key=lambda row: (row.get("clip_id", ""), row.get("kind", "")))


def test_every_source_ends_with_clips_or_one_error(folder, tmp_path):
    store = str(tmp_path / "store")
    record = run(folder, store)
    assert record["summary"] == (
        "3 sources: 2 with clips (3 clips, 1 short), 1 error (broken.mp4: container_unreadable)"
    )
    assert verify_store(store) == []
    (error,) = StoreTable(store, "errors").read().to_pylist()
    assert (error["stage"], error["is_transient"]) == ("decode_clips", False)
    catalog = StoreTable(store, "catalog").read().to_pylist()
    for row in catalog:
        full = row["num_clips"] * 10 if row["frames_read"] >= 10 else row["frames_read"]
        assert full + row["frames_left"] == row["frames_read"]


def test_nothing_new_commits_nothing(folder, tmp_path):
    store = str(tmp_path / "store")
    first = run(folder, store)
    before = versions(store)
    second = run(folder, store)
    assert versions(store) == before
    assert second["summary"] == first["summary"]
    assert (first["was_complete"], second["was_complete"]) == (False, True)


def test_only_what_is_new_or_changed_is_decoded(folder, tmp_path):
    store = str(tmp_path / "store")
    run(folder, store)
    old = {row["clip_id"] for row in clip_rows(store) if row["source_uri"].endswith("short.mp4")}
    counting(folder / "new.mp4", rate=5, seconds=4)
    counting(folder / "short.mp4", rate=10, seconds=2)
    record = run(folder, store)
    assert record["decoded"] == 2
    assert (record["sources"], record["clips"]) == (4, 4)
    assert not old & {row["clip_id"] for row in clip_rows(store)}
    assert verify_store(store) == []


def test_a_sketch_that_was_mended_is_read_again(folder, tmp_path):
    store = str(tmp_path / "store")
    num_frames = 10  # of short.mp4
    for index in range(num_frames):
        write_map(folder / f"sketches/short/{index:03d}.png", 1)
    run(folder, store)
    before = {row["kind"]: row for row in clip_rows(store) if "short" in row["source_uri"]}
    assert before["video"]["clip_id"] == before["video_sketch"]["clip_id"]
    place = folder / "sketches/short"
    for index in range(num_frames):
        write_map(place / f"{index:03d}.png", 2)
    assert run(folder, store)["decoded"] == 1
    assert run(folder, store)["was_complete"]
    after = {row["kind"]: row for row in clip_rows(store) if "short" in row["source_uri"]}
    assert label_of(after["video_sketch"]["frames"][0]) == 2
    assert after["video_sketch"]["clip_id"] != before["video_sketch"]["clip_id"], (
        "else the tokens of the old sketch would count as those of the new one"
    )
    forgiving = "clips.max_error_fraction=1"
    (place / "007.png").unlink()
    assert run(folder, store, forgiving)["errors"]["bad_sketch"] == 1
    assert run(folder, store, forgiving)["was_complete"], (
        "what cannot be mended by trying is not tried again"
    )
    write_map(place / "007.png", 2)
    assert "bad_sketch" not in run(folder, store, forgiving)["errors"]
    assert verify_store(store) == []


def test_a_source_that_vanished_keeps_its_clips_and_is_marked(folder, tmp_path):
    store = str(tmp_path / "store")
    run(folder, store)
    before = clip_rows(store)
    (folder / "long.mp4").rename(tmp_path / "long.mp4")
    assert run(folder, store)["gone"] == 1
    assert clip_rows(store) == before
    rows = StoreTable(store, "catalog").read(["source_uri", "is_gone"]).to_pylist()
    assert [Path(r["source_uri"]).name for r in rows if r["is_gone"]] == ["long.mp4"]
    assert run(folder, store)["was_complete"]
    (tmp_path / "long.mp4").rename(folder / "long.mp4")
    assert run(folder, store)["decoded"] == 0
    assert not any(StoreTable(store, "catalog").read(["is_gone"]).column("is_gone").to_pylist())


def test_a_mended_source_loses_its_error(folder, tmp_path):
    store = str(tmp_path / "store")
    run(folder, store)
    shutil.copy(folder / "long.mp4", folder / "broken.mp4")
    os.utime(folder / "broken.mp4", (1, 1))
    with (folder / "broken.mp4").open("ab") as file:
        file.write(b"\0\0\0\x08free")  # an empty box: the same video, other bytes
    assert run(folder, store)["errors"] == {}
    assert StoreTable(store, "errors").read().num_rows == 0
    assert verify_store(store) == []


def test_a_store_of_several_data_sets_says_so(folder, tmp_path, capsys):
    store = str(tmp_path / "store")
    run(folder, store)
    assert "also holds" not in capsys.readouterr().out
    run(tmp_path / "shapes", store, "dataset.name=moving_shapes", *SHAPES)
    assert "also holds folder: training takes all of them" in capsys.readouterr().out
    assert verify_store(store) == []


def test_a_copy_of_a_file_shares_its_clips(folder, tmp_path):
    store = str(tmp_path / "store")
    shutil.copy(folder / "short.mp4", folder / "twin.mp4")
    shutil.copy(folder / "broken.mp4", folder / "broken twin.mp4")
    record = run(folder, store)
    assert (record["sources"], record["clips"], record["decoded"]) == (5, 3, 3)
    assert record["errors"] == {"container_unreadable": 2}
    shutil.copy(folder / "long.mp4", folder / "late twin.mp4")
    assert run(folder, store)["decoded"] == 0
    assert verify_store(store) == []


def test_new_captions_cost_no_decoding(folder, tmp_path):
    store = str(tmp_path / "store")
    run(folder, store)
    before = versions(store)
    (folder / "captions.csv").write_text("file,text,split\nlong.mp4,it grows bright,validation\n")
    assert run(folder, store)["decoded"] == 0
    assert versions(store)["clips"] == before["clips"]
    told = {
        row["source_uri"]: (row["text"], row["split"])
        for row in StoreTable(store, "catalog").read().to_pylist()
    }
    assert told[str(folder / "long.mp4")] == (["it grows bright"], "validation")
    assert told[str(folder / "short.mp4")] == ([], "train")
    assert verify_store(store) == []


def test_too_many_errors_fail_the_run_after_the_good_clips_are_committed(folder, tmp_path):
    store = str(tmp_path / "store")
    said = (
        r"1 of 3 sources failed: container_unreadable \(1\); clips\.max_error_fraction allows 0\.1"
    )
    with pytest.raises(TooManyErrorsError, match=said):
        run(folder, store, "clips.max_error_fraction=0.1")
    assert len(clip_rows(store)) == 3
    assert verify_store(store) == []


def test_clips_of_another_rule_are_refused_in_one_line(folder, tmp_path):
    store = str(tmp_path / "store")
    run(folder, store)
    with pytest.raises(StoreError, match=r"cut by the rule .* choose another store") as told:
        run(folder, store, "clips.frame_format=png")
    assert "\n" not in str(told.value)


def test_a_source_that_kills_its_worker_harms_no_other(folder, tmp_path):
    store = str(tmp_path / "store")
    counting(folder / "deadly.mp4", rate=10, seconds=3)
    (folder / "deadly.mp4").rename(folder / "kills its worker.mp4")
    record = run(folder, store)
    assert (record["clips"], record["errors"]) == (3, {"container_unreadable": 1, "killed": 1})
    errors = StoreTable(store, "errors").read().to_pylist()
    assert [row["code"] for row in errors if row["is_transient"]] == ["killed"]
    assert verify_store(store) == []


def test_a_worker_that_dies_in_the_middle_of_its_shard_changes_nothing(folder, tmp_path):
    store, alone = str(tmp_path / "store"), str(tmp_path / "alone")
    counting(folder / "deadly.mp4", rate=10, seconds=3)
    (folder / "deadly.mp4").rename(folder / "kills one worker.mp4")
    run(folder, store)
    run(folder, alone)
    assert contents(store) == contents(alone)
    assert verify_store(store) == []


@pytest.mark.parametrize("lost", [("catalog",), ("catalog", "errors"), ("catalog", "clips")])
def test_a_run_that_died_between_two_commits_is_finished(folder, tmp_path, lost):
    """Leaves the tables as a process does that dies before it commits the last of them."""
    store = str(tmp_path / "store")
    run(folder, store)
    whole = clip_rows(store)
    for name in lost:
        shutil.rmtree(tmp_path / "store" / name)
    run(folder, store)
    assert clip_rows(store) == whole
    assert verify_store(store) == []


def test_the_place_of_a_source_is_decided_by_its_name_alone():
    sources = [Source(SourceRef(f"/v/{index}.mp4", "video"), 1, 1) for index in range(1000)]
    config = ClipsConfig(shard_sources=50)
    work, again = (
        list(split_work("t", "d", s, config, FetchConfig())) for s in (sources, sources[::-1])
    )
    assert work == again
    assert sorted((s for item in work for s in item.sources), key=sources.index) == sources
    assert len(work) == 20
    assert max(len(item.sources) for item in work) < 100


def test_how_sources_are_divided_changes_no_row(folder, tmp_path):
    stores = [str(tmp_path / name) for name in ("one", "many")]
    run(folder, stores[0])
    run(folder, stores[1], "clips.shard_sources=1")
    assert clip_rows(stores[0]) == clip_rows(stores[1])


@needs_media
@pytest.mark.media
def test_real_clips_are_all_accounted_for(tmp_path):
    record = run(REAL, str(tmp_path / "store"))
    assert record["summary"] == (
        "8 sources: 7 with clips (12 clips, 2 short), 1 error (corrupted.mp4: decode_errors)"
    )
    assert verify_store(str(tmp_path / "store")) == []
    (rotated,) = [
        row
        for row in clip_rows(str(tmp_path / "store"))
        if row["source_uri"].endswith("rotated_90.mov")
    ]
    assert (rotated["is_short"], len(rotated["frames"]), rotated["text"]) == (True, 1, [])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_it_neither_loses_nor_doubles_a_row(tmp_path):
    settings = [
        "dataset.shapes.num_train=48",
        "dataset.shapes.num_validation=8",
        "clips.shard_sources=4",
        f"dataset.root={tmp_path}/media",
    ]
    store = f"{tmp_path}/killed"
    command = [sys.executable, "-m", "pipelines.jobs.decode_clips", "--set", *settings]
    decode_clips(load_config(overrides=[*settings, f"store={tmp_path}/undisturbed"]))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    for enough in (1, 4, 8):
        job = subprocess.Popen(
            [*command, f"store={store}"], env=environment, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while _num_files(f"{store}/clips/_delta_log") < enough:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
    done = subprocess.run(
        [*command, f"store={store}"], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1])["decoded"] > 0
    assert verify_store(store) == []
    assert clip_rows(store) == clip_rows(f"{tmp_path}/undisturbed")


def _num_files(folder):
    return sum(1 for _ in Path(folder).glob("*"))


def test_clips_that_do_not_fit_the_disk_are_not_begun(videos, tmp_path):
    vast = (f"clips.size={1 << 30}", f"model.target_grid=[10, {1 << 27}, {1 << 27}]")
    with pytest.raises(StorageError, match=r"Decoding 3 sources will write at least .* TiB"):
        run(videos, tmp_path / "store", *vast)
    assert not StoreTable(str(tmp_path / "store"), "clips").exists()
