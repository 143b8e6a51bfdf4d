import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flows.cli import main
from flows.tables import print_table
from pipelines.store.schema import CATALOG, ERRORS, TOKENS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from tests.pipelines.drawn_clips import fill


@pytest.fixture
def store(tmp_path):
    """Three clips with tokens, and a source that failed."""
    store = str(tmp_path / "store")
    fill(store, train=2, validation=1, clips_a_shard=1)
    rows = StoreTable(store, "clips").read().to_pylist()
    put(store, "tokens", [token_row(row) for row in rows], TOKENS)
    put(store, "catalog", [catalog_row(r["source_uri"], r["source_sha256"], 1) for r in rows])
    put(store, "catalog", [catalog_row("bad.mp4", "bad", 0)])
    error = {
        "dataset": "drawn", "source_uri": "bad.mp4", "source_sha256": "bad", "detail": "",
        "stage": "decode_clips", "code": "timeout", "is_transient": True,
    }  # fmt: skip
    put(store, "errors", [error], ERRORS)
    return store


def put(store, name, rows, schema=CATALOG):
    if rows:
        table = StoreTable(store, name)
        shard = write_shard(table.root, pa.Table.from_pylist(rows, schema=schema), inputs={})
        table.commit([shard])


def token_row(clip):
    same = {name: clip[name] for name in ("clip_id", "dataset", "split", "kind", "text")}
    tokens = np.arange(48, dtype="<u2").tobytes()
    return {**same, "tokens": tokens, "grid_s": 3, "grid_h": 4, "grid_w": 4, "tokenizer": "abc"}


def catalog_row(uri, sha256, num_clips):
    return {
        "dataset": "drawn", "source_uri": uri, "size": 1, "modified_ns": 1, "sha256": sha256,
        "split": "train", "kind": "video", "text": ["a shape"], "sketch_uri": "",
        "frames_read": 3 * num_clips, "num_clips": num_clips, "frames_left": 0,
    }  # fmt: skip


@pytest.fixture
def say(capsys):
    """What a command prints."""

    def run(*arguments):
        main(["store", *arguments])
        return capsys.readouterr().out

    return run


def words(text):
    return [line.split() for line in text.splitlines()]


def test_ls_shows_tables_and_whose_tokens_there_are(store, say):
    lines = words(say("ls", store))
    assert lines[0] == ["table", "version", "rows", "files", "bytes"]
    assert ["clips", "1", "3", "3"] in [line[:4] for line in lines]
    assert ["abc", "3", "1"] in [line[:3] for line in lines]
    found = json.loads(say("ls", store, "--json"))
    assert {t["table"]: t["rows"] for t in found["tables"]} == {
        "clips": 3, "tokens": 3, "errors": 1, "catalog": 4
    }  # fmt: skip
    assert found["tokenizers"]["abc"]["rows"] == 3


def test_stat_shows_what_became_of_the_sources(store, say):
    out = say("stat", store)
    assert re.search(r"drawn +4 +3 +1 +9 +0", out)
    assert re.search(r"timeout +yes +1", out)
    assert re.search(r"abc +\(not here\) +3 +144 +[\d.]+ +48 +48\.0 +2\.1%", out)
    found = json.loads(say("stat", store, "--json"))
    assert found["tokenizers"][0]["codes_used"] == 48
    assert found["errors"] == [{"code": "timeout", "is_transient": True, "sources": 1}]


def test_verify_ends_with_one_if_anything_is_wrong(store, say, capsys):
    assert say("verify", store) == (
        "Every byte is as it was written, and every source is accounted for.\n"
    )
    assert json.loads(say("verify", store, "--json")) == {"repaired": [], "problems": []}
    put(store, "catalog", [catalog_row("lost.mp4", "lost", 0)])
    with pytest.raises(SystemExit) as end:
        main(["store", "verify", store])
    assert end.value.code == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Source lost.mp4 of drawn has no clip and 0 errors")


def test_history_shows_every_commit(store, say):
    lines = words(say("history", store, "--table", "catalog"))
    assert [line[1] for line in lines[1:]] == ["0", "1", "2"]
    assert lines[-1][-3:] == ["1", "0", "4"]
    found = json.loads(say("history", store, "--json"))
    assert {row["table"] for row in found} == {"clips", "tokens", "errors", "catalog"}


def test_compact_then_vacuum_leaves_one_file_a_table(store, say):
    assert re.search(r"clips +3 +1 +3", say("compact", store))
    now = ("--retention-hours", "0", "--grace-hours", "0")
    out = say("vacuum", store, *now)
    assert "5 files of" in out
    assert "could go: --delete deletes them" in out
    assert len(json.loads(say("vacuum", store, *now, "--json"))["files"]) == 5
    assert "deleted." in say("vacuum", store, *now, "--delete")
    assert json.loads(say("verify", store, "--json"))["problems"] == []


def test_vacuum_takes_the_tokens_of_a_tokenizer_out(store, say):
    assert "3 rows of abc would be taken out" in say("vacuum", store, "--tokenizer", "abc")
    assert "3 rows of abc were taken" in say("vacuum", store, "--tokenizer", "abc", "--delete")
    assert StoreTable(store, "tokens").num_rows() == 0


def test_export_says_what_it_wrote(store, say, tmp_path):
    target = str(tmp_path / "out")
    told = say("export", store, target, "--format", "parquet")
    assert re.fullmatch(rf"3 clips in 2 files, [\d,]+ bytes: {target}\n", told)
    assert say("export", store, target, "--format", "parquet") == f"All was there already.\n{told}"
    Path(target, "README.md").unlink()
    assert say("export", store, target, "--format", "parquet", "--verify") == (
        "README.md was made again, it had been damaged: it is missing.\n"
        f"Files that were there already: 1.\n{told}"
    )


def test_what_was_done_is_told_to_programs_too(store, say, tmp_path):
    target = str(tmp_path / "out")
    made = json.loads(say("export", store, target, "--format", "webdataset", "--json"))
    assert (made["clips"], made["files"]) == (3, 1)
    done = json.loads(say("compact", store, "--json"))
    assert {each["table"]: each["files"] for each in done}["clips"] == 1


def test_show_says_where_the_picture_is(store, say, tmp_path):
    target = str(tmp_path / "clip.png")
    assert say("show", store, "0-1", "--out", target) == f"{target}\n"
    with Image.open(target) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls", "nowhere"], "There is no store at nowhere"),
        (["history", "STORE", "--table", "clip"], "Did you mean 'clips'?"),
        (["vacuum", "STORE", "--tokenizer", "abd"], "Did you mean 'abc'?"),
        (["vacuum", "STORE", "--grace-hours", "-1"], "must be 0 or more, not 168"),
        (["export", "STORE", "out", "--format", "tar"], "Known: parquet, webdataset."),
        (["export", "STORE", "STORE", "--format", "parquet"], "is there already"),
        (["show", "STORE", "zzz"], "has no clip zzz; the first it has: 0-"),
    ],
)
def test_a_mistake_ends_in_one_line(store, arguments, says):
    with pytest.raises(SystemExit) as end:
        main(["store", *(store if word == "STORE" else word for word in arguments)])
    assert re.fullmatch(r"error: [^\n]+", end.value.code)
    assert says in end.value.code


def test_only_show_loads_torch(store):
    program = (
        "import sys; from flows.cli import main\n"
        "for action in ('ls', 'stat', 'verify', 'history', 'vacuum', 'compact'):\n"
        "    main(['store', action, sys.argv[1]])\n"
        "main(['store', 'export', sys.argv[1], sys.argv[1] + '-out', '--format', 'webdataset'])\n"
        "sys.exit('torch' in sys.modules or 'ray' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, store]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_columns_are_aligned_and_numbers_readable(capsys):
    print_table(["name", "bytes"], [["a", 1234567], ["longer", None]])
    assert capsys.readouterr().out == "name        bytes\na       1,234,567\nlonger\n"


def test_a_reader_that_has_gone_gets_no_traceback_but_is_told_of(store):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "flows.cli", "store", "history", store]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_folder_that_was_put_as_a_tokenizer_harms_no_numbers(store, tmp_path, say):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/weights").write_bytes(b"1")
    main(["artifacts", "put", str(tmp_path / "mine"), store, "--kind=vqgan", "--name=mine"])
    assert "abc" in say("stat", store)
    with pytest.raises(SystemExit, match=r"kind of artifact is called 'vqgann'. Did you mean"):
        main(["artifacts", "put", str(tmp_path / "mine"), store, "--kind=vqgann", "--name=mine"])
