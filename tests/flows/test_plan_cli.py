"""``nuwa plan`` says what a training would take, and starts nothing."""

import json

import pytest

from flows.cli import main

PAPER = ["plan", "pretrain", "--preset", "nuwa_870m", "--run", "infra/runs/pretrain_870m.yaml"]


def test_the_paper_s_run_is_laid_out_for_64_gpus(capsys):
    main(PAPER)
    said = capsys.readouterr().out
    assert "time on 64 × a100-80" in said
    assert "GB on each GPU of 80, micro-batches of 2" in said
    assert [line[:2] for line in said.splitlines()[-5:-1]] == ["0 ", "1*", "2 ", "3 "]


def test_more_gpus_take_less_time_and_memory(capsys):
    plans = []
    for gpus in ("8", "32"):
        main([*PAPER, "--gpus", gpus, "--json"])
        plans.append(json.loads(capsys.readouterr().out))
    few, many = plans
    assert few["days"]["0.4"] == pytest.approx(4 * many["days"]["0.4"])
    assert few["bytes"]["3"]["total"] > 3 * many["bytes"]["3"]["total"]
    assert few["step"] == many["step"]


def test_checkpointed_layers_take_more_time_and_less_memory(capsys):
    main([*PAPER, "--json"])
    kept = json.loads(capsys.readouterr().out)
    checkpointed = ["--set", "training.activation_checkpointing=true"]
    main([*PAPER, *checkpointed, "--json"])
    again = json.loads(capsys.readouterr().out)
    assert again["step"]["flops"] == kept["step"]["flops"]
    assert again["days"]["0.4"] == pytest.approx(1.23 * kept["days"]["0.4"], rel=0.02)
    assert again["bytes"]["1"]["activations"] < kept["bytes"]["1"]["activations"] / 5
    main([*PAPER, *checkpointed])
    assert "of checkpointed layers again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["--gpus", "3"], "training.batch_size (128) must be a multiple of the GPUs"),
        (["--gpus", "-1"], "--gpus -1"),
        (["--gpu", "a100-88"], "No GPU is called 'a100-88'. Did you mean 'a100-80'?"),
        (["--set", "model.dmi=3"], "Did you mean model.dim?"),
    ],
)
def test_what_cannot_be_planned_ends_in_one_line(settings, said):
    with pytest.raises(SystemExit) as ended:
        main([*PAPER, *settings])
    assert said in str(ended.value)
    assert "\n" not in str(ended.value)
