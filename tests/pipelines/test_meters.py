import json
import re
import time
from pathlib import Path

import pytest
import ray
import requests

from flows.guard import free_port
from pipelines.meters import Meters

DASHBOARD = Path(__file__).parents[2] / "infra/grafana/data_plane.json"


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
                told = dict(re.findall(r'(job_name|code)="([^"]*)"', labels))
                found[name, told.get("job_name"), told.get("code")] = float(value)
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
    deadline = time.monotonic() + 60
    while (found := exported()) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == expected
    panels = json.loads(DASHBOARD.read_text())["panels"]
    drawn = re.findall(r"ray_nuwa_\w+", " ".join(p["targets"][0]["expr"] for p in panels))
    assert set(drawn) == {name for name, _, _ in expected}, "the panels draw what there is"
