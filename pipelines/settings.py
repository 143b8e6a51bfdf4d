"""The one loader of a run's settings (D6): preset < run file < ``--set key=value``.

Importing this module loads neither torch nor Ray.
"""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from nuwa_model.errors import ConfigError, NuwaError, UnknownNameError
from pipelines.config import RunConfig
from pipelines.presets import RUN_PRESETS


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
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--run", type=RunConfig, default=RUN_PRESETS[preset])
    files = [] if run is None else ["--run", run]
    try:
        parsed = parser.parse_args([*files, *(f"--run.{item}" for item in overrides)])
        config: RunConfig = parser.instantiate(parsed).run
    except NuwaError:
        raise
    except (ArgumentError, ValueError, TypeError, KeyError, OSError) as error:
        where = run or "--set"
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    return config
