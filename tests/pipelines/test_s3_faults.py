"""What S3 gets wrong now and then must change nothing but the time it takes."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from pipelines import artifacts, storage
from pipelines.errors import ArtifactError, StorageError
from pipelines.store.once import OnceWriter
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from tests.pipelines.store.conftest import token_rows
from tests.publishers import publish_at_once

OF_WRITES = ["slow_down", "internal", "conflict", "reset_before", "reset_after", "delay"]
OF_READS = ["slow_down", "internal", "reset_before", "reset_after", "truncate", "delay"]
DATA = bytes(range(256)) * 1000


@pytest.mark.parametrize("kind", OF_WRITES)
def test_a_put_that_met_a_fault_is_known_as_ours_and_made_once(kind, proxy, s3):
    fault = proxy.fail("PUT", kind, times=2)
    assert storage.put_if_absent(f"{s3}/file", DATA)
    assert fault()
    assert storage.read_bytes(f"{s3}/file") == DATA
    assert not storage.put_if_absent(f"{s3}/file", DATA)


@pytest.mark.parametrize("kind", OF_WRITES)
def test_of_writers_that_met_faults_exactly_one_wins(kind, proxy, s3):
    proxy.fail("PUT", kind, times=5)
    offers = [bytes([i // 2]) * 1000 for i in range(8)]  # pairs offer the same bytes
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: storage.put_if_absent(f"{s3}/file", data), offers))
    assert sum(won) == 1
    assert storage.read_bytes(f"{s3}/file") == offers[won.index(True)]


@pytest.mark.parametrize("kind", OF_READS)
def test_what_is_read_through_a_fault_is_whole(kind, proxy, s3, tmp_path):
    storage.replace_bytes(f"{s3}/file", DATA)
    proxy.fail("GET", kind, "file", times=2)
    assert storage.read_bytes(f"{s3}/file") == DATA
    proxy.fail("GET", kind, "file", times=2)
    with storage.open_file(f"{s3}/file") as file:
        assert file.read() == DATA
    proxy.fail("GET", kind, "file", times=2)
    storage.download(f"{s3}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_server_that_never_recovers_is_reported_in_one_line(proxy, s3):
    proxy.fail("GET", "truncate", "file", times=99)
    storage.replace_bytes(f"{s3}/file", DATA)
    with pytest.raises(StorageError, match=rf"^Cannot read {s3}/file: [^\n]+\.$"):
        storage.read_bytes(f"{s3}/file")


@pytest.mark.parametrize("kind", OF_WRITES)
def test_a_commit_that_met_a_fault_lands_whole_and_once(kind, proxy, s3):
    table = StoreTable(s3, "tokens")
    table.commit([write_shard(table.root, token_rows("ab"), inputs={})])
    proxy.fail("PUT", kind, "parquet")
    proxy.fail("PUT", kind, "_delta_log")
    table.commit([write_shard(table.root, token_rows("cd"), inputs={})])
    added, removed = table.without({"clip_id": "a"})
    proxy.fail("PUT", kind, "_delta_log")
    table.commit([*added, write_shard(table.root, token_rows("e"), inputs={})], remove=removed)
    assert table.read().sort_by("clip_id").equals(token_rows("bcde"))
    assert len(table.shards()) == 3


@pytest.mark.parametrize("kind", OF_WRITES)
def test_a_commit_of_one_run_among_others_that_met_a_fault_lands_once(kind, proxy, s3):
    """Also one whose answer was lost, so that it seems to be another's."""
    table = StoreTable(s3, "tokens")
    table.commit([write_shard(table.root, token_rows("ab"), inputs={})])
    mine, others = OnceWriter(table), OnceWriter(table)
    others.commit([write_shard(table.root, token_rows("c"), inputs={})])
    proxy.fail("PUT", kind, "_delta_log")
    mine.commit([write_shard(table.root, token_rows("cd"), inputs={})], drop={"clip_id": "a"})
    assert table.read().sort_by("clip_id").equals(token_rows("bcd"))


@pytest.mark.parametrize("kind", OF_READS)
def test_a_table_is_read_through_faults(kind, proxy, s3):
    table = StoreTable(s3, "tokens")
    table.commit([write_shard(table.root, token_rows("ab"), inputs={})])
    for path in ("_delta_log", "parquet", "list-type"):
        proxy.fail("GET", kind, path)
    assert table.read().sort_by("clip_id").equals(token_rows("ab"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "made"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (folder / name).write_bytes(name.encode() * 100_000)
    return folder


def publish(store, folder, **metadata):
    return artifacts.publish(store, "vqgan", "v", folder, config={}, metadata=metadata)


@pytest.mark.parametrize("kind", OF_WRITES)
def test_an_artifact_published_through_faults_is_whole(kind, proxy, s3, folder):
    proxy.fail("PUT", kind, "/a", times=2)
    proxy.fail("PUT", kind, "manifest.json", times=2)
    made = publish(s3, folder)
    artifacts.verify(made)
    assert artifacts.list_names(s3, "vqgan") == ["v"]


@pytest.mark.parametrize("kind", OF_READS)
def test_an_artifact_fetched_through_faults_is_whole(kind, proxy, s3, folder):
    made = publish(s3, folder)
    proxy.fail("GET", kind, "/a", times=2)
    fetched = artifacts.local_folder(artifacts.load(made.uri))
    assert {p.name: p.read_bytes() for p in fetched.rglob("*") if p.is_file()} == {
        p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_of_publishers_through_faults_one_is_kept_whole(proxy, s3, tmp_path):
    proxy.fail("PUT", "reset_after", "manifest.json", times=3)
    proxy.fail("PUT", "slow_down", "", times=3)
    made = publish_at_once(partial(publish, s3), tmp_path, 4)
    hidden = storage.list_files(made.root)
    assert len(hidden) == 3
    stored = [path for path in storage.list_folders(storage.join(s3, "artifacts/vqgan"))]
    assert stored == [made.uri]


PUBLISHER = """
import sys
from pipelines import artifacts
artifacts.publish(sys.argv[1], "vqgan", "v", sys.argv[2], config={}, metadata={})
"""


def test_a_publisher_that_is_killed_leaves_nothing_listed_and_is_continued(proxy, s3, folder):
    is_held = proxy.fail("PUT", "hold", "sub/c", times=1)
    running = subprocess.Popen([sys.executable, "-c", PUBLISHER, s3, folder])
    while not (is_held() and _is_stored(s3, "/a") and _is_stored(s3, "/b")):
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert artifacts.list_names(s3, "vqgan") == []
    with pytest.raises(ArtifactError, match="is not a complete artifact"):
        artifacts.load(f"{s3}/artifacts/vqgan/v")
    proxy.forget()
    artifacts.verify(publish(s3, folder))
    sent = [path for method, path in proxy.seen() if method == "PUT"]
    assert not any(path.endswith(("/a", "/b")) for path in sent)


def _is_stored(s3, name):
    from pipelines.storage.s3_client import client

    listed = client().list_objects_v2(Bucket=s3.removeprefix("s3://")).get("Contents", ())
    return any(entry["Key"].endswith(name) for entry in listed)


COMMITTER = """
import sys
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from tests.pipelines.store.conftest import token_rows
table = StoreTable(sys.argv[1], "tokens")
for number in range(3):
    for name in (f"own-{sys.argv[2]}-{number}", f"shared-{number}"):
        table.commit([write_shard(table.root, token_rows([name]), inputs={})])
"""


@pytest.mark.slow
def test_eight_committers_at_once_through_faults_all_land_and_none_doubles(proxy, s3):
    for kind in ("slow_down", "reset_after", "conflict", "internal", "reset_before"):
        proxy.fail("PUT", kind, "_delta_log", times=4)
        proxy.fail("PUT", kind, "parquet", times=2)
    command = [sys.executable, "-c", COMMITTER, s3]
    running = [subprocess.Popen([*command, str(number)]) for number in range(8)]
    assert [process.wait(240) for process in running] == [0] * 8
    own = [f"own-{process}-{number}" for process in range(8) for number in range(3)]
    table = StoreTable(s3, "tokens")
    names = table.read(["clip_id"])["clip_id"].to_pylist()
    assert sorted(names) == sorted([*own, *(f"shared-{n}" for n in range(3))])
