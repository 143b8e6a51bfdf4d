"""The job on a data set of addresses, before a real server on this machine."""

import pytest
import ray

from pipelines.jobs.decode_clips import decode_clips
from pipelines.settings import load_config
from pipelines.store.table import StoreTable
from pipelines.store.verify import verify_store
from tests.media_server import answer
from tests.pipelines.video.media import counting


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def put(server, name, path):
    server.answers[f"/{name}"] = answer(body=path.read_bytes())


def table_of(root, address, *names):
    root.mkdir(exist_ok=True)
    rows = [f"{i},{address}/{name},PT4S,page,caption {i}" for i, name in enumerate(names)]
    text = "\n".join(["videoid,contentUrl,duration,page_dir,name", *rows])
    (root / "results_2M_train.csv").write_text(text + "\n")


def run(tmp_path, *more):
    overrides = [
        "dataset.name=webvid",
        f"dataset.root={tmp_path / 'webvid'}",
        f"store={tmp_path / 'store'}",
        'fetch.allow_hosts=["127.0.0.1"]',
        "fetch.requests_per_second=1000",
        *more,
    ]
    return decode_clips(load_config(overrides=overrides))


def uris(tmp_path, name):
    rows = StoreTable(str(tmp_path / "store"), name).read(["source_uri"]).to_pylist()
    return sorted(row["source_uri"].rsplit("/", 1)[-1] for row in rows)


def test_addresses_become_clips_once_whatever_leads_to_them(tmp_path, server):
    for name, rate in (("a.mp4", 10), ("b.mp4", 5)):
        put(server, name, counting(tmp_path / name, rate=rate, seconds=4))
    put(server, "again.mp4", tmp_path / "a.mp4")
    table_of(tmp_path / "webvid", server.place, "a.mp4", "b.mp4", "again.mp4", "missing.mp4")
    record = run(tmp_path, "clips.shard_sources=1")
    assert record["errors"] == {"download_refused": 1}
    assert record["with_clips"] == 3
    assert len(uris(tmp_path, "clips")) == 2
    assert uris(tmp_path, "catalog") == ["a.mp4", "again.mp4", "b.mp4", "missing.mp4"]
    assert verify_store(str(tmp_path / "store")) == []
    assert run(tmp_path)["was_complete"]


def test_a_retry_cures_what_was_mended_and_asks_for_nothing_else(tmp_path, server):
    put(server, "a.mp4", counting(tmp_path / "a.mp4", rate=10, seconds=4))
    table_of(tmp_path / "webvid", server.place, "a.mp4", "late.mp4")
    assert run(tmp_path)["errors"] == {"download_refused": 1}
    assert run(tmp_path)["decoded"] == 0
    put(server, "late.mp4", counting(tmp_path / "late.mp4", rate=5, seconds=4))
    server.asked.clear()
    record = run(tmp_path, "clips.retry_errors=true")
    assert [path for _, path, _ in server.asked] == ["/late.mp4"]
    assert (record["decoded"], record["errors"]) == (1, {})
    assert uris(tmp_path, "errors") == []
    assert verify_store(str(tmp_path / "store")) == []
