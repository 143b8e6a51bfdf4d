import json
import re

import pytest

from pipelines import artifacts, storage
from pipelines.settings import load_config
from tests.published import write_merges

SIZES = {"model.bin": 3_000_000, "sub/config.json": 10}


@pytest.fixture
def vqgan(s3, tmp_path):
    """An artifact in a bucket."""
    for name, size in SIZES.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return artifacts.publish(
        f"{s3}/run", "vqgan", "v-1", tmp_path / "made", config={"a": 1}, metadata={"psnr": 25.5}
    )


def test_a_store_is_listed_and_an_artifact_shown(nuwa, s3, vqgan):
    listed = json.loads(nuwa("artifacts", "ls", f"{s3}/run", "--json").stdout)
    assert listed == [
        {"uri": vqgan.uri, "kind": "vqgan", "name": "v-1", "files": 2, "bytes": 3_000_010}
    ]
    assert vqgan.uri in nuwa("artifacts", "ls", f"{s3}/run").stdout
    assert "no artifacts" in nuwa("artifacts", "ls", f"{s3}/run", "--kind", "export").stdout
    shown = json.loads(nuwa("artifacts", "show", vqgan.uri, "--json").stdout)
    assert (shown["metadata"], sorted(shown["files"])) == ({"psnr": 25.5}, sorted(SIZES))
    assert "psnr" in nuwa("artifacts", "show", vqgan.uri).stdout


def test_what_was_got_can_be_put_elsewhere_and_is_the_same_artifact(nuwa, s3, vqgan, tmp_path):
    folder, other = tmp_path / "got", tmp_path / "other"
    got = nuwa("artifacts", "get", vqgan.uri, folder)
    assert got.returncode == 0, got.stderr
    assert {name: (folder / name).stat().st_size for name in SIZES} == SIZES
    for store in (other, f"{s3}/elsewhere"):
        put = nuwa("artifacts", "put", folder, store)
        assert put.returncode == 0, put.stderr
        made = artifacts.load(artifacts.artifact_uri(str(store), "vqgan", "v-1"))
        assert (made.files, made.metadata, made.config) == (
            vqgan.files, vqgan.metadata, vqgan.config
        )  # fmt: skip
        assert artifacts.read_tree(made.uri)["created"] == artifacts.read_tree(vqgan.uri)["created"]
    assert nuwa("artifacts", "verify", f"{s3}/elsewhere").returncode == 0


def test_a_copy_that_was_cut_short_goes_on_where_it_was(nuwa, proxy, vqgan, tmp_path):
    folder = tmp_path / "got"
    folder.mkdir()
    (folder / ".model.bin.part").write_bytes(b"x" * 2_000_000)
    proxy.forget()
    assert nuwa("artifacts", "get", vqgan.uri, folder).returncode == 0
    assert (folder / "model.bin").read_bytes() == b"x" * 3_000_000
    assert proxy.sent_bytes() < 1_500_000
    proxy.forget()
    assert nuwa("artifacts", "get", vqgan.uri, folder).returncode == 0
    assert not any(path.endswith("model.bin") for method, path in proxy.seen() if method == "GET")


def test_a_part_of_another_file_is_not_continued(nuwa, vqgan, tmp_path):
    folder = tmp_path / "got"
    folder.mkdir()
    (folder / ".model.bin.part").write_bytes(b"y" * 2_000_000)
    assert nuwa("artifacts", "get", vqgan.uri, folder).returncode == 0
    assert (folder / "model.bin").read_bytes() == b"x" * 3_000_000


def test_a_damaged_file_is_named_and_nothing_is_made_of_it(nuwa, s3, vqgan, tmp_path):
    storage.replace_bytes(f"{vqgan.root}/model.bin", b"y" * 3_000_000)
    checked = nuwa("artifacts", "verify", f"{s3}/run", "--json")
    assert checked.returncode == 1
    (told,) = json.loads(checked.stdout)
    assert "model.bin is damaged: its SHA-256 is another" in told["problem"]
    got = nuwa("artifacts", "get", vqgan.uri, tmp_path / "got")
    assert got.returncode == 1
    assert re.search(r"^error: [^\n]*model\.bin is damaged[^\n]*\n\Z", got.stderr, re.MULTILINE)
    assert not (tmp_path / "got" / "model.bin").exists()
    assert not (tmp_path / "got" / "manifest.json").exists()


def test_a_copy_that_lost_a_file_is_mended(nuwa, vqgan, tmp_path):
    folder = tmp_path / "got"
    assert nuwa("artifacts", "get", vqgan.uri, folder).returncode == 0
    (folder / "sub/config.json").unlink()
    assert nuwa("artifacts", "get", vqgan.uri, folder).returncode == 0
    artifacts.verify(artifacts.load(str(folder)))


def test_a_run_in_a_bucket_that_is_not_there_ends_in_one_line_before_anything_starts(nuwa, s3):
    answer = nuwa("run", "demo", "--set", "store=s3://nobody-has-this/run")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert re.fullmatch(
        r"error: [^\n]*s3://nobody-has-this/run: [^\n]*bucket[^\n]*\n", answer.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "BUCKET/nothing"], "is not a complete artifact"),
        (["ls", "s3://nobody-has-this/run"], "there is no such bucket"),
        (["ls", "gs://bucket"], "neither a local path nor s3://"),
        (["put", "nowhere", "BUCKET"], "nowhere is not a folder"),
        (["put", "flows", "BUCKET"], "say --kind and --name"),
        (["verify", "BUCKET/nothing"], "is not a complete artifact"),
    ],
)
def test_a_mistake_ends_in_one_line(nuwa, s3, arguments, says):
    answer = nuwa("artifacts", *(word.replace("BUCKET", s3) for word in arguments))
    assert answer.returncode == 1
    said = answer.stderr if arguments[0] != "verify" else answer.stdout
    assert says in said
    assert "Traceback" not in answer.stderr


def test_a_published_tokenizer_is_imported_and_its_settings_are_a_run_file(nuwa, tmp_path):
    path, store = write_merges(tmp_path / "merges.txt.gz"), tmp_path / "store"
    answer = nuwa("artifacts", "import", path, store, "--name", "clip")
    assert answer.returncode == 0, answer.stderr
    assert f"text_tokenizer clip is made: 2 files, 0.01 MB, in {store}" in answer.stdout
    (tmp_path / "run.yaml").write_text(answer.stdout.partition("\n\n")[2])
    config = load_config(str(tmp_path / "run.yaml"))
    assert (config.text_tokenizer, config.model.text_length) == ("clip", 77)
