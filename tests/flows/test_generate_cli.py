import argparse
import json

import numpy as np
import pytest
from PIL import Image

from flows import generate_cli
from nuwa_model.errors import ConfigError, NuwaError
from pipelines.progress import parse_progress
from tests.pipelines.generation.small_export import make_export
from tests.pipelines.video.media import clouds, counting


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export, and one file of each kind."""
    folder = tmp_path_factory.mktemp("generate")
    make_export().save(folder / "export")
    Image.fromarray(clouds(40, 30)).save(folder / "p.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 15:25] = 255
    Image.fromarray(mask).save(folder / "m.png")
    counting(folder / "v.mp4", rate=10, seconds=2)
    (folder / "maps").mkdir()
    for number in range(3):
        Image.fromarray(np.full((30, 40), number, np.uint8)).save(folder / f"maps/{number}.png")
    return folder


@pytest.fixture
def generate(folder, tmp_path, monkeypatch):
    """Run the command in this process, beside the files."""
    monkeypatch.chdir(folder)
    parser = argparse.ArgumentParser()
    generate_cli.add_commands(parser.add_subparsers())

    def run(line, *more, out="x.png", checkpoint="export"):
        where = ["--checkpoint", checkpoint, "--out", str(tmp_path / out)]
        arguments = parser.parse_args(["generate", *line.split(), *more, *where])
        arguments.call(arguments)
        return sorted(path.name for path in tmp_path.iterdir())

    return run


@pytest.mark.parametrize(
    ("line", "out", "names"),
    [
        ("T2I --text circle", "x.png", ["x.png"]),
        ("t2v --text circle", "x.mp4", ["x-strip.png", "x.mp4"]),
        ("V2V --video v.mp4 --given-frames 2", "x.gif", ["x-strip.png", "x.gif"]),
        ("S2I --sketch maps/1.png", "x.png", ["x.png"]),
        ("S2V --sketch maps", "x.png", ["x.png"]),
        ("I2I --image p.png", "x.png", ["x.png"]),
        ("TI2I --text circle --image p.png --mask m.png", "x.png", ["x.png"]),
        ("TV2V --text circle --image p.png", "x.png", ["x.png"]),
        ("T2V --text circle --frames 8", "x.gif", ["x-strip.png", "x.gif"]),
    ],
)
def test_each_task_makes_its_file(generate, capsys, line, out, names):
    assert generate(line, out=out) == names
    told = capsys.readouterr().out
    assert "progress decode" in told
    assert all(name in told.splitlines()[-1] for name in names)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("T2I --text circle", (16, 16)),
        ("I2I --image p.png", (16, 16)),
        ("T2V --text circle", (48, 16)),
        ("T2V --text circle --frames 2", (32, 16)),
        ("T2V --text circle --frames 4", (48, 32)),
    ],
)
def test_a_picture_has_the_size_of_a_frame_and_a_strip_that_of_its_rows(
    generate, tmp_path, line, size
):
    generate(line)
    assert Image.open(tmp_path / "x.png").size == size


@pytest.mark.parametrize("out", ["maps/0.png", "maps/new.gif"])
def test_nothing_is_written_among_the_given_maps(generate, folder, out):
    with pytest.raises(ConfigError, match="among the maps of --sketch"):
        generate("S2V --sketch maps --overwrite", out=str(folder / out))
    assert len(list((folder / "maps").iterdir())) == 3


def test_a_name_too_long_for_its_strip_is_one_line(generate):
    with pytest.raises(NuwaError, match=r"Cannot look at .*: [^\n]+$"):
        generate("T2V --text circle", out=f"{'a' * 248}.mp4")


def test_several_texts_and_samples_are_numbered_files_that_say_what_they_show(generate, tmp_path):
    made = generate("T2I --num-samples 2 --seed 5 --text", "a red circle", "circle")
    assert made == [f"x-{number}.png" for number in range(4)]
    said = [json.loads(Image.open(tmp_path / name).info["nuwa"]) for name in made]
    assert [(one["text"], one["sample"], one["seed"]) for one in said] == [
        ("a red circle", 0, 5), ("a red circle", 1, 5), ("circle", 0, 5), ("circle", 1, 5),
    ]  # fmt: skip
    assert said[0]["model"] == "export"
    assert set(said[0]["fingerprints"]) > {"vqgan", "model.safetensors"}


@pytest.mark.parametrize("out", ["x.mp4", "x.gif"])
def test_the_same_command_writes_the_same_bytes(generate, tmp_path, out):
    written = []
    for more in ((), ("--overwrite", "--schedule", "sequential")):
        generate("T2V --text circle --seed 3", *more, out=out)
        written.append([(tmp_path / name).read_bytes() for name in (out, "x-strip.png")])
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("T3I --text circle", "No task is called 'T3I'. Did you mean 'T2I'"),
        ("T2I", "T2I needs --text"),
        ("T2I --text circle --mask m.png", "no use for --mask"),
        ("I2I --image p.png --top-p 2", r"top_p \(2.0\) must be from 0 to 1"),
        ("I2I --image p.png --top-p 0", r"top_p in \(0, 1\]"),
        ("I2I --image p.png --num-samples 0", "--num-samples is 0: give 1 to 10000"),
        ("I2I --image none.png", "--image none.png names no file"),
        ("I2I --image p.png --device gpu", "--device gpu cannot be used"),
        ("V2V --video v.mp4 --given-frames 3", "give at most 2"),
        ("V2V --video v.mp4 --given-frames 2 --frames 2", "ask for 3 or more, or give fewer"),
        ("I2I --image p.png --num-samples 1000000000", "give 1 to 10000"),
        ("I2I --image p.png --num-candidates 1000000000", "give 1 to 1000"),
        ("I2I --image p.png --seed -1", "--seed is -1: give 0 to"),
        ("T2I --text circle --frames 3", "no use for --frames"),
        ("T2V --text circle --frames 0", "--frames is 0: give 1 to 10000"),
        ("S2V --sketch maps --frames 4", "give at most 3, or go on from the video with V2V"),
        ("T2V --text circle --temperature 1e-320", "temperature"),
        ("T2V --text circle --frames 7 --num-candidates 2", "draw 1, or at most 3 frames"),
    ],
)
def test_mistakes_are_refused_before_the_model_is_loaded(generate, monkeypatch, line, told):
    monkeypatch.setattr("nuwa_model.export.Export.load", None)  # calling it would fail
    with pytest.raises(NuwaError, match=told) as caught:
        generate(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["image", "out", "checkpoint"])
def test_a_path_that_the_system_refuses_to_look_at_is_one_line(generate, what):
    paths = {"image": "p.png", "out": "x.png", "checkpoint": "export"}
    paths[what] = f"{'a' * 300}.png"
    with pytest.raises(NuwaError, match=f"Cannot look at .*{paths[what]}: [^\n]+$"):
        generate(f"I2I --image {paths['image']}", out=paths["out"], checkpoint=paths["checkpoint"])


@pytest.mark.parametrize("text", ["", "  ", "\udcff"])
def test_a_text_that_says_nothing_is_refused(generate, text):
    with pytest.raises(ConfigError, match="is no text"):
        generate("T2I --text", text)


def test_a_text_that_no_file_can_tell_is_refused_without_repeating_it(generate):
    with pytest.raises(ConfigError, match="--text has 10001 characters") as caught:
        generate("T2V --text", "赤" * 10_001, out="x.mp4")
    assert len(str(caught.value)) < 100


def test_progress_ends_at_its_total_when_the_last_samples_take_fewer_rounds(generate, capsys):
    generate("T2I --num-samples 17 --num-candidates 8 --text circle")
    lines = [parse_progress(line) for line in capsys.readouterr().out.splitlines()]
    last = [line for line in lines if line][-1]
    assert last.done == last.total > 0


def test_a_text_that_is_too_long_is_said(generate, capsys):
    generate("T2I --text", "a red circle and many other things")
    assert "is too long: the model reads 'a red circle a" in capsys.readouterr().err


def test_from_a_shell_a_mistake_is_one_line(nuwa, folder, tmp_path):
    line = ("--checkpoint", folder / "export", "--out", tmp_path / "x.png")
    ended = nuwa("generate", "T2I", *map(str, line))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: T2I needs --text (a caption).\n"
