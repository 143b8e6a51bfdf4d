import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import cluster
from pipelines.clip_tokenizer import ClipTokenizer
from pipelines.config import TokenizeConfig
from pipelines.errors import ArtifactError, StorageError, StoreError
from pipelines.jobs.tokenize_clips import plan_work, tokenize_clips
from pipelines.loading.pictures import decode_picture, to_images
from pipelines.published import import_published
from pipelines.store.shards import read_shard
from pipelines.store.table import StoreTable
from pipelines.store.verify import verify_store
from tests.pipelines.drawn_clips import config_of, fill, publish_vqgan
from tests.published import SMALL, write_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _ray():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def config(tmp_path):
    return config_of(tmp_path / "store")


@pytest.fixture
def model(config, tmp_path):
    torch.manual_seed(0)
    return publish_vqgan(config, tmp_path / "vqgan")


def token_rows(config, fingerprint):
    return StoreTable(config.store, "tokens").read(where={"tokenizer": fingerprint}).to_pylist()


def test_every_clip_has_the_tokens_of_its_frames_in_raster_order(config, model):
    fill(config.store, train=5, validation=2)
    record = tokenize_clips(config)
    rows = token_rows(config, model.fingerprint)
    assert record["clips"] == len(rows) == 7
    assert record["tokens"] == 7 * 3 * 4 * 4
    clips = {row["clip_id"]: row for row in StoreTable(config.store, "clips").read().to_pylist()}
    for row in rows:
        clip = clips[row["clip_id"]]
        frames = np.stack([decode_picture(f, "frames", size=32) for f in clip["frames"]])
        expected = model.encode(to_images(frames, "frames", channels=3)).numpy()
        grid = (row["grid_s"], row["grid_h"], row["grid_w"])
        assert grid == expected.shape
        assert np.array_equal(np.frombuffer(row["tokens"], "<u2").reshape(grid), expected)
        assert (row["split"], row["text"], row["kind"]) == (clip["split"], ["a shape"], "video")


def test_tokens_of_low_precision_are_nearly_the_same(config, model, tmp_path):
    fill(config.store, train=5, clips_a_shard=5)
    [item] = plan_work(config, "frames", model.fingerprint)
    found = []
    for precision in ("float32", "bfloat16"):
        settings = replace(config.tokenize, precision=precision)
        root = str(tmp_path / precision / "tokens")
        worker = ClipTokenizer(str(tmp_path / "vqgan"), root, "frames", 32, settings)
        rows = read_shard(f"{root}/{worker.write_shard(item).shard.path}").to_pylist()
        found.append(np.frombuffer(b"".join(row["tokens"] for row in rows), "<u2"))
    assert len(found[0]) == 5 * 3 * 4 * 4
    assert 0.8 < np.mean(found[0] == found[1]) < 1


def test_a_second_run_has_nothing_to_do_and_commits_nothing(config, model, capsys):
    fill(config.store)
    tokenize_clips(config)
    table = StoreTable(config.store, "tokens")
    version = table.version()
    record = tokenize_clips(config)
    assert record["was_complete"]
    assert table.version() == version
    assert (
        f"nothing to do: all frames have tokens of {model.fingerprint}" in capsys.readouterr().out
    )


def test_only_new_clips_are_tokenized(config, model):
    fill(config.store, train=3)
    tokenize_clips(config)
    fill(config.store, train=2, seed=1)
    assert tokenize_clips(config)["clips"] == 2
    assert len(token_rows(config, model.fingerprint)) == 5


def test_sketches_get_the_tokens_of_their_own_tokenizer(config, model, tmp_path):
    fill(config.store, sketches=True)
    sketches = publish_vqgan(config, tmp_path / "seg", kind="vqgan_seg")
    record = tokenize_clips(config)
    assert record["sketches"]["fingerprint"] == sketches.fingerprint
    rows = token_rows(config, sketches.fingerprint)
    assert {row["kind"] for row in rows} == {"video_sketch"}
    assert {r["clip_id"] for r in rows} == {
        r["clip_id"] for r in token_rows(config, model.fingerprint)
    }
    assert verify_store(config.store) == []


def test_sketches_without_a_tokenizer_are_left_out_and_named(config, model, capsys):
    fill(config.store, sketches=True)
    assert tokenize_clips(config)["clips"] == 4
    assert "sketches are left out" in capsys.readouterr().out
    assert model.fingerprint


def test_another_tokenizer_leaves_the_tokens_of_the_first_alone(config, model, tmp_path):
    fill(config.store)
    tokenize_clips(config)
    other = config_of(config.store, "vqgan_training.seed=1")
    torch.manual_seed(1)
    second = publish_vqgan(other, tmp_path / "second")
    assert tokenize_clips(other)["clips"] == 4
    assert len(token_rows(config, model.fingerprint)) == 4
    assert len(token_rows(config, second.fingerprint)) == 4


def test_clips_get_the_tokens_of_a_checkpoint_that_was_imported(config, tmp_path):
    fill(config.store, train=2)
    weights = write_checkpoint(tmp_path / "f8.ckpt")
    said = import_published(tmp_path / "f8.ckpt", config.store).settings
    given = replace(
        config,
        tokenizer=said["tokenizer"],
        vqgan=SMALL,
        model=replace(config.model, **said["model"]),
    )
    assert tokenize_clips(given)["clips"] == 2
    model = VQGAN.from_taming(weights, SMALL)
    rows = token_rows(config, model.fingerprint)
    clips = {row["clip_id"]: row for row in StoreTable(config.store, "clips").read().to_pylist()}
    assert len(rows) == 2
    for row in rows:
        frames = clips[row["clip_id"]]["frames"]
        pixels = np.stack([decode_picture(frame, "frames", size=32) for frame in frames])
        expected = model.encode(to_images(pixels, "frames", channels=3)).numpy()
        assert np.array_equal(np.frombuffer(row["tokens"], "<u2"), expected.ravel())


def test_work_is_divided_by_what_files_hold_and_not_by_what_is_left(config, model):
    fill(config.store, train=16)
    before = plan_work(config, "frames", model.fingerprint)
    assert sum(len(item.keys) for item in before) == 16
    root = str(Path(config.store, "tokens").absolute())
    folder = Path(config.store).parent / "vqgan"
    worker = ClipTokenizer(str(folder), root, "frames", 32, TokenizeConfig(batch_size=8))
    result = worker.write_shard(before[0])
    StoreTable(config.store, "tokens").commit([result.shard])
    assert plan_work(config, "frames", model.fingerprint) == before[1:]


def test_work_done_twice_is_one_shard(config, model):
    fill(config.store)
    item = plan_work(config, "frames", model.fingerprint)[0]
    root = str(Path(config.store, "tokens").absolute())
    worker = ClipTokenizer(
        str(Path(config.store).parent / "vqgan"), root, "frames", 32, TokenizeConfig(batch_size=8)
    )
    first, second = worker.write_shard(item), worker.write_shard(item)
    assert first == second
    table = StoreTable(config.store, "tokens")
    table.commit([first.shard])
    table.commit([second.shard])
    assert table.num_rows() == len(item.keys)


def test_frames_of_another_size_end_in_one_line(config, model):
    fill(config.store, size=48)
    with pytest.raises(ConfigError, match=r"48×48 pixels, but clips\.size is 32") as refusal:
        tokenize_clips(config)
    assert "\n" not in str(refusal.value)
    assert not StoreTable(config.store, "tokens").exists()
    assert model.fingerprint


def test_a_store_without_clips_or_tokenizer_says_which_flow_to_run(config):
    with pytest.raises(ArtifactError, match="train-tokenizer"):
        tokenize_clips(config)


@pytest.mark.usefixtures("model")
def test_a_store_without_clips_says_which_flow_to_run(config):
    with pytest.raises(StoreError, match="prepare-data"):
        tokenize_clips(config)


@pytest.fixture
def job(config, model):
    """A job of its own process that has begun to publish; a call starts the same once more."""
    fill(config.store, train=300, clips_a_shard=4)
    command = [sys.executable, "-m", "pipelines.jobs.tokenize_clips"]
    command += ["--set", f"store={config.store}", "vqgan.width=8", "tokenize.shard_clips=2"]
    command += [f"tokenizer={next(Path(config.store).glob('artifacts/vqgan/*/'))}"]
    root = Path(config.store, "tokens")
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while len(list(root.rglob("*.parquet"))) < 5:
        assert running.poll() is None
        time.sleep(0.02)
    yield (
        running,
        lambda: (
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        ),
    )
    running.kill()


def clips_told(said):
    return json.loads(said.splitlines()[-1])["clips"]


def has_each_clip_once(config, model):
    keys = Counter(row["clip_id"] for row in token_rows(config, model.fingerprint))
    return set(keys.values()) == {1} and len(keys) == 300


@pytest.mark.slow
def test_a_job_killed_in_the_middle_neither_loses_nor_doubles_a_clip(config, model, job):
    running, again = job
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert clips_told(again()) > 0
    assert has_each_clip_once(config, model)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_is_started_again(config, model, job):
    running, _ = job
    family = psutil.Process(running.pid).children(recursive=True)
    (worker,) = [p for p in family if p.cmdline() and "ray::ClipTokenizer" in p.cmdline()[0]]
    worker.kill()
    said, _ = running.communicate(timeout=240)
    assert running.returncode == 0
    assert clips_told(said) == 300
    assert has_each_clip_once(config, model)


def test_tokens_that_do_not_fit_the_disk_are_not_begun(config, model):
    fill(config.store, train=2)
    vast = (f"clips.size={1 << 30}", f"model.target_grid=[10, {1 << 27}, {1 << 27}]")
    with pytest.raises(StorageError, match=r"Tokenizing 2 clips will write at least .* TiB"):
        tokenize_clips(config_of(config.store, *vast))


def test_no_actor_waits_for_a_processor_that_the_cluster_lacks():
    assert cluster.wrap_model_worker(ClipTokenizer, 64)[1] == 2
    assert cluster.wrap_model_worker(ClipTokenizer, 1)[1] == 1
