import json

from flows.checkpoint_cli import sparkline
from tests.pipelines.training.toy import train_toy


def test_checkpoints_are_listed_run_by_run_and_shown_with_their_curve(nuwa, tmp_path):
    last = train_toy(tmp_path, log_every=1)
    listed = json.loads(nuwa("checkpoint", "ls", tmp_path, "--json").stdout)
    assert [(one["run"], one["step"], one["steps"]) for one in listed] == [
        ("toy", 4, 6), ("toy", 6, 6)
    ]  # fmt: skip
    told = nuwa("checkpoint", "ls", tmp_path).stdout
    assert sum(line.endswith("best") for line in told.splitlines()) == 1
    assert "2, by their manifests" in told
    shown = nuwa("checkpoint", "show", last.uri).stdout
    assert "validation_loss" in shown
    assert shown.splitlines()[-1].startswith("T2V")
    curve = json.loads(nuwa("checkpoint", "show", last.uri, "--json").stdout)["curve"]
    assert [record["step"] for record in curve] == [1, 2, 3, 4, 5, 6]


def test_mistakes_end_in_one_line(nuwa, tmp_path):
    last = train_toy(tmp_path / "store")
    for argv, said in (
        (("export", last.uri, tmp_path / "out"), "no checkpoint of a transformer"),
        (("show", tmp_path / "nowhere"), "is not a complete artifact"),
    ):
        ended = nuwa("checkpoint", *argv)
        assert ended.returncode == 1
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert "has no checkpoints" in nuwa("checkpoint", "ls", tmp_path / "nowhere").stdout


def test_a_sparkline_falls_as_its_values_do():
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"
    assert sparkline([1.0]) == "▁"
    assert len(sparkline(range(1000))) == 40
