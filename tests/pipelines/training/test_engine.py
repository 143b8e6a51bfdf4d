import subprocess
import sys

import pytest
import torch
from torch import nn

from nuwa_model.losses import next_token_loss
from pipelines.config import TrainingConfig
from pipelines.errors import TrainingError
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import deepspeed_config, start_engine, take_step
from tests.conftest import ROOT
from tests.pipelines.training.toy import ToyBatches, toy_model, toy_training


def test_deepspeed_is_told_what_the_run_file_says():
    training = TrainingConfig(
        batch_size=24,
        num_workers=2,
        gradient_accumulation=3,
        zero_stage=2,
        learning_rate=5e-4,
        weight_decay=0.02,
        gradient_clipping=0.5,
    )
    assert deepspeed_config(training, "bfloat16", num_weights=1_600_000) == {
        "train_batch_size": 24,
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 3,
        "gradient_clipping": 0.5,
        "torch_autocast": {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": 5e-4,
                "betas": [0.9, 0.95],
                "eps": 1e-8,
                "weight_decay": 0.02,
                "torch_adam": True,
                "fused": True,
            },
        },
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": False,
            "reduce_bucket_size": 1_600_000,
            "stage3_param_persistence_threshold": 0,
        },
        "steps_per_print": 2**31,
    }
    large = deepspeed_config(training, "float32", num_weights=870_000_000)
    assert not large["torch_autocast"]["enabled"]
    assert large["zero_optimization"]["reduce_bucket_size"] < 870_000_000


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [pytest.param("float32", 1e-4, id="float32"), pytest.param("bfloat16", 2e-2, id="bfloat16")],
)
def test_deepspeed_and_plain_torch_take_the_same_first_step(tmp_path, stage, precision, tolerance):
    training = toy_training(zero_stage=stage, gradient_accumulation=2, gradient_clipping=0.5)
    batches = ToyBatches(training)
    engine = start_engine(toy_model(), training, precision)
    for micro_batch in range(2):
        batch = batches.batch_at(0, micro_batch)
        engine.backward(next_token_loss(engine(batch), batch.target))
        if micro_batch == 0:
            engine.step()
    norm = take_step(engine, 1e-3)
    AveragedWeights(engine.module).save(tmp_path / "after", is_writer=True)

    model = toy_model()
    expected_norm = _plain_step(model, batches, training, is_bfloat16=precision == "bfloat16")
    found = toy_model()
    AveragedWeights(found).load(tmp_path / "after")
    assert norm == pytest.approx(expected_norm, rel=tolerance)
    start = nn.utils.parameters_to_vector(toy_model().parameters())
    step = nn.utils.parameters_to_vector(model.parameters()) - start
    found_step = nn.utils.parameters_to_vector(found.parameters()) - start
    # Adam divides by the gradient itself, so where that is nothing but rounding (the bias of keys,
    # which softmax cancels) the step's sign is chance.
    gradient = nn.utils.parameters_to_vector(
        torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()
    )
    is_real = gradient.abs() > 1e-5 * gradient.abs().max()
    assert is_real.float().mean() > 0.4
    difference = (found_step - step)[is_real].abs().mean()
    assert difference <= tolerance * step[is_real].abs().mean()


def test_deepspeed_starts_without_loading_a_compiler_and_leaves_it_usable():
    command = [sys.executable, "-c", _START_AND_LOOK]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "loaded: False, disabled: False, variable: None\n"


_START_AND_LOOK = """
import os, sys
from pipelines.training.engine import start_engine
from tests.pipelines.training.toy import toy_model, toy_training
start_engine(toy_model(), toy_training(), "float32")
import torch._dynamo
print("loaded:", "torch._inductor.compile_fx" in sys.modules, end=", ")
print("disabled:", torch._dynamo.config.disable, end=", ")
print("variable:", os.environ.get("TORCHDYNAMO_DISABLE"))
"""


def test_another_number_of_processes_is_refused_with_the_repair():
    with pytest.raises(TrainingError, match="set num_workers=1"):
        start_engine(toy_model(), toy_training(num_workers=2), "float32")


def _plain_step(model, batches, training, *, is_bfloat16):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=1e-3,
        betas=training.betas,
    )
    for micro_batch in range(2):
        batch = batches.batch_at(0, micro_batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            logits = model(batch)
        (next_token_loss(logits, batch.target) / 2).backward()
    norm = nn.utils.clip_grad_norm_(parameters, training.gradient_clipping)
    optimizer.step()
    return float(norm)
