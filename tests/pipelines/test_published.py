"""A published file becomes an artifact that other jobs can use, or nothing at all."""

import os
import pickle
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml

from nuwa_model.errors import NuwaError
from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts
from pipelines.errors import ArtifactError
from pipelines.published import import_published
from pipelines.settings import load_config
from tests.published import SMALL, published_weights, write_checkpoint, write_merges


def config_with(imported, tmp_path, *more):
    """Settings of a run file of what an import said."""
    run = tmp_path / "run.yaml"
    run.write_text(yaml.safe_dump(dict(imported.settings)))
    return load_config(str(run), overrides=more)


def test_a_checkpoint_becomes_the_vqgan_that_it_holds(tmp_path):
    path, store = tmp_path / "last epoch.ckpt", str(tmp_path / "store")
    weights = write_checkpoint(path)
    imported = import_published(path, store)
    made = imported.artifact
    fingerprint = VQGAN.from_taming(weights, SMALL).fingerprint
    assert not imported.was_there
    assert (made.kind, made.name) == ("vqgan", f"last-epoch-{fingerprint[:8]}")
    assert made.metadata == {
        "fingerprint": fingerprint,
        "source": {"name": path.name, "sha256": sha256(path.read_bytes()).hexdigest()},
    }
    assert VQGAN.from_pretrained(artifacts.local_folder(made)).fingerprint == fingerprint
    config = config_with(imported, tmp_path)
    assert (config.tokenizer, config.vqgan) == (made.name, SMALL)


def test_a_file_that_was_imported_is_there_already(tmp_path):
    path, store = write_merges(tmp_path / "merges.txt.gz"), str(tmp_path / "store")
    first, second = import_published(path, store), import_published(path, store)
    assert (first.was_there, second.was_there) == (False, True)
    assert first.artifact == second.artifact
    assert first.settings == second.settings


def test_a_checkpoint_of_label_maps_becomes_a_sketch_tokenizer(tmp_path):
    write_checkpoint(
        tmp_path / "seg.ckpt", replace(SMALL, channels=5), colorize=torch.zeros(3, 5, 1, 1)
    )
    imported = import_published(tmp_path / "seg.ckpt", str(tmp_path / "store"), "labels")
    assert (imported.artifact.kind, imported.artifact.name) == ("vqgan_seg", "labels")
    config = config_with(imported, tmp_path)
    assert (config.sketch_tokenizer, config.vqgan_seg.channels) == ("labels", 5)
    assert (config.model.sketch_codebook_size, config.model.sketch_codebook_dim) == (64, 8)


def test_merges_become_a_text_tokenizer_that_reads_them_as_clip_does(tmp_path, caplog):
    path = write_merges(tmp_path / "bpe_simple_vocab_16e6.txt.gz")
    imported = import_published(path, str(tmp_path / "store"))
    made = imported.artifact
    assert "makes 518 tokens and CLIP has 49408" in caplog.text
    assert made.kind == "text_tokenizer"
    assert made.name == f"bpe_simple_vocab_16e6-{made.metadata['source']['sha256'][:8]}"
    text = TextTokenizer.from_pretrained(artifacts.local_folder(made))
    expected = TextTokenizer.from_clip(path)
    assert all(map(torch.equal, text.encode(["the red"]), expected.encode(["the red"])))
    config = config_with(imported, tmp_path)
    assert config.text_tokenizer == made.name
    assert (config.model.text_vocabulary, config.model.text_length) == (518, 77)


def text_file(path):
    path.write_text("A page about tokenizers.\nIt has some lines.\n")


def web_page(path):
    path.write_text("\n<!DOCTYPE html><title>Access denied</title>\n")


def classes_by_the_thousand(path):
    write_checkpoint(path, replace(SMALL, channels=200))
    tree = torch.load(path)
    for name in ("encoder.conv_in.weight", "decoder.conv_out.weight"):
        axis = name.startswith("encoder")
        tree["state_dict"][name] = tree["state_dict"][name].repeat_interleave(5, dim=int(axis))
    torch.save(tree, path)


def truncated_zip(path):
    write_checkpoint(path)
    path.write_bytes(path.read_bytes()[:100_000])


def other_architecture(path):
    torch.save({"state_dict": torch.nn.Linear(3, 3).state_dict()}, path)


def encoder_alone(path):
    weights = published_weights()
    torch.save({n: w for n, w in weights.items() if not n.startswith("decoder.")}, path)


class Shout:
    """What a hostile file would have unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def hostile_pickle(path):
    path.write_bytes(pickle.dumps(Shout(path.with_name("touched"))))


def hostile_checkpoint(path):
    torch.save({"state_dict": {"a": Shout(path.with_name("touched"))}}, path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (Path.touch, "It is empty"),
        (web_page, "It is a web page"),
        (text_file, "no list of merges"),
        (truncated_zip, "is cut off"),
        (classes_by_the_thousand, "channels (1000) must be from 1 to 256"),
        (other_architecture, "encoder.conv_in.weight is not there"),
        (encoder_alone, "missing: decoder"),
        (hostile_pickle, "cannot be read as a checkpoint"),
        (hostile_checkpoint, "holds no tensors by name"),
        (Path.mkdir, "cannot be read (Is a directory); expected a file"),
        (lambda path: None, "cannot be read (No such file or directory); expected a file"),
    ],
)
def test_a_bad_file_ends_in_one_line_and_leaves_nothing(tmp_path, write, said):
    path = tmp_path / "bad.ckpt"
    write(path)
    with pytest.raises(NuwaError) as refused:
        import_published(path, str(tmp_path / "store"))
    assert re.fullmatch(rf"[^\n]*bad\.ckpt[^\n]*{re.escape(said)}[^\n]*", str(refused.value))
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "touched").exists()


def test_a_name_that_another_tokenizer_has_is_refused(tmp_path):
    store = str(tmp_path / "store")
    import_published(write_merges(tmp_path / "a.txt.gz"), store, "mine")
    (tmp_path / "b.txt").write_text("v\nt h\nth e</w>\n")
    with pytest.raises(ArtifactError, match=r"mine is another tokenizer than .*b\.txt: choose"):
        import_published(tmp_path / "b.txt", store, "mine")
    assert artifacts.list_names(store, "text_tokenizer") == ["mine"]


@pytest.mark.parametrize("name", ["../mine", ".mine", "a b", "a/b", 129 * "a"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    path = write_merges(tmp_path / "a.txt.gz")
    with pytest.raises(ArtifactError, match="cannot be the name of an artifact"):
        import_published(path, str(tmp_path / "store"), name)
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_a_file_ends_in_one_line(tmp_path):
    path = write_merges(tmp_path / "a.txt.gz")
    (tmp_path / "store").touch()
    with pytest.raises(NuwaError) as refused:
        import_published(path, str(tmp_path / "store"))
    assert "\n" not in str(refused.value)


def test_a_store_in_a_bucket_gets_what_a_folder_gets(s3, tmp_path):
    path = write_merges(tmp_path / "a.txt.gz")
    there = import_published(path, f"{s3}/run").artifact
    here = import_published(path, str(tmp_path / "store")).artifact
    assert (there.name, there.files, there.metadata) == (here.name, here.files, here.metadata)
    assert import_published(path, f"{s3}/run").was_there


@pytest.mark.parametrize("store", ["", "s3://", "/"])
def test_a_store_that_is_none_is_refused(tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_merges(tmp_path / "a.txt.gz")
    with pytest.raises(ArtifactError, match="is no store; expected a folder"):
        import_published(path, store)
    assert list(tmp_path.iterdir()) == [path]
