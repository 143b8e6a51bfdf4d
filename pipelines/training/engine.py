"""The one place that starts DeepSpeed, and what it asks of the machine."""

import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pipelines.config import TrainingConfig
from pipelines.errors import TrainingError
from pipelines.training.ranks import Ranks, join_ranks

logger = logging.getLogger(__name__)

Precision = Literal["bfloat16", "float32"]

_CPU_INFO = Path("/proc/cpuinfo")
_LARGEST_BUCKET = 500_000_000


def choose_precision() -> Precision:
    """``bfloat16`` where the processor multiplies it in hardware, else ``float32``."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = _CPU_INFO.read_text() if _CPU_INFO.exists() else ""
    return "bfloat16" if re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) else "float32"


def deepspeed_config(
    training: TrainingConfig, precision: Precision, num_weights: int
) -> dict[str, Any]:
    """DeepSpeed's settings; a pure function, so there is no second file to drift.

    Weights, gradients and Adam's moments stay float32 and matrices are multiplied in ``precision``
    (autocast): on a CPU as fast as bfloat16 weights, and normalization, averaging and export are
    exact. Gradients are summed in float32, so the number of ranks changes rounding only.
    """
    ranks = training.num_workers * training.gradient_accumulation
    return {
        "train_batch_size": training.batch_size,
        "train_micro_batch_size_per_gpu": training.batch_size // ranks,
        "gradient_accumulation_steps": training.gradient_accumulation,
        "gradient_clipping": training.gradient_clipping,
        "torch_autocast": {
            "enabled": precision == "bfloat16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": training.learning_rate,
                "betas": list(training.betas),
                "eps": 1e-8,
                "weight_decay": training.weight_decay,
                "torch_adam": True,  # the others are compiled at run time
                "fused": True,  # one pass over the weights where there were ten
            },
        },
        "zero_optimization": {
            "stage": training.zero_stage,
            "overlap_comm": False,
            # A buffer of this many numbers is made in every step, by default 2 GB.
            "reduce_bucket_size": min(num_weights, _LARGEST_BUCKET),
            # every weight is partitioned, so that its average can be partitioned alike
            "stage3_param_persistence_threshold": 0,
        },
        "steps_per_print": 2**31,  # the loop logs
    }


def start_engine(model: nn.Module, training: TrainingConfig, precision: Precision) -> Any:
    """Give a model to DeepSpeed, on every rank at once.

    Matrices decay, vectors (biases, norms) do not.

    Returns:
        The ``DeepSpeedEngine``.

    Raises:
        TrainingError: There are not as many processes as the settings say.
    """
    groups = _parameter_groups(model)
    num_weights = sum(p.numel() for group in groups for p in group["params"])
    config = deepspeed_config(training, precision, num_weights)
    engine = initialize(model, groups, config, num_workers=training.num_workers)
    if Ranks.from_environment().is_first:
        logger.info(
            "engine=deepspeed zero_stage=%d precision=%s ranks=%d device=%s threads=%d",
            training.zero_stage,
            precision,
            training.num_workers,
            engine.device,
            torch.get_num_threads(),
        )
    return engine


def initialize(
    model: nn.Module, parameters: Sequence[Any], config: Mapping[str, Any], *, num_workers: int
) -> Any:
    """Start an engine with settings of DeepSpeed's own, on every rank at once.

    Args:
        model: Moves to the rank's device.
        parameters: Those that are optimized, or groups of them.
        config: DeepSpeed's settings.
        num_workers: Ranks that the settings speak of.

    Returns:
        The ``DeepSpeedEngine``.

    Raises:
        TrainingError: There are not as many processes as the settings say.
    """
    ranks = Ranks.from_environment()
    if ranks.world_size != num_workers:
        raise TrainingError(
            f"{ranks.world_size} processes were started for num_workers={num_workers}: "
            f"start that many, or set num_workers={ranks.world_size}."
        )
    deepspeed = import_deepspeed()
    join_ranks(ranks)
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed wants it of a lone process too
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=list(parameters), config=dict(config)
    )
    return engine


def take_step(engine: Any, learning_rate: float) -> float:
    """Update the weights with the gradients that ``engine.backward`` left.

    Returns:
        Norm of the gradient before clipping; not finite if the update was left out for that.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate
    if engine.zero_optimization_stage() == 0:
        gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        engine.step()
        return norm
    engine.step()
    return float(engine.get_global_grad_norm())


def import_deepspeed() -> Any:
    """The package, told what device it has before it looks and how much it may say."""
    is_cpu = not torch.cuda.is_available()
    if is_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when DeepSpeed is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside DeepSpeed are not ours to mend
        import deepspeed
        import deepspeed.ops

        with _nothing_compiled():
            import deepspeed.runtime.zero.muon.original_muon
    deepspeed.utils.logger.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    if is_cpu:
        # It would be compiled at run time, and gloo does its work without a compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Let ``torch.compile`` do nothing, for the length of a ``with`` statement.

    DeepSpeed looks at an optimizer of its own whenever it starts, and that one is compiled where it
    is defined: seconds for every rank, and nobody here uses it.
    """
    importlib.import_module("torch._dynamo")  # keeps for good what the variable says meanwhile
    kept = os.environ.get("TORCHDYNAMO_DISABLE")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    try:
        yield
    finally:
        del os.environ["TORCHDYNAMO_DISABLE"]
        if kept is not None:
            os.environ["TORCHDYNAMO_DISABLE"] = kept


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
