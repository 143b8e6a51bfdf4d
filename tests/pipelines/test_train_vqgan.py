import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import torch
from PIL import Image

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, names
from pipelines.errors import StoreError, TrainingError
from pipelines.jobs.train_vqgan import make_plan, train_vqgan
from pipelines.training import checkpoint
from pipelines.training.observers import Observers
from pipelines.training.vqgan import learning_rate, train_rank
from pipelines.training.vqgan_samples import MOST_KEPT, SampleGrids, is_kept
from tests.lpips import write_lpips
from tests.pipelines.drawn_clips import config_of, fill

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class PowerCutError(Exception):
    """What a process that is killed does not see."""


def cut_at(step):
    def on_step(done, _note):
        if done == step:
            raise PowerCutError

    return Observers(on_step=on_step)


def train(store, *settings, observers=None, content="frames"):
    """Train in this process, as any rank would; the artifact."""
    config = config_of(store, *settings)
    plan = make_plan(config, content)
    train_rank(plan, observers or Observers())
    return artifacts.load(artifacts.artifact_uri(plan.store, plan.kind, plan.name))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((), id="as it is"),
        pytest.param(
            (
                "vqgan.is_cosine=true",
                "vqgan_training.codebook=gradient",
                "vqgan_training.ema_decay=0.9",
            ),
            id="averaged, cosine, gradient",
        ),
    ],
)
def test_training_resumed_in_the_middle_equals_training_never_stopped(tmp_path, settings):
    for name in ("whole", "cut"):
        fill(tmp_path / name)
    whole = train(tmp_path / "whole", *settings)
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", *settings, observers=cut_at(5))  # the last checkpoint is of step 4
    cut = train(tmp_path / "cut", *settings)
    assert cut.metadata["fingerprint"] == whole.metadata["fingerprint"]
    assert cut.metadata["curve"] == whole.metadata["curve"]
    assert cut.metadata["steps"] == 6


def test_a_run_that_goes_on_reads_the_clips_that_it_began_with(tmp_path):
    for name in ("whole", "cut"):
        fill(tmp_path / name)
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", observers=cut_at(3))
    fill(tmp_path / "cut", seed=1)
    cut, whole = train(tmp_path / "cut"), train(tmp_path / "whole")
    assert cut.metadata["fingerprint"] == whole.metadata["fingerprint"]


def test_pictures_are_compared_by_lpips_where_its_files_are_given(tmp_path, monkeypatch):
    write_lpips(tmp_path)
    for name in ("with", "without"):
        fill(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    files = ("vqgan_training.vgg16=vgg16.pth", "vqgan_training.lpips=vgg.pth")
    quick = ("vqgan_training.steps=2", "vqgan_training.log_every=1")
    judged = train("with", *quick, *files)
    plain = train("without", *quick)
    first = {record["task"] for record in judged.metadata["curve"] if record["step"] == 1}
    assert "perceptual" in first, "LPIPS needs no discriminator, which begins later"
    assert judged.metadata["fingerprint"] != plain.metadata["fingerprint"]
    assert judged.name != plain.name


def test_lpips_needs_both_of_its_files(tmp_path):
    with pytest.raises(ConfigError, match=r"two files, but vgg16 is 'x' and lpips ''"):
        config_of(tmp_path, "vqgan_training.vgg16=x")


def grids_of(artifact, store):
    folder = Path(store) / "runs" / artifact.name / "samples"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_checkpoint_leaves_a_grid_of_reconstructions_that_stays(tmp_path):
    fill(tmp_path, train=2, validation=2)
    artifact = train(tmp_path)
    grids = grids_of(artifact, tmp_path)
    assert sorted(grids) == ["newest.png", *(f"step-0000000{step}.png" for step in (2, 4, 6))]
    assert grids["newest.png"] == grids["step-00000006.png"]
    assert grids["newest.png"] == (Path(artifact.uri) / "reconstructions.png").read_bytes()
    assert grids["step-00000002.png"] != grids["step-00000004.png"]
    with Image.open(io.BytesIO(grids["newest.png"])) as picture:
        assert picture.size == (6 * 32, 2 * 32)


def test_a_run_that_goes_on_draws_the_grids_of_one_never_stopped(tmp_path):
    for name in ("whole", "cut"):
        fill(tmp_path / name)
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", observers=cut_at(5))
    cut, whole = train(tmp_path / "cut"), train(tmp_path / "whole")
    assert grids_of(cut, tmp_path / "cut") == grids_of(whole, tmp_path / "whole")


def test_drawing_takes_no_random_number_and_changes_no_weight(tmp_path):
    fill(tmp_path)
    plan = make_plan(config_of(tmp_path), "frames")
    model = VQGAN(plan.vqgan).train()
    fingerprint, state = model.fingerprint, torch.get_rng_state()
    SampleGrids(plan, plan.pictures("train")).write(model, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.fingerprint == fingerprint
    assert model.training


def test_a_long_run_keeps_no_more_grids_than_a_person_looks_at():
    for steps, every in ((200_000, 200), (6, 2), (1001, 10), (99, 1), (5, 100)):
        changes = [
            f"vqgan_training.{k}={v}" for k, v in (("steps", steps), ("checkpoint_every", every))
        ]
        training = config_of("anywhere", *changes).vqgan_training
        kept = [step for step in {*range(every, steps, every), steps} if is_kept(step, training)]
        assert len(kept) <= MOST_KEPT + 1
        assert len(kept) == -(-steps // every) or len(kept) > MOST_KEPT // 2 - 1
        assert steps in kept


def test_the_curve_tells_how_the_codebook_is_used_and_lies_beside_the_grids(tmp_path):
    fill(tmp_path)
    artifact = train(tmp_path)
    lines = (tmp_path / "runs" / artifact.name / "curve.jsonl").read_text().splitlines()
    assert lines
    for record in map(json.loads, lines):
        assert 1 <= record["codes_alive"] <= 64
        assert 1 <= record["perplexity"] <= 64


def test_a_watcher_is_told_how_many_codes_live(tmp_path):
    fill(tmp_path)
    notes = []
    train(tmp_path, observers=Observers(on_step=lambda _done, note: notes.append(note)))
    assert all(re.fullmatch(r"loss \d+\.\d{4} codes \d+/64", note) for note in notes)


def test_a_damaged_checkpoint_is_passed_by(tmp_path, caplog):
    for name in ("whole", "cut"):
        fill(tmp_path / name)
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", observers=cut_at(5))
    run = names.vqgan_name(config_of(tmp_path))
    state = tmp_path / f"cut/artifacts/checkpoint/{run}/step-00000004/state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    cut, whole = train(tmp_path / "cut"), train(tmp_path / "whole")
    assert "step-00000004" in caplog.text
    assert cut.metadata["fingerprint"] == whole.metadata["fingerprint"]


def test_checkpoints_are_deleted_once_the_artifact_stands(tmp_path):
    fill(tmp_path)
    artifact = train(tmp_path)
    assert checkpoint.newest(str(tmp_path), artifact.name) is None
    assert not list((tmp_path / "artifacts/checkpoint").glob("*/*/state.pt"))


def test_a_finished_model_reports_itself(tmp_path):
    fill(tmp_path, validation=2)
    artifact = train(tmp_path)
    told = artifact.metadata
    assert told["measured_on"] == "validation"
    assert told["num_validation"] == 6
    assert 0 < told["psnr"] < 50
    assert 0 < told["ssim"] < 1
    assert 1 <= told["codes_alive"] <= 64
    assert {point["task"] for point in told["curve"]} >= {"reconstruction", "discriminator"}
    model = VQGAN.from_pretrained(artifact.uri)
    assert model.fingerprint == told["fingerprint"]
    with Image.open(Path(artifact.uri) / "reconstructions.png") as picture:
        assert picture.size == (6 * 32, 2 * 32)


def test_sketches_are_learned_by_their_classes(tmp_path):
    fill(tmp_path, sketches=True)
    settings = ("vqgan_seg_training.steps=60", "vqgan_seg_training.learning_rate=3e-3")
    told = train(tmp_path, *settings, content="sketches").metadata
    assert told["measured_on"] == "train"
    assert told["pixel_accuracy"] > 0.8  # background alone is 0.9
    assert 0 < told["fwiou"] <= 1


def test_two_ranks_do_what_one_does_at_the_same_global_batch(tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / name)
    no_critic = "vqgan_training.adversarial_weight=0"  # its weight is each rank's own
    one = train(tmp_path / "one", no_critic).metadata
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "tests.pipelines.drawn_clips"]
    settings = ["vqgan_training.num_workers=2", no_critic]
    command += [str(tmp_path / "two"), *settings]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    config = config_of(tmp_path / "two", *settings)
    uri = artifacts.artifact_uri(config.store, "vqgan", names.vqgan_name(config))
    two = artifacts.load(uri).metadata
    assert two["world_size"] == 2
    # Only sums over the batch are rounded elsewhere; bfloat16 has eight bits.
    for a, b in zip(one["curve"], two["curve"], strict=True):
        assert (a["step"], a["task"]) == (b["step"], b["task"])
        assert a["loss"] == pytest.approx(b["loss"], rel=0.02, abs=5e-4)


def test_the_learning_rate_warms_up_and_comes_down():
    training = config_of("anywhere", "vqgan_training.steps=100").vqgan_training
    rates = [learning_rate(step, training) / training.learning_rate for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0.02 <= rates[-1] < 0.03


def test_frames_of_another_size_are_refused_by_the_setting(tmp_path):
    fill(tmp_path, size=48)
    with pytest.raises(TrainingError, match=r"48×48 pixels, but clips\.size is 32"):
        as_training_error(lambda: train(tmp_path))


def as_training_error(function):
    """One process raises the error itself, several pass its line on."""
    try:
        function()
    except ConfigError as error:
        raise TrainingError(str(error)) from error


def test_a_sketch_with_more_labels_than_channels_is_refused_by_the_setting(tmp_path):
    fill(tmp_path, sketches=True, train=8)
    with pytest.raises(ConfigError, match=r"set vqgan_seg\.channels"):
        train(tmp_path, "vqgan_seg.channels=2", content="sketches")


def test_a_store_without_clips_for_training_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="prepare-data"):
        make_plan(config_of(tmp_path), "frames")
    fill(tmp_path, train=0, validation=2)
    with pytest.raises(StoreError, match="no frames of split train"):
        make_plan(config_of(tmp_path), "frames")


def test_a_sketch_tokenizer_needs_other_channels_than_frames_have(tmp_path):
    fill(tmp_path, sketches=True)
    with pytest.raises(ConfigError, match=r"vqgan_seg\.channels is 3"):
        make_plan(config_of(tmp_path, "vqgan_seg.channels=3"), "sketches")


@pytest.fixture(scope="module")
def _ray():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_ray")
def test_the_job_trains_both_tokenizers_on_ray_and_then_has_nothing_to_do(tmp_path, capsys):
    fill(tmp_path, sketches=True)
    config = config_of(tmp_path)
    record = train_vqgan(config)
    told = capsys.readouterr().out
    for content, name in (
        ("frames", names.vqgan_name(config)),
        ("sketches", names.vqgan_seg_name(config)),
    ):
        place = tmp_path / "runs" / name / "samples/newest.png"
        assert f"reconstructions of {content} while training: {place}" in told
        assert place.exists()
    assert not record["was_complete"]
    assert record["fingerprint"] == VQGAN.from_pretrained(record["artifact"]).fingerprint
    assert record["sketches"]["pixel_accuracy"] > 0
    again = train_vqgan(config)
    assert again["was_complete"]
    assert again["fingerprint"] == record["fingerprint"]
    assert "vqgan already complete" in capsys.readouterr().out


@pytest.mark.usefixtures("_ray")
@pytest.mark.slow
def test_without_sketches_the_job_says_that_it_leaves_them_out(tmp_path, capsys):
    fill(tmp_path)
    record = train_vqgan(config_of(tmp_path, "vqgan_training.steps=2"))
    assert record["sketches"]["skipped"] == "the clips table has no sketches"
    assert "no vqgan_seg" in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_killed_at_any_moment_ends_as_one_never_killed(tmp_path):
    for name in ("whole", "cut"):
        fill(tmp_path / name)
    steps = "vqgan_training.steps=200"
    whole = train(tmp_path / "whole", steps, "vqgan_training.checkpoint_every=10")
    config = config_of(tmp_path / "cut", steps, "vqgan_training.checkpoint_every=10")
    command = [sys.executable, "-m", "tests.pipelines.drawn_clips", config.store, steps]
    command.append("vqgan_training.checkpoint_every=10")
    deaths = 0
    for wanted in (20, 60, 110):
        job = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while job.poll() is None:
            newest = checkpoint.newest(config.store, names.vqgan_name(config))
            if newest and newest.metadata["step"] >= wanted:
                job.send_signal(signal.SIGKILL)
                deaths += job.wait() == -signal.SIGKILL
            time.sleep(0.05)
    assert deaths
    cut = train(tmp_path / "cut", steps, "vqgan_training.checkpoint_every=10")
    assert cut.metadata["fingerprint"] == whole.metadata["fingerprint"]
