import json
import re
import time
from pathlib import Path

import pytest
import ray
import requests

from flows.guard import free_port
from pipelines.meters import TRAINING, Meters, TrainingMeters

DASHBOARDS = Path(__file__).parents[2] / "infra/grafana"


@pytest.fixture
def exported(monkeypatch):
    """``exported()``: what Ray hands to Prometheus of our counts, by name and labels."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = free_port()
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 500},
    )

    def read():
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        found = {}
        for line in text.splitlines():
            if line.startswith("ray_nuwa_"):
                name, labels, value = re.fullmatch(r"(\w+){(.*)} (\S+)", line).groups()
                told = dict(re.findall(r'(job_name|code|run|task)="([^"]*)"', labels))
                whose = told.get("job_name") or told.get("run")
                found[name, whose, told.get("code") or told.get("task")] = float(value)
        return found

    yield read
    ray.shutdown()


def test_prometheus_is_told_what_a_job_has_done(exported):
    meters = Meters("decode_clips")
    meters.waiting(7)
    meters.count(clips=3, frames=30, tokens=0)
    meters.count(clips=2, tokens=640)
    meters.count_errors({"truncated": 1, "timeout": 2})
    expected = {
        ("ray_nuwa_clips_total", "decode_clips", None): 5,
        ("ray_nuwa_frames_total", "decode_clips", None): 30,
        ("ray_nuwa_tokens_total", "decode_clips", None): 640,
        ("ray_nuwa_errors_total", "decode_clips", "truncated"): 1,
        ("ray_nuwa_errors_total", "decode_clips", "timeout"): 2,
        ("ray_nuwa_queue_depth", "decode_clips", None): 7,
    }
    assert settled(exported, expected) == expected
    assert drawn("data_plane.json") == {name for name, _, _ in expected}


def test_prometheus_is_told_how_a_training_goes(exported):
    values = dict.fromkeys(TRAINING, 0.5)
    records = [{"task": task, "loss": 2.0, **values} for task in ("T2I", "T2V")]
    TrainingMeters("pretrain-1").show(records)
    expected = {("ray_nuwa_training_loss", "pretrain-1", task): 2.0 for task in ("T2I", "T2V")}
    expected |= {(f"ray_nuwa_training_{name}", "pretrain-1", None): 0.5 for name in TRAINING}
    assert settled(exported, expected) == expected
    assert drawn("training.json") == {name for name, _, _ in expected}


def settled(exported, expected):
    deadline = time.monotonic() + 60
    while (found := exported()) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def drawn(dashboard):
    """Metrics of the panels: they draw what there is."""
    panels = json.loads((DASHBOARDS / dashboard).read_text())["panels"]
    return set(re.findall(r"ray_nuwa_\w+", " ".join(p["targets"][0]["expr"] for p in panels)))
