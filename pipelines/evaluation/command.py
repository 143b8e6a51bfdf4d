"""The command that makes a run again."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.config import RunConfig, config_tree
from pipelines.presets import RUN_PRESETS


def command_for(config: RunConfig, flow: str) -> str:
    """The shortest ``nuwa run`` of a flow that resolves to exactly these settings."""
    leaves = dict(_leaves(config_tree(config)))
    changes = {name: _changes(leaves, preset) for name, preset in RUN_PRESETS.items()}
    nearest = min(changes, key=lambda name: len(changes[name]))
    words = ["nuwa", "run", flow, "--preset", nearest]
    if changes[nearest]:
        words += ["--set", *changes[nearest]]
    return shlex.join(words)


def _changes(leaves: Mapping[str, Any], preset: RunConfig) -> list[str]:
    plain = dict(_leaves(config_tree(preset)))
    return [f"{key}={_plain(value)}" for key, value in leaves.items() if plain.get(key) != value]


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of all settings; the mixture of tasks is one setting."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and key != "tasks":
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
