"""What a run says last: where the report is, and its most telling numbers."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from flows.stages import Settings
from pipelines import storage


def close_with_report(settings: Settings, record: Mapping[str, Any]) -> None:
    """Tell the person, and Prefect, what the report says and where it lies.

    Args:
        settings: Of the run.
        record: Of the job that wrote the report; its fractions are the key numbers.
    """
    root = settings.config.report_root
    page = storage.join(root, "index.html")
    metrics = json.loads(storage.read_bytes(storage.join(root, "report.json")))["metrics"]
    for line in closing_lines(page, record):
        get_run_logger().info("%s", line)
    create_markdown_artifact(
        f"Report: `{page}`\n\n{markdown(metrics)}", key="report", description="What was measured"
    )


def closing_lines(page: str, record: Mapping[str, Any]) -> list[str]:
    """The key numbers in two columns, then where the report is."""
    numbers = {k: v for k, v in record.items() if isinstance(v, float) and k != "seconds"}
    width = max(map(len, numbers), default=0)
    told = [f"{name:<{width}}  {_number(value)}" for name, value in numbers.items()]
    return [*told, f"Report: {page}"]


def markdown(metrics: Iterable[Mapping[str, Any]]) -> str:
    """All numbers as a table."""
    head = "| task | metric | value | samples |\n|---|---|---:|---:|\n"
    return head + "".join(
        f"| {m['task']} | {m['metric']} | {_number(m['value'])} | {m['num_samples']} |\n"
        for m in metrics
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
