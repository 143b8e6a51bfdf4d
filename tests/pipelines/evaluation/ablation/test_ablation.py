"""An ablation from clips to its report, in processes of its own and in this one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from flows.closing import ablation_lines
from nuwa_model.errors import ConfigError
from pipelines import artifacts, names
from pipelines.errors import StoreError
from pipelines.evaluation.ablation import table
from pipelines.evaluation.ablation.trainings import (
    KIND,
    list_trainings,
    make_plan,
    pin_clips,
    train_missing,
)
from pipelines.evaluation.ablation.variants import make_variants
from pipelines.jobs.ablate_tokenizer import ablate_tokenizer
from pipelines.loading.pictures import Pictures
from pipelines.store.table import StoreTable
from pipelines.training import checkpoint
from pipelines.training.observers import Observers
from pipelines.training.vqgan import train_each
from tests.pipelines.drawn_clips import config_of, fill, publish_vqgan

SIZE = 48
QUICK = (
    f"clips.size={SIZE}",
    "model.target_grid=[10,6,6]",
    "ablation.seeds=2",
    "ablation.steps=2",
    "vqgan_training.adversarial_start=3",
    "vqgan_training.checkpoint_every=1",
)


class PowerCutError(Exception):
    """What a process that is killed does not see."""


def plans_of(config):
    trainings = list_trainings(config, make_variants(config))
    version = pin_clips(config, trainings)
    return [make_plan(config, training, clips_version=version) for training in trainings]


def train_here(config, observers=None):
    """Train in this process, as any rank would."""
    train_each(plans_of(config), observers or Observers())


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with a tokenizer of its own, and the report of an ablation in it."""
    store = tmp_path_factory.mktemp("store")
    fill(store, train=32, validation=22, size=SIZE)
    config = config_of(store, *QUICK)
    publish_vqgan(config, tmp_path_factory.mktemp("vqgan"))
    train_here(config)
    return config, ablate_tokenizer(config)


@pytest.fixture(scope="module")
def report(finished):
    page = Path(finished[1]["report"])
    return json.loads((page.parent / "report.json").read_text())


def test_every_variant_is_measured_with_every_seed_on_the_same_held_out_pictures(report):
    assert (report["split"], report["num_pictures"], report["size"]) == ("validation", 66, 24)
    assert [one["num_tokens"] for one in report["variants"]] == [9, 9, 36, 36]
    for variant in report["variants"]:
        assert [seed["seed"] for seed in variant["seeds"]] == [0, 1]
        assert all(seed["frechet"] > 0 for seed in variant["seeds"])
        assert all(0 < seed["ssim"] < 1 for seed in variant["seeds"])
        assert all(1 <= seed["codes_alive"] <= 64 for seed in variant["seeds"])


def test_a_distance_is_named_by_its_network_and_the_hash_of_its_weights(report):
    assert report["metric"] == "FID[rotation-net]"
    name, _, digest = report["extractor"].partition(" sha256:")
    assert name == "rotation-net"
    assert len(bytes.fromhex(digest)) == 32


def test_mean_and_deviation_are_those_of_the_seeds(report):
    for variant in report["variants"]:
        one, other = (seed["frechet"] for seed in variant["seeds"])
        assert variant["mean"]["frechet"] == pytest.approx((one + other) / 2)
        assert variant["deviation"]["frechet"] == pytest.approx(abs(one - other) / 2**0.5)


def test_the_two_questions_are_answered_from_the_means(report):
    mean = {one["name"]: one["mean"]["frechet"] for one in report["variants"]}
    losses, tokens = report["comparisons"]
    assert losses["difference"] == pytest.approx(mean["vqgan"] - mean["vqvae"])
    assert tokens["difference"] == pytest.approx(mean["vqgan-half"] - mean["vqgan-large"])
    for one in (losses, tokens):
        decided = abs(one["difference"]) > one["spread"]
        assert ("more than these spread" in one["says"]) == decided


def test_the_stores_own_tokenizer_is_still_the_only_one(finished):
    config, _ = finished
    assert artifacts.list_names(config.store, "vqgan") == [names.vqgan_name(config)]
    assert len(artifacts.list_names(config.store, KIND)) == 8
    found = artifacts.find(config.store, "vqgan", "a name of other settings")
    assert found.name == names.vqgan_name(config)


def test_a_finished_ablation_trains_nothing_again(finished):
    _, record = finished
    assert (record["num_trainings"], record["num_trained"]) == (8, 0)
    assert not ray.is_initialized()


def test_the_page_shows_the_table_the_answers_and_a_row_of_pictures_for_each_variant(
    finished, report
):
    page = Path(finished[1]["report"])
    html = page.read_text()
    assert all(cell in html for row in table.rows(report) for cell in row)
    assert all(one["says"] in html for one in report["comparisons"])
    assert html.count("data:image/png") == 5
    with Image.open(page.parent / "reconstructions.png") as picture:
        assert picture.size == (8 * 96, 5 * 96)


def test_a_terminal_is_told_the_table_the_answers_and_the_published_numbers(report):
    lines = ablation_lines(report)
    for row in (table.headers(report), *table.rows(report), *table.paper_rows(report)):
        assert any(all(cell in line for cell in row) for line in lines)
    assert all(one["says"] in lines for one in report["comparisons"])


def test_the_command_of_the_page_makes_it_again(finished, report):
    assert report["command"].startswith("nuwa run ablate-tokenizer --preset tiny --set ")
    assert f"store={finished[0].store}" in report["command"]


def test_the_first_row_of_the_picture_is_the_held_out_clips_averaged_down(finished):
    config, record = finished
    pictures = Pictures.load(config.store, "frames", "validation", size=SIZE, shrink=2)
    first, last = pictures.at(np.array([0, 7 * 66 // 8]))
    with Image.open(Path(record["report"]).parent / "reconstructions.png") as picture:
        row = np.asarray(picture)[:96:4, ::4]
    assert np.array_equal(row[:, :24], first)
    assert np.array_equal(row[:, -24:], last)


def test_two_halves_of_the_originals_are_apart_and_an_untrained_model_is_farther(report):
    assert 0 < report["floor"] < min(one["mean"]["frechet"] for one in report["variants"])


def test_an_ablation_that_was_killed_goes_on_and_repeats_nothing(tmp_path):
    fill(tmp_path, size=SIZE)
    config = config_of(tmp_path, *QUICK, "ablation.seeds=1")

    def cut(done, _note):
        if done == 4:  # the second of two steps of the second training, not yet saved
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train_here(config, Observers(on_step=cut))
    first, second, *_ = [plan.name for plan in plans_of(config)]
    assert artifacts.list_names(config.store, KIND) == [first]
    assert checkpoint.newest(config.store, second).metadata["step"] == 1
    steps = []
    train_here(config, Observers(on_step=lambda done, _note: steps.append(done)))
    assert steps == [4, 5, 6, 7, 8]
    assert len(artifacts.list_names(config.store, KIND)) == 4


def test_all_trainings_read_the_clips_that_the_first_began_with(tmp_path):
    fill(tmp_path, size=SIZE)
    config = config_of(tmp_path, *QUICK)
    began = plans_of(config)
    train_each(began[:1], Observers())
    fill(tmp_path, size=SIZE, seed=1)
    assert StoreTable(str(tmp_path), "clips").version() > began[0].clips_version
    assert plans_of(config) == began


def test_too_few_pictures_are_refused_before_anything_is_trained(tmp_path):
    fill(tmp_path, train=4, validation=2, size=SIZE)
    with pytest.raises(StoreError, match=r"has 6 pictures of split validation.* needs 64"):
        ablate_tokenizer(config_of(tmp_path, *QUICK))
    assert not artifacts.list_kinds(str(tmp_path))


def test_a_store_without_clips_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="no clips of split train yet: run prepare-data"):
        ablate_tokenizer(config_of(tmp_path, *QUICK))


def test_settings_are_checked_before_the_store_is_read(tmp_path):
    with pytest.raises(ConfigError, match="adversarial_weight is 0"):
        ablate_tokenizer(config_of(tmp_path, *QUICK, "vqgan_training.adversarial_weight=0"))


@pytest.mark.slow
def test_the_job_trains_on_ray_what_is_missing(tmp_path):
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        fill(tmp_path, train=64, size=SIZE)
        config = config_of(tmp_path, *QUICK)
        record = ablate_tokenizer(config)
        assert record["num_trained"] == 8
        more = replace(config, ablation=replace(config.ablation, seeds=3))
        trainings = list_trainings(more, make_variants(more))
        version = pin_clips(more, trainings)
        assert train_missing(more, trainings, clips_version=version) == 4
    finally:
        ray.shutdown()
    report = json.loads((Path(record["report"]).parent / "report.json").read_text())
    assert report["split"] == "train"
    assert any("Nothing was held out" in note for note in report["notes"])
