import json

import pytest

from pipelines import artifacts

QUICK = (
    "dataset.shapes.num_train=32",
    "dataset.shapes.num_validation=32",
    "clips.size=48",
    "clips.num_frames=2",
    "model.target_grid=[2,6,6]",
    "ablation.seeds=1",
    "vqgan_training.steps=2",
    "vqgan_training.adversarial_start=1",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_flow_prepares_clips_compares_tokenizers_and_then_only_reports_again(nuwa, tmp_path):
    store = tmp_path / "store"
    first = nuwa("run", "ablate-tokenizer", "--set", f"store={store}", *QUICK, timeout=600)
    assert first.returncode == 0, first.stderr
    assert "✓ decode_clips" in first.stdout
    page = store / "report/ablation/index.html"
    assert first.stdout.splitlines()[-1] == f"Report: {page}"
    report = json.loads((page.parent / "report.json").read_text())
    assert report["metric"] == "FID[shapes-net]"
    assert all(one["says"] in first.stdout for one in report["comparisons"])
    assert artifacts.list_names(str(store), "vqgan") == []
    again = nuwa("run", "ablate-tokenizer", "--set", f"store={store}", *QUICK, timeout=600)
    assert "decode_clips" not in again.stdout
    assert "num_trained=0" in again.stdout


@pytest.mark.slow
def test_a_preset_with_pictures_too_small_to_compare_ends_in_one_line(nuwa, tmp_path):
    answer = nuwa("run", "ablate-tokenizer", "--set", f"store={tmp_path / 'store'}")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: clips.size (32) must be a multiple of 16 and at least")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()
