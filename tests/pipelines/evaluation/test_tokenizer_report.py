"""The report of a store that has clips and tokenizers, and no model yet."""

import base64
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.evaluation.goals import GOALS
from pipelines.evaluation.report import codes_of
from pipelines.jobs.score import score
from pipelines.jobs.train_vqgan import make_plan
from pipelines.training.observers import Observers
from pipelines.training.vqgan import train_rank
from tests.pipelines.drawn_clips import config_of, fill
from tests.pipelines.evaluation.page import Page


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Settings, the report's record, and its folder."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store")
    fill(store, train=4, validation=2, sketches=True)
    config = config_of(store)
    for content in ("frames", "sketches"):
        train_rank(make_plan(config, content), Observers())
    torch.set_num_threads(threads)
    record = score(config)
    return config, record, Path(record["report"]).parent


@pytest.fixture(scope="module")
def page(trained):
    return Page((trained[2] / "index.html").read_text())


@pytest.fixture(scope="module")
def numbers(trained):
    facts = json.loads((trained[2] / "report.json").read_text())
    return {(row["task"], row["metric"]): row for row in facts["metrics"]}


def test_both_tokenizers_show_originals_above_reconstructions(page):
    drawn = [attrs for attrs in page.all("img") if "their reconstructions below" in attrs["alt"]]
    assert len(drawn) == 2
    for attrs in drawn:
        data = base64.b64decode(attrs["src"].split(",", 1)[1])
        assert Image.open(io.BytesIO(data)).size == (6 * 32, 2 * 32)


def test_every_number_of_a_tokenizer_is_there(numbers):
    use = {"codes alive", "perplexity"}
    assert {metric for task, metric in numbers if task == "vqgan"} == {"PSNR", "SSIM", *use}
    assert {metric for task, metric in numbers if task == "vqgan_seg"} == {"PA", "FWIoU", *use}


def test_codes_are_told_as_a_share_of_the_codebook(numbers):
    for task, size in (("vqgan", 64), ("vqgan_seg", 32)):
        alive, perplexity = numbers[task, "codes alive"], numbers[task, "perplexity"]
        count = round(alive["value"] * size)
        assert alive["note"] == f"{count} of {size} tokens"
        assert 1 <= perplexity["value"] <= count
        share = 100 * perplexity["value"] / size
        assert float(perplexity["note"].split(" %")[0]) == pytest.approx(share, rel=1e-2)


def test_the_record_and_the_first_numbers_of_the_page_are_those_of_the_tokenizers(trained, page):
    told = {"vqgan PSNR", "vqgan SSIM", "vqgan codes alive", "vqgan_seg PA", "vqgan_seg FWIoU"}
    assert told <= trained[1].keys()
    assert "VQ-GAN-Seg · FWIoU" in page.text
    assert "label maps" in page.text


def test_the_page_speaks_of_no_model_and_says_how_it_is_made_again(trained, page):
    facts = json.loads((trained[2] / "report.json").read_text())
    assert "Nothing was generated yet." in page.text
    assert "transformer with 3D nearby attention" not in page.text
    assert facts["command"].startswith("nuwa run train-tokenizer --preset tiny")


def test_the_use_of_the_codebook_is_drawn_over_the_training(page):
    assert "VQ-GAN, frames: codebook" in page.text
    assert len(page.all("svg")) == 4


def test_a_step_with_several_losses_is_one_point_of_the_codebooks_curve():
    use = {"codes_alive": 3, "perplexity": 1.5}
    records = [{"step": 1, "task": task, "loss": 0.1, **use} for task in ("a", "b")]
    assert codes_of(records) == {"alive": [(1, 3)], "perplexity": [(1, 1.5)]}
    assert codes_of([{"step": 1, "task": "a", "loss": 0.1}]) == {}


def test_both_codebooks_of_the_demo_are_to_be_used():
    assert GOALS["vqgan", "codes alive"] == GOALS["vqgan_seg", "codes alive"] == 0.9
