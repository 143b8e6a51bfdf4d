"""What a run says last: where the report is, and its most telling numbers."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from flows.stages import Settings
from flows.tables import table_lines
from pipelines import storage
from pipelines.evaluation.ablation import table


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


def close_with_ablation(page: str) -> None:
    """Tell the person, and Prefect, how the tokenizers compare.

    Args:
        page: Uri of the report; the numbers lie beside it.
    """
    root = page.rpartition("/")[0]
    report = json.loads(storage.read_bytes(storage.join(root, "report.json")))
    for line in (*ablation_lines(report), f"Report: {page}"):
        get_run_logger().info("%s", line)
    cells = (table.headers(report), ["---"] * len(table.headers(report)), *table.rows(report))
    rows = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    told = (one["says"] for one in report["comparisons"])
    create_markdown_artifact(
        "\n\n".join([f"Report: `{page}`", rows, *told]),
        key="ablation",
        description="How the tokenizers compare",
    )


def ablation_lines(report: Mapping[str, Any]) -> list[str]:
    """The table of an ablation, the published one as its template, and the answers.

    Args:
        report: What ``report.json`` holds.
    """
    return [
        *table_lines(table.headers(report), table.rows(report)),
        "",
        *(one["says"] for one in report["comparisons"]),
        *report["notes"],
        "The form of the question, not numbers to compare with (NÜWA, Table 4):",
        *table_lines(table.PAPER_HEADERS, table.paper_rows(report)),
    ]


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
