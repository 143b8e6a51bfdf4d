"""The console script ``nuwa``: any flow, here and now."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from flows import artifacts_cli, checkpoint_cli, generate_cli, interruption, plan_cli, store_cli
from flows.parsers import Parser
from nuwa_model.errors import NuwaError, UnknownNameError

FLOWS: Mapping[str, tuple[str, str]] = {
    "prepare-data": ("flows.prepare_data:prepare_data", "videos and images to clips"),
    "train-tokenizer": (
        "flows.train_tokenizer:train_tokenizer",
        "clips or a data set to a VQ-GAN, and a report",
    ),
    "tokenize": ("flows.tokenize_clips:tokenize", "clips to tokens"),
    "retokenize": ("flows.retokenize:retokenize", "new or changed sources to tokens"),
    "retry-errors": ("flows.retry_errors:retry_errors", "another try for sources that failed"),
    "pretrain": ("flows.pretrain:pretrain", "tokens to a model"),
    "finetune": ("flows.finetune:finetune", "a model to a better one at some tasks"),
    "generate": ("flows.generate:generate", "a model to samples"),
    "evaluate": ("flows.evaluate:evaluate", "samples to a report"),
    "demo": ("flows.demo:demo", "all of these in a row"),
    "ablate-tokenizer": ("flows.ablate_tokenizer:ablate_tokenizer", "tokenizers compared"),
}
"""Where each flow is, as ``module:function``, and what it does."""

SERVICES = Path(__file__).parent.parent / ".services"
"""What local services keep between runs, beside the code they were installed with."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": str(SERVICES / "prefect"),
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "THP_MEM_ALLOC_ENABLE": "1",  # pipelines.memory.ask_huge_pages, for all of Ray's processes
}
"""Defaults of this process and all it starts; the environment wins."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a deliberate error ends in one line and exit code 1."""
    arguments = _parser().parse_args(argv)
    interruption.listen()
    try:
        arguments.call(arguments)
        sys.stdout.flush()  # here, where a closed pipe has an answer
    except NuwaError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # whoever read this, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)  # not 0: what was asked may not be done
    except KeyboardInterrupt:
        print(f"Interrupted. {arguments.when_interrupted}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)  # as shells and schedulers know it


def _parser() -> Parser:
    from pipelines.command import add_config_arguments

    parser = Parser(
        prog="nuwa",
        description="Train NÜWA on your own videos and images.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="flows:\n" + "\n".join(f"  {name:<16} {what}" for name, (_, what) in FLOWS.items()),
    )
    parser.set_defaults(when_interrupted="The same command goes on from here.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a flow here and now", epilog=parser.epilog)
    run.formatter_class = argparse.RawDescriptionHelpFormatter
    run.add_argument("flow", metavar="FLOW", help="one of those below")
    add_config_arguments(run)
    run.set_defaults(call=_run)
    store_cli.add_commands(commands)
    artifacts_cli.add_commands(commands)
    checkpoint_cli.add_commands(commands)
    plan_cli.add_commands(commands)
    generate_cli.add_commands(commands)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    """Check what was asked before anything starts, then run it."""
    from pipelines.command import refuse_unusable
    from pipelines.settings import load_config

    if arguments.flow not in FLOWS:
        raise UnknownNameError("flow", arguments.flow, FLOWS)
    config = load_config(arguments.run, preset=arguments.preset, overrides=arguments.overrides)
    refuse_unusable(config)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Prefect makes this folder, but not the one around it, and does not start without.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    _run_with_prefect(
        arguments.flow,
        preset=arguments.preset,
        run=arguments.run,
        overrides=tuple(arguments.overrides),
    )


def _run_with_prefect(name: str, **parameters: Any) -> None:
    """Run a flow against the Prefect server of the settings, or one of its own."""
    from flows import cluster

    cluster.start_head_early()  # it gets ready while Prefect is imported
    from flows.prefect_server import serving

    with serving() as wait:
        flow = _load(name)
        wait()
        try:
            flow(**parameters)
        finally:
            cluster.release_head()  # it goes while Prefect sends its last words


def _load(name: str) -> Callable[..., Any]:
    from flows.console import attach_console

    module, function = FLOWS[name][0].split(":")
    flow: Callable[..., Any] = getattr(import_module(module), function)
    attach_console()
    return flow


if __name__ == "__main__":
    main()
