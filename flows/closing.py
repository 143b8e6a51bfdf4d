"""What a run says last: where the report is, and its most telling numbers."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from flows.stages import Settings
from pipelines import storage

MAX_NUMBERS = 16


def close_with_report(settings: Settings) -> None:
    """Tell the person, and Prefect, what the report holds and where it lies."""
    root = settings.config.report_root
    page = storage.join(root, "index.html")
    metrics = json.loads(storage.read_bytes(storage.join(root, "report.json")))["metrics"]
    logger = get_run_logger()
    for line in ("", *table(metrics), "", f"Report: {page}"):
        logger.info("%s", line)
    create_markdown_artifact(
        f"Report: `{page}`\n\n{markdown(metrics)}", key="report", description="What was measured"
    )


def table(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """The first numbers, one a line, in columns."""
    rows = [(str(m["task"]), str(m["metric"]), _number(m["value"])) for m in metrics]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [
        f"{task:<{widths[0]}}  {metric:<{widths[1]}}  {value:>{widths[2]}}"
        for task, metric, value in rows[:MAX_NUMBERS]
    ]


def markdown(metrics: Iterable[Mapping[str, Any]]) -> str:
    """All numbers as a table."""
    head = "| task | metric | value | samples |\n|---|---|---:|---:|\n"
    return head + "".join(
        f"| {m['task']} | {m['metric']} | {_number(m['value'])} | {m['num_samples']} |\n"
        for m in metrics
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
