import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from flows.cli import FLOWS, main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "prepare-dat"], "No flow is called 'prepare-dat'. Did you mean 'prepare-data'?"),
        (["run", "demo", "--preset", "tinny"], "Did you mean 'tiny'?"),
        (["run", "demo", "--set", "training.stepz=5"], "stepz"),
        (["run", "demo", "--set", "training.steps=many"], "steps"),
        (["run", "demo", "--run", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "demo", "--set", "dataset.name=foldr"], "Did you mean 'folder'?"),
        (["run", "demo", "--set", f"store={__file__}"], "a file; expected a folder"),
    ],
)
def test_a_misspelling_ends_in_one_line_before_anything_starts(nuwa, arguments, says):
    started = time.monotonic()
    answer = nuwa(*arguments)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert re.fullmatch(r"error: [^\n]+\n", answer.stderr), answer.stderr
    assert says in answer.stderr
    assert time.monotonic() - started < 20  # two seconds on an idle machine


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("foo", "error: nuwa: No command is called 'foo'. Known: artifacts, "),
        ("rnu demo", "error: nuwa: No command is called 'rnu'. Did you mean 'run'? Known: "),
        ("store verfy here", "error: nuwa store: No action is called 'verfy'. Did you mean 'ver"),
        ("checkpoint shown c", "error: nuwa checkpoint: No action is called 'shown'. Did you mean"),
        ("generate T2I", "error: nuwa generate: the following arguments are required: --checkp"),
        ("generate T2I --chekpoint=c --out x", "(did you mean --checkpoint, not --chekpoint?)"),
        ("generate T2I --ch c --out x", "(did you mean --checkpoint, not --ch?); see"),
        ("generate T2I --checkpoint c --out x.png --seed a", "--seed: invalid int value: 'a'; see"),
        ("generate T2I --checkpoint c --out x --xyz", "generate: unrecognized arguments: --xyz;"),
        ("run demo --prest demo", "nuwa run: unrecognized arguments: --prest demo (did you mean "
         "--preset, not --prest?); see nuwa run --help."),
        ("run demo -preset demo", "-preset demo (did you mean --preset, not -preset?); see"),
        ("run demo preset demo", "preset demo (did you mean --preset, not preset?); see"),
        ("store verify here there", "error: nuwa store verify: unrecognized arguments: there;"),
    ],
)  # fmt: skip
def test_words_that_no_command_reads_are_refused_in_one_line(capsys, words, says):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", told), told
    assert says in told


def test_a_line_break_in_an_unknown_word_does_not_break_the_line(capsys):
    with pytest.raises(SystemExit):
        main(["store", "verify", "here", "one\ntwo"])
    assert r"unrecognized arguments: one\ntwo; see" in capsys.readouterr().err


def test_help_lists_every_flow(nuwa):
    answer = nuwa("--help")
    assert answer.returncode == 0
    assert all(f"  {name} " in answer.stdout for name in FLOWS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "demo"], "The same command goes on from here."),
        (["generate", "T2I", "--checkpoint", "c", "--out", "x.png"], "--overwrite"),
    ],
)
def test_a_command_that_is_interrupted_says_how_to_go_on(monkeypatch, capsys, arguments, told):
    def interrupt(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.cli._run", interrupt)
    monkeypatch.setattr("flows.generate_cli._generate", interrupt)
    monkeypatch.setattr("flows.interruption.listen", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 130
    assert told in capsys.readouterr().err


def test_ctrl_c_while_modules_are_still_read_is_no_traceback():
    command = [sys.executable, "-X", "importtime", "-m", "flows.entry", "plan", "pretrain"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any(line.endswith(" argparse\n") for line in process.stderr)  # many come after it
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "Traceback" not in rest
    assert process.returncode in {-signal.SIGINT, 128 + signal.SIGINT}


@pytest.mark.slow
def test_a_flow_runs_here_and_now_and_is_quick_the_second_time(nuwa, small):
    first = nuwa("run", "prepare-data", "--set", *small)
    assert first.returncode == 0, first.stderr
    assert "✓ decode_clips" in first.stdout
    assert "✓ train_text_tokenizer" in first.stdout
    again = nuwa("run", "prepare-data", "--set", *small)
    assert "train_text_tokenizer is already complete" in again.stdout
    assert "decoded=0" in again.stdout


@pytest.mark.slow
def test_a_tokenizer_is_trained_from_a_folder_of_images_with_nothing_prepared(nuwa, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((60, 40)).save(tmp_path / f"photos/{number}.jpg")
    settings = (
        *("dataset.name=folder", f"dataset.root={tmp_path / 'photos'}", "clips.num_workers=1"),
        *(f"store={tmp_path / 'store'}", "vqgan_training.steps=2", "vqgan_training.batch_size=2"),
    )
    first = nuwa("run", "train-tokenizer", "--set", *settings)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "is filled from folder first" in first.stdout
    assert f"Report: {tmp_path / 'store/report/index.html'}" in first.stdout
    assert (tmp_path / "store/report/index.html").exists()
    again = nuwa("run", "train-tokenizer", "--set", *settings)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "decode_clips" not in again.stdout


def test_a_failing_job_ends_the_command_in_one_line(nuwa, small):
    answer = nuwa(
        "run", "prepare-data", "--set", *small, "dataset.root=/no/such", "dataset.name=folder"
    )
    assert answer.returncode == 1
    assert re.fullmatch(r"error: decode_clips: [^\n]*/no/such[^\n]*\n", answer.stderr)
