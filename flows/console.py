"""What a person sees of a flow that runs in their terminal."""

import json
import logging
import re
import sys
from pathlib import Path

from tqdm import tqdm

_FLOWS = Path(__file__).parent
_PREFIX = re.compile(r"^\(\w+ pid=\d+(, ip=[\d.]+)?\) ")
_NOT_HERE = re.compile(
    r"INFO job_manager\.py|^Running entrypoint for job |^\(TrainController |core_worker\.cc:"
    r"|Setting up process group for: |Reporting training result |\) step=\d+ task="
)
"""What Ray says about itself, and every step of training: for Prefect's log, not for a terminal."""


class Console(logging.Handler):
    """Shows what flows and their jobs say, and leaves out what Prefect says about itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line, above a progress bar if there is one."""
        message = record.getMessage()
        if Path(record.pathname).parent != _FLOWS or _NOT_HERE.search(message):
            return
        line = message if record.module == "closing" else _readable(message)
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def attach_console() -> None:
    """Show this process's flow and task runs on stdout."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(Console())


def _readable(message: str) -> str:
    """A job's record as a short line; everything else as it is."""
    if message.startswith("python -m "):
        return f"▸ {message}"
    if not message.startswith('{"job": '):
        return f"    {_PREFIX.sub('', message)}"
    record = json.loads(message)
    name, seconds = record.pop("job"), record.pop("seconds")
    facts = "  ".join(f"{key}={_short(value)}" for key, value in record.items() if _fits(value))
    return f"✓ {name} in {seconds:.0f} s  {facts}".rstrip()


def _fits(value: object) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) <= 80


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
