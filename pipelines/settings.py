"""The one loader of a run's settings (D6): preset < run file < ``--set key=value``.

Importing this module loads neither torch nor Ray.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from nuwa_model.errors import ConfigError, NuwaError, RangeError, UnknownNameError
from pipelines.config import RunConfig
from pipelines.presets import RUN_PRESETS

_UNKNOWN = re.compile(
    r"unrecognized arguments: --run\.([^\s=]+)|Group 'run' does not accept option '([^']+)'"
)
_KEY = re.compile(r"Parser key \"run(?:\.([^\"]+))?\":")
_TYPE = re.compile(r"a <class '(?:[\w.]+\.)?(\w+)'>|a typing\.Literal\[([^\]]*)\]")


def load_config(
    run: str | None = None, *, preset: str = "tiny", overrides: Sequence[str] = ()
) -> RunConfig:
    """Read a run's settings.

    Args:
        run: A YAML file with any subset of the fields of ``RunConfig``.
        preset: What fills the fields that ``run`` leaves out.
        overrides: Dotted assignments such as ``model.dim=128``; these win.

    Raises:
        ConfigError: A key is misspelled, a value has the wrong type, or two settings contradict.
    """
    if preset not in RUN_PRESETS:
        raise UnknownNameError("preset", preset, RUN_PRESETS)
    if run is not None and not Path(run).is_file():
        raise ConfigError(f"There is no run file {run!r}.")
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--run", type=RunConfig, default=RUN_PRESETS[preset])
    files = [] if run is None else ["--run", run]
    for item in overrides:
        key, equals, _ = item.partition("=")
        if not (key and equals):
            raise ConfigError(
                f"--set: {item!r} sets nothing; expected key=value, such as training.steps=5."
            )
    try:
        parsed = parser.parse_args([*files, *(f"--run.{item}" for item in overrides)])
        config: RunConfig = parser.instantiate(parsed).run
    except RangeError as error:
        raise ConfigError(_explain_range(error, parsed, RUN_PRESETS[preset])) from error
    except NuwaError:
        raise
    except (ArgumentError, ValueError, TypeError, KeyError, OSError) as error:
        where = run or "--set"
        raise ConfigError(f"{where}: {_explain(error, RUN_PRESETS[preset])}") from error
    return config


def _explain(error: Exception, known: RunConfig) -> str:
    """What is wrong in the words of a user, who did not write ``--run`` before each setting."""
    said = " ".join(str(error).split())
    unknown = _UNKNOWN.search(said)
    if unknown is not None:
        name = unknown[1] or unknown[2]
        closest = get_close_matches(name, [name for name, _ in _dotted(known)], n=1)
        hint = f" Did you mean {closest[0]}?" if closest else ""
        return f"there is no setting {name}.{hint}"
    said = _KEY.sub(lambda key: f"{key[1]}:" if key[1] else "", said)
    return _TYPE.sub(lambda type_: type_[1] or type_[2].replace("'", ""), said)


def _explain_range(error: RangeError, parsed: Namespace, known: RunConfig) -> str:
    """The error with the whole name of the setting; several sections may be of its type."""
    names = [
        f"{name}.{error.name}"
        for name, section in _dotted(known)
        if isinstance(section, error.section)
        and _plain(parsed[f"run.{name}.{error.name}"]) == _plain(error.value)
    ]
    return f"{' and '.join(names) or error.name} ({error.value}) must be {error.expected}."


def _plain(value: object) -> str:
    """As text, in which no number differs from itself and lists are written as tuples are."""
    return str(tuple(value) if isinstance(value, list) else value)


def _dotted(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name, sections included."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        yield f"{prefix}{field.name}", value
        if dataclasses.is_dataclass(value):
            yield from _dotted(value, f"{prefix}{field.name}.")
