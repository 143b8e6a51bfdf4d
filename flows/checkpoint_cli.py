"""``nuwa checkpoint``: look at what trainings saved on their way, and make exports of it."""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from flows.parsers import Subparsers
from flows.tables import print_table
from nuwa_model.errors import NuwaError
from pipelines.errors import ArtifactError

_WHERE = "a folder, or s3://bucket/prefix"
_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 40


def add_commands(commands: Subparsers) -> None:
    """Add ``checkpoint`` and what can be done with one; only ``export`` loads torch."""
    parser = commands.add_parser("checkpoint", help="list checkpoints, make an export of one")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("ls", help="list the checkpoints of a store, run by run")
    listing.add_argument("store", metavar="STORE", help=_WHERE)
    showing = actions.add_parser("show", help="say how far a training was, and how its loss fell")
    showing.add_argument("checkpoint", metavar="CHECKPOINT", help=_WHERE)
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="for programs")
    exporting = actions.add_parser("export", help="write a folder that can generate")
    exporting.add_argument("checkpoint", metavar="CHECKPOINT", help=_WHERE)
    exporting.add_argument("folder", metavar="FOLDER", type=Path, help="new or empty")
    exporting.add_argument(
        "--weights", choices=["ema", "last"], default="ema",
        help="the running average, or those of the last step (%(default)s)",
    )  # fmt: skip
    for action, call in {listing: _ls, showing: _show, exporting: _export}.items():
        action.set_defaults(call=call)


def _ls(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts

    names = artifacts.list_names(arguments.store, "checkpoint")
    uris = [artifacts.artifact_uri(arguments.store, "checkpoint", name) for name in names]
    found = [_summary(uri) for uri in uris]
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"{arguments.store} has no checkpoints.")
        return
    # Of each run the newest one knows: they are sorted.
    best = {one["run"]: one["best_step"] for one in found if "problem" not in one}
    print_table(
        ["name", "step", "of", "loss", "validation", "MB", "written", ""],
        [
            (one["name"], one["step"], one["steps"], one["loss"], one["validation"],
             round(one["bytes"] / 1e6, 1), one["created"],
             "best" if one["step"] == best[one["run"]] else "")
            for one in found if "problem" not in one
        ],
    )  # fmt: skip
    for problem in (one["problem"] for one in found if "problem" in one):
        print(problem)
    root = artifacts.artifact_uri(arguments.store, "checkpoint", "")
    print(f"\n{len(found)}, by their manifests, in {root}")


def _summary(uri: str) -> dict[str, Any]:
    from pipelines import artifacts

    try:
        tree, one = artifacts.read_tree(uri), artifacts.read_manifest(uri)
    except NuwaError as error:
        return {"uri": uri, "problem": str(error)}
    told = one.metadata
    validation = told.get("validation_loss", {})
    return {
        "uri": uri,
        "name": one.name,
        "run": one.name.rpartition("/")[0],
        "step": told.get("step"),
        "steps": told.get("steps"),
        "loss": _rounded(told.get("loss")),
        "validation": _rounded(_mean(validation.values())),
        "best_step": told.get("best_step"),
        "bytes": one.num_bytes,
        "created": tree["created"],
    }


def _show(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts
    from pipelines.training.saved import read_state

    tree = artifacts.read_tree(arguments.checkpoint)
    if tree["kind"] != "checkpoint":
        raise ArtifactError(
            f"{arguments.checkpoint} is of kind {tree['kind']}: `nuwa artifacts show` shows it."
        )
    state = read_state(artifacts.read_manifest(arguments.checkpoint))
    records = state.get("curve", {}).get("records", [])
    if arguments.json:
        del tree["files"]
        told = {"uri": arguments.checkpoint, **tree, "curve": records}
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for key in ("name", "created", "code_commit"):
        print(f"{key:<18} {tree.get(key, '')}")
    for key, value in tree["metadata"].items():
        print(f"{key:<18} {json.dumps(value) if isinstance(value, dict) else value}")
    if records:
        print()
    for task in sorted({record["task"] for record in records}):
        losses = [record["loss"] for record in records if record["task"] == task]
        print(f"{task:<18} {losses[0]:.3f} {sparkline(losses)} {losses[-1]:.3f}")


def _export(arguments: argparse.Namespace) -> None:
    from pipelines.training.exporting import export_checkpoint

    made = export_checkpoint(arguments.checkpoint, arguments.folder, arguments.weights)
    print(
        f"{arguments.folder} is an export of step {made.metadata['step']} of "
        f"{made.metadata['run']}: use it with `--set checkpoint={arguments.folder}`, or copy it "
        "into a store with `nuwa artifacts put`."
    )


def sparkline(values: Sequence[float]) -> str:
    """A curve as one line of text, each column the mean of its share of the values."""
    columns = min(_COLUMNS, len(values))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    means = [_mean(values[a:b]) or 0.0 for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _mean(values: Any) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
