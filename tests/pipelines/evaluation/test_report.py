"""The report: one page that needs nothing but itself."""

import base64
import io
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from pipelines import storage
from pipelines.errors import StoreError
from pipelines.evaluation.report import curves_of, duration, number
from pipelines.evaluation.stages import read_stages
from pipelines.jobs.score import score
from pipelines.presets import RUN_PRESETS
from tests.pipelines.evaluation.page import Page


@pytest.fixture(scope="module")
def run(drawn_run):
    config = drawn_run(count=26, num_train=0)
    return config, score(config)


@pytest.fixture(scope="module")
def page(run):
    return Page(Path(run[1]["report"]).read_text())


@pytest.fixture(scope="module")
def facts(run):
    return json.loads((Path(run[0].report_root) / "report.json").read_text())


def data(uri, kind):
    assert uri.startswith(f"data:{kind}")
    return base64.b64decode(uri.split(",", 1)[1], validate=True)


def test_the_page_loads_nothing_from_elsewhere(page, run):
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    text = Path(run[1]["report"]).read_text()
    assert not re.search(r"@import|url\((?!#)", text)


def test_every_link_on_the_page_leads_somewhere(page):
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    targets = {attrs["href"].removeprefix("#") for attrs in page.all("a")}
    assert targets <= ids


def test_the_page_is_small_enough_to_send(run):
    assert storage.size(run[1]["report"]) < 15_000_000


def test_every_picture_decodes_and_has_a_text_in_its_stead(page):
    pictures = page.all("img")
    assert len(pictures) > 60
    for attrs in pictures:
        assert attrs["alt"]
        Image.open(io.BytesIO(data(attrs["src"], "image/"))).load()


def test_every_video_plays_by_itself_and_decodes_to_ten_frames(page, tmp_path):
    videos = page.all("video")
    assert len(videos) >= 24 + 24 + 5  # the first of T2V and V2V, and all failures of T2V
    for attrs in videos[:2]:
        assert {"autoplay", "loop", "muted", "playsinline", "controls"} <= attrs.keys()
        path = tmp_path / "video.mp4"
        path.write_bytes(data(attrs["src"], "video/mp4"))
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "framemd5", "-"]
        frames = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert len([line for line in frames.splitlines() if not line.startswith("#")]) == 10


def test_the_gallery_shows_the_first_samples_by_number_and_failures_apart(page):
    shown = [int(number) for number in re.findall(r"#(\d+) · ", page.text)]
    wrong = [4, 9, 14, 19, 24]
    assert shown[:29] == [*range(24), *wrong]


def test_verdicts_are_told_in_words(page):
    assert "✗ goal: at least 95 %" in page.text
    assert re.search(r"✗ \w+, not \w+", page.text)
    assert "5 of 26 are wrong: the first 5" in page.text


def test_the_page_draws_both_curves(page):
    assert len(page.all("svg")) == 2
    assert "Transformer, loss by task" in page.text


def test_report_json_holds_what_the_plan_promises(facts, run):
    assert all({"task", "metric", "value", "num_samples"} <= row.keys() for row in facts["metrics"])
    assert facts["stages"] == [{"name": "pretrain", "seconds": 187.5}]
    assert facts["versions"]["torch"]
    assert facts["command"].startswith("nuwa run demo --preset tiny --set ")
    assert facts["config"]["store"] == run[0].store


def test_the_record_has_the_headline_numbers(run):
    record = run[1]
    assert record["T2V all"] == round(21 / 26, 4)
    assert record["judge all"] == 1.0
    assert record["num_samples"] == 78


def test_a_second_report_replaces_the_first(drawn_run):
    config = drawn_run(("T2I",), count=2, num_train=0)
    page = Path(config.report_root) / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("an earlier report")
    score(config)
    assert page.read_text().startswith("<!doctype html>")
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "report.json"}


def test_a_run_that_was_never_sampled_still_gets_a_report(drawn_run):
    config = drawn_run((), count=3, num_train=0)
    record = score(config)
    assert record["num_samples"] == 0
    facts = json.loads((Path(config.report_root) / "report.json").read_text())
    assert any("the flow evaluate" in line for line in facts["absent"])


def test_captions_cannot_break_the_page(drawn_run):
    hostile = '<script>alert("x")</script> & "quotes"'
    config = drawn_run(("T2I",), count=1, text=hostile, num_train=0)
    page = Page(Path(score(config)["report"]).read_text())
    assert hostile in page.text
    assert len(page.all("script")) == 1


def test_an_empty_store_is_refused_in_one_line(tmp_path):
    config = replace(RUN_PRESETS["tiny"], store=str(tmp_path))
    with pytest.raises(StoreError, match="run the flow prepare-data first"):
        score(config)


def test_a_damaged_record_is_named(tmp_path):
    storage.replace_bytes(str(tmp_path / "records" / "pretrain.json"), b"{}")
    with pytest.raises(StoreError, match=r"pretrain\.json is no record"):
        read_stages(str(tmp_path))


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.9727, "share", "97.3 %"),
        (27.4084, "dB", "27.41 dB"),
        (1204, "", "1,204"),
        (0.05213, "", "0.05213"),
    ],
)
def test_numbers_are_written_as_a_person_would(value, unit, words):
    assert number(value, unit) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.21, "4.2 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_times_are_written_as_a_person_would(seconds, words):
    assert duration(seconds) == words


def test_a_curve_is_drawn_for_each_task():
    records = [{"step": step, "task": task, "loss": 1.0} for step in (1, 2) for task in ("a", "b")]
    assert curves_of(records) == {"a": [(1, 1.0), (2, 1.0)], "b": [(1, 1.0), (2, 1.0)]}


def test_a_page_about_own_clips_promises_nothing_and_does_not_send_to_the_demo(drawn_run):
    """Stages after the first need not be told where the clips came from."""
    config = drawn_run(("V2V",), count=2, text="", dataset="folder")
    assert config.dataset.name == "moving_shapes"
    root = Path(score(config)["report"]).parent
    facts, page = json.loads((root / "report.json").read_text()), (root / "index.html").read_text()
    assert facts["datasets"] == ["folder"]
    assert facts["command"].startswith("nuwa run evaluate --preset tiny")
    assert "what one run made of <b>folder</b>" in page
    assert "goal: at least" not in page
