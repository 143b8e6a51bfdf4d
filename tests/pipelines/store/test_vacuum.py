from contextlib import ExitStack

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.errors import UnknownNameError
from pipelines import storage
from pipelines.errors import StoreError
from pipelines.store.compact import compact_store
from pipelines.store.history import read_history
from pipelines.store.leases import lease
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from pipelines.store.vacuum import files_of_versions, vacuum_store
from tests.pipelines.drawn_clips import fill
from tests.pipelines.store.conftest import token_rows

NOW = {"retention_hours": 0, "grace_hours": 0}


@pytest.fixture
def table(store):
    return StoreTable(store, "tokens")


def add(table, names, tokenizer="abc", remove=()):
    shard = write_shard(table.root, token_rows(names, tokenizer), inputs={})
    table.commit([shard], remove=remove)
    return shard.path


def files_in(table):
    uris = storage.list_files(table.root)
    return {uri.removeprefix(f"{table.root}/") for uri in uris if uri.endswith(".parquet")}


def test_a_dry_run_tells_and_deletes_nothing(store, table):
    old = add(table, "ab")
    add(table, "c", remove=[old])
    before, version = files_in(table), table.version()
    found = vacuum_store(store, **NOW)
    assert [(file.uri, file.table) for file in found.files] == [(f"{table.root}/{old}", "tokens")]
    assert found.files[0].bytes == storage.size(found.files[0].uri)
    assert not found.is_deleted
    assert (files_in(table), table.version()) == (before, version)


def test_deleting_takes_what_no_version_within_the_retention_names(store, table):
    old = add(table, "ab")
    new = add(table, "c", remove=[old])
    assert vacuum_store(store, grace_hours=0, delete=True).files == []
    assert vacuum_store(store, **NOW, delete=True).is_deleted
    assert files_in(table) == {new}
    assert table.read(["clip_id"])["clip_id"].to_pylist() == ["c"]
    assert storage.list_files(f"{store}/leases") == []


def test_what_an_earlier_vacuum_took_is_not_missed_by_the_next(store, table):
    table.commit((), remove=[add(table, "a")])
    assert len(vacuum_store(store, **NOW, delete=True).files) == 1
    assert vacuum_store(store, **NOW, delete=True).files == []


def test_a_file_that_was_just_put_may_still_be_committed(store, table):
    add(table, "ab")
    orphan = write_shard(table.root, token_rows("c"), inputs={})
    assert vacuum_store(store, retention_hours=0, delete=True).files == []
    table.commit([orphan])
    assert table.num_rows() == 3


def test_an_old_file_that_nobody_committed_goes(store, table):
    add(table, "ab")
    orphan = write_shard(table.root, token_rows("c"), inputs={})
    [file] = vacuum_store(store, **NOW, delete=True).files
    assert file.uri.endswith(orphan.path)
    assert not storage.exists(file.uri)


def test_a_version_that_somebody_reads_stays_and_its_holder_is_named(store, table):
    old = add(table, "ab")
    version = table.version()
    add(table, "c", remove=[old])
    with lease(store, "pretrain-1", "reader", versions={"tokens": version, "catalog": 7}):
        found = vacuum_store(store, **NOW, delete=True)
        assert found.files == []
        [held] = found.held
        assert (held.table, held.version, held.files) == ("tokens", version, 1)
        assert held.holder.startswith("pretrain-1 (process ")
        assert table.read(["clip_id"], version=version)["clip_id"].to_pylist() == ["a", "b"]
    assert len(vacuum_store(store, **NOW, delete=True).files) == 1


def test_a_reader_that_died_holds_nothing(store, table):
    old = add(table, "ab")
    version = table.version()
    add(table, "c", remove=[old])
    record = (
        b'{"who": "gone", "role": "reader", "versions": {"tokens": %d}, "host": "h", "pid": 1, '
        b'"expires": 1.0}' % version
    )
    storage.put_if_absent(f"{store}/leases/gone.json", record)
    assert len(vacuum_store(store, **NOW, delete=True).files) == 1
    assert storage.list_files(f"{store}/leases") == []


def test_a_writer_at_work_is_waited_for(store, table):
    add(table, "ab")
    with lease(store, "decode_clips", "writer"):
        assert vacuum_store(store, **NOW).files == []
        with pytest.raises(StoreError, match="in use by decode_clips"):
            vacuum_store(store, **NOW, delete=True)


def test_the_tokens_of_one_tokenizer_leave_and_the_others_stay(store, table):
    add(table, "abc", "old")
    add(table, "abc", "new")
    assert vacuum_store(store, tokenizer="old").rows == 3
    assert table.num_rows() == 6
    found = vacuum_store(store, **NOW, tokenizer="old", delete=True)
    assert (found.rows, len(found.files)) == (3, 1)
    assert table.num_rows() == table.num_rows({"tokenizer": "new"}) == 3
    with pytest.raises(UnknownNameError, match=r"No tokenizer of this store is called 'odl'"):
        vacuum_store(store, tokenizer="odl")


def test_tokens_that_were_vacuumed_can_be_made_again(store, table):
    add(table, "ab", "xyz")
    vacuum_store(store, **NOW, tokenizer="xyz", delete=True)
    assert files_in(table) == set()
    add(table, "ab", "xyz")
    assert table.read().num_rows == 2


class World:
    """A store that many work on, and what each of its versions in use must hold."""

    def __init__(self, store):
        self.store, self.table = store, StoreTable(store, "tokens")
        self.table.commit([])
        self.names = set()
        self.readers = {}  # version, names and lease of each

    def add(self, name):
        if name not in self.names:
            add(self.table, [name])
            self.names.add(name)

    def drop(self, name):
        added, removed = self.table.without({"clip_id": name})
        self.table.commit(added, remove=removed)
        self.names.discard(name)

    def die_before_commit(self, name):
        write_shard(self.table.root, token_rows([f"lost-{name}"]), inputs={})

    def compact(self, _name):
        compact_store(self.store)

    def vacuum(self, _name):
        vacuum_store(self.store, **NOW, delete=True)
        versions = {self.table.version(), *(version for version, *_ in self.readers.values())}
        live = {shard.path for v in versions for shard in self.table.shards(v)}
        assert files_of_versions(read_history(self.table), versions) == live
        assert files_in(self.table) == live

    def read(self, name):
        if name not in self.readers:
            version, held = self.table.version(), ExitStack()
            held.enter_context(lease(self.store, name, "reader", versions={"tokens": version}))
            self.readers[name] = (version, set(self.names), held)

    def release(self, name):
        if name in self.readers:
            self.readers.pop(name)[2].close()

    def check(self):
        assert self.names_in(None) == sorted(self.names)
        for version, names, _ in self.readers.values():
            assert self.names_in(version) == sorted(names)

    def names_in(self, version):
        return sorted(self.table.read(["clip_id"], version=version)["clip_id"].to_pylist())


WORK = ["add", "drop", "compact", "vacuum", "read", "release", "die_before_commit"]
STEPS = st.lists(
    st.tuples(st.sampled_from(WORK), st.sampled_from("abcde")), min_size=3, max_size=14
)


@pytest.mark.slow
@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_in_any_order_of_work_every_version_in_use_stays_whole(steps, tmp_path_factory):
    world = World(str(tmp_path_factory.mktemp("store")))
    for work, name in steps:
        getattr(world, work)(name)
        world.check()
    for name in "abcde":
        world.release(name)


def test_tokens_of_clips_that_are_gone_leave_with_them(store, table):
    fill(store, train=2)
    there = StoreTable(store, "clips").read(["dataset", "clip_id"]).to_pylist()
    rows = token_rows([row["clip_id"] for row in there])
    names = pa.array([row["dataset"] for row in there])
    rows = rows.set_column(rows.column_names.index("dataset"), "dataset", names)
    table.commit([write_shard(table.root, rows, inputs={})])
    add(table, "xyz")
    assert vacuum_store(store).old_rows == 3
    assert table.num_rows() == 5
    assert vacuum_store(store, delete=True).old_rows == 3
    assert set(table.read(["clip_id"])["clip_id"].to_pylist()) == {r["clip_id"] for r in there}
    assert vacuum_store(store, delete=True).old_rows == 0
