"""The command line that every job has, and how a job ends."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nuwa_model.errors import ConfigError, NuwaError
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.presets import RUN_PRESETS
from pipelines.run_tokenizers import refuse_given
from pipelines.settings import load_config


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three ways to say what a run is (D6)."""
    parser.add_argument("--preset", default="tiny", help=", ".join(RUN_PRESETS))
    parser.add_argument("--run", metavar="FILE", help="YAML with any subset of the settings")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="key=value",
        action="extend",
        nargs="+",
        default=[],
        help="dotted settings that win over the file, such as training.steps=5",
    )


def refuse_unusable(config: RunConfig) -> None:
    """Refuse settings that a look around shows to be useless, before anything is started.

    Raises:
        UnknownNameError: No data set has that name.
        ConfigError: The store is a file, or a tokenizer that is given does not fit the settings.
        ArtifactError: A tokenizer that is given is not there.
        StorageError: The store's bucket is not there, or not ours.
    """
    from pipelines.datasets import get_dataset

    get_dataset(config.dataset.name)
    if storage.is_local(config.store) and Path(config.store).is_file():
        raise ConfigError(f"store is {config.store}, a file; expected a folder, such as runs/mine.")
    storage.exists(config.store)
    refuse_given(config)


def run_job(job: Callable[[RunConfig], dict[str, Any]], argv: Sequence[str] | None = None) -> None:
    """Run a job: its record is the last line on stdout and a file in the store.

    A deliberate error ends in one line and exit code 1; a bug keeps its traceback.
    """
    parser = argparse.ArgumentParser(description=job.__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    started = time.time()
    try:
        config = load_config(arguments.run, preset=arguments.preset, overrides=arguments.overrides)
        refuse_unusable(config)
        record = job(config)
    except NuwaError as error:
        # One that was raised in a Ray task carries the task's traceback around what it says.
        sys.exit(f"error: {getattr(error, 'cause', error)}")
    except OSError as error:  # of this machine: a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}; see to it and run this again.")
    _finish(config, job.__name__, record, started)


def _finish(config: RunConfig, name: str, record: dict[str, Any], started: float) -> None:
    record = {"job": name, "seconds": round(time.time() - started, 2), **record}
    if not record.get("was_complete"):
        uri = storage.join(config.store, "records", f"{name}.json")
        storage.replace_bytes(uri, json.dumps(record, indent=1).encode())
    print(json.dumps(record), flush=True)
