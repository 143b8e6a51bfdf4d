"""``nuwa plan``: what a training would take, before anything is started or paid for."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flows.parsers import Subparsers
from flows.tables import print_table
from nuwa_model.errors import ConfigError, UnknownNameError
from pipelines.training.gpus import GPUS, Gpu

UTILIZATIONS = (0.2, 0.3, 0.4, 0.5)
"""Of what the hardware can do (HFU): the share that is done, computed again or not."""

_DAY = 86_400


def add_commands(commands: Subparsers) -> None:
    """Add ``plan pretrain``."""
    from pipelines.command import add_config_arguments

    plan = commands.add_parser("plan", help="what a training would take: memory, time")
    actions = plan.add_subparsers(dest="action", required=True, metavar="ACTION")
    what = "memory of each GPU for each ZeRO stage, operations, days"
    pretrain = actions.add_parser("pretrain", help=what, description=what)
    add_config_arguments(pretrain)
    pretrain.add_argument("--gpu", default="a100-80", help=f"{', '.join(GPUS)} (%(default)s)")
    pretrain.add_argument(
        "--gpus", type=int, default=0, metavar="N", help="default: training.num_workers"
    )
    pretrain.add_argument("--json", action="store_true", help="one JSON object")
    pretrain.set_defaults(call=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    from pipelines.settings import load_config
    from pipelines.training import sizing

    if arguments.gpu not in GPUS:
        raise UnknownNameError("GPU", arguments.gpu, GPUS)
    config = load_config(arguments.run, preset=arguments.preset, overrides=arguments.overrides)
    training, gpu = config.training, GPUS[arguments.gpu]
    ranks = arguments.gpus or max(1, training.num_workers)
    share = ranks * training.gradient_accumulation
    if ranks < 1 or training.batch_size % share:
        raise ConfigError(
            f"--gpus {arguments.gpus}: training.batch_size ({training.batch_size}) must be a "
            f"multiple of the GPUs times training.gradient_accumulation ({share})."
        )
    learned, counted = sizing.count_parameters(config.model)
    step = sizing.mean_step(config)
    memories = {
        stage: sizing.memory(config, zero_stage=stage, ranks=ranks) for stage in sizing.STAGES
    }
    seconds = (step.flops + step.recomputed) / (ranks * gpu.flops)
    told = {
        "parameters": learned,
        "parameters_as_the_paper_counts": counted,
        "step": asdict(step),
        "steps": training.steps,
        "gpus": ranks,
        "gpu": arguments.gpu,
        "days": {str(hfu): training.steps * seconds / hfu / _DAY for hfu in UTILIZATIONS},
        "bytes": {stage: {**asdict(m), "total": m.total} for stage, m in memories.items()},
    }
    if arguments.json:
        print(json.dumps(told, indent=1))
        return
    _print_work(told)
    _print_time(told, seconds, gpu)
    _print_memory(told, training.zero_stage, gpu, training.batch_size // share)


def _print_work(told: Mapping[str, Any]) -> None:
    step, steps = told["step"], told["steps"]
    again = f", {step['recomputed']:.3g} of checkpointed layers again" if step["recomputed"] else ""
    print(
        f"model     {told['parameters'] / 1e6:,.1f} M weights to train "
        f"({told['parameters_as_the_paper_counts'] / 1e6:,.1f} M as the paper counts)\n"
        f"step      {step['examples']:,.0f} examples, {step['tokens']:,.0f} tokens, "
        f"{step['flops']:.3g} operations{again}\n"
        f"training  {steps:,} steps, {steps * step['tokens']:.3g} tokens, "
        f"{steps * (step['flops'] + step['recomputed']):.3g} operations\n"
    )


def _print_time(told: Mapping[str, Any], seconds: float, gpu: Gpu) -> None:
    step = told["step"]
    useful = step["flops"] / (step["flops"] + step["recomputed"])
    print(f"time on {told['gpus']} × {told['gpu']} ({gpu.flops / 1e12:.0f} TFLOP/s each)")
    print_table(
        ["HFU", "MFU", "seconds a step", "tokens/s", "days"],
        [
            (f"{hfu} ", _round(hfu * useful), _round(seconds / hfu),
             round(step["tokens"] * hfu / seconds), _round(told["days"][str(hfu)]))
            for hfu in UTILIZATIONS
        ],
    )  # fmt: skip


def _print_memory(told: Mapping[str, Any], chosen: int, gpu: Gpu, micro_batch: int) -> None:
    print(f"\nGB on each GPU of {gpu.memory / 1e9:.0f}, micro-batches of {micro_batch}")
    columns = [name for name in told["bytes"][0] if name != "total"]
    print_table(
        ["ZeRO", *columns, "total", "fits"],
        [
            (f"{stage}{'*' if stage == chosen else ''}",
             *(_round(parts[name] / 1e9) for name in [*columns, "total"]),
             "yes" if parts["total"] < gpu.memory else "no")
            for stage, parts in told["bytes"].items()
        ],
    )  # fmt: skip
    print("* training.zero_stage. Beside it: CUDA's own 1 to 2 GB, and what fragments.")


def _round(value: float) -> float:
    """Three digits, for a table."""
    return float(f"{value:.3g}")
