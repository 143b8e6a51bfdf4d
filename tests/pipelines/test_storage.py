from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines import storage
from pipelines.errors import StorageError


def test_what_is_put_is_read_back_and_never_overwritten(tmp_path):
    uri = storage.join(str(tmp_path), "a", "b.bin")
    assert storage.put_if_absent(uri, b"first")
    assert not storage.put_if_absent(uri, b"second")
    assert storage.read_bytes(uri) == b"first"


def test_of_sixteen_writers_at_once_exactly_one_wins_and_its_bytes_are_whole(tmp_path):
    uri = str(tmp_path / "file")
    offers = [bytes([i]) * 100_000 for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda data: storage.put_if_absent(uri, data), offers))
    assert sum(won) == 1
    assert storage.read_bytes(uri) == offers[won.index(True)]


def test_a_file_can_be_replaced_whole(tmp_path):
    uri = str(tmp_path / "file")
    storage.replace_bytes(uri, b"old")
    storage.replace_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"new"
    assert storage.list_files(str(tmp_path)) == [uri]


def test_a_listing_is_sorted_and_recursive_and_hides_what_is_unfinished(tmp_path):
    for name in ("b", "a/c", ".x.tmp", ".y.tmp/z"):
        storage.put_if_absent(storage.join(str(tmp_path), name), b"")
    assert storage.list_files(str(tmp_path)) == [f"{tmp_path}/a/c", f"{tmp_path}/b"]
    assert storage.list_files(f"{tmp_path}/nowhere") == []


def test_deleting_takes_a_file_or_a_folder_and_does_not_mind_nothing(tmp_path):
    root = str(tmp_path / "folder")
    storage.put_if_absent(f"{root}/a/b", b"")
    storage.delete(f"{root}/a/b")
    storage.delete(f"{root}/a/b")
    assert storage.exists(root)
    storage.delete(root)
    assert not storage.exists(root)


def test_joining_never_doubles_a_slash_and_keeps_the_root():
    assert storage.join("s3://bucket/run/", "/tokens/", "", "x") == "s3://bucket/run/tokens/x"
    assert storage.join("/", "tmp") == "/tmp"
    assert storage.join("", "a", "b") == "a/b"


@pytest.mark.parametrize(
    "call",
    [
        storage.read_bytes,
        storage.open_file,
        storage.size,
        storage.exists,
        storage.list_files,
        storage.delete,
        lambda uri: storage.put_if_absent(uri, b""),
        lambda uri: storage.replace_bytes(uri, b""),
    ],
)
def test_another_machine_is_refused_in_one_line(call):
    with pytest.raises(StorageError, match=r"s3://bucket/x is not a local path; .*folder\.$"):
        call("s3://bucket/x")


@pytest.mark.parametrize("call", [storage.read_bytes, storage.open_file, storage.size])
def test_a_missing_file_is_named(call, tmp_path):
    with pytest.raises(StorageError, match=f"Cannot read {tmp_path}/x: there is no such file."):
        call(str(tmp_path / "x"))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"Cannot write {tmp_path}/file/x: "):
        storage.put_if_absent(str(tmp_path / "file" / "x"), b"")
