"""The whole demo with a bucket in place of a folder."""

import pytest

from pipelines import artifacts, storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_whole_demo_works_in_a_bucket_and_repeating_it_makes_nothing_new(nuwa, s3):
    store = f"{s3}/demo"
    first = nuwa("run", "demo", "--set", f"store={store}", timeout=1500)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"Report: {store}/report/index.html" in first.stdout
    assert first.stdout.count("✓ score") == 1
    assert b"</html>" in storage.read_bytes(f"{store}/report/index.html")
    kinds = {"text_tokenizer", "vqgan", "vqgan_seg", "checkpoint", "export", "samples"}
    assert kinds <= set(artifacts.list_kinds(store))
    assert nuwa("artifacts", "verify", store).returncode == 0
    before = {kind: artifacts.list_names(store, kind) for kind in kinds}
    again = nuwa("run", "demo", "--set", f"store={store}", timeout=1500)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "decoded=0" in again.stdout
    assert {kind: artifacts.list_names(store, kind) for kind in kinds} == before
