"""A worker that dies between publishing its shard and committing it loses and doubles nothing."""

import os
import signal
import subprocess
import sys

import pytest

from pipelines import storage
from pipelines.store.table import StoreTable
from tests.pipelines.store.conftest import token_rows

WORKER = """
import os, sys, time
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from tests.pipelines.store.conftest import token_rows
table = StoreTable(sys.argv[1], "tokens")
for number in range(3):
    names = [f"clip-{number}-{i}" for i in range(5)]
    shard = write_shard(table.root, token_rows(names), inputs={"rule": 1})
    if str(number) == sys.argv[2]:
        print("published", flush=True)
        time.sleep(60)
    table.commit([shard])
"""


@pytest.mark.parametrize("at", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_a_run_killed_between_publishing_and_committing_goes_on_to_the_same_rows(store, at):
    command = [sys.executable, "-c", WORKER, store]
    with subprocess.Popen([*command, at], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "published\n"
        os.kill(process.pid, signal.SIGKILL)
    table = StoreTable(store, "tokens")
    assert (table.num_rows() if table.exists() else 0) == 5 * int(at)
    subprocess.run([*command, "never"], check=True, timeout=60)
    names = [f"clip-{number}-{i}" for number in range(3) for i in range(5)]
    assert table.read().sort_by("clip_id").equals(token_rows(names))
    assert len([uri for uri in storage.list_files(table.root) if uri.endswith(".parquet")]) == 3
