"""Every error this package raises on purpose.

* NuwaError
  - ConfigError          a setting is missing, misspelled or contradicts another
    - UnknownNameError   a name was looked up in a registry that does not have it
  - GridError            tokens or pixels do not have the shape the grid promises
  - WeightsError         a file of weights is not what its config promises
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NuwaError(Exception):
    """Base of all deliberate errors: catch this to catch them all."""


class ConfigError(NuwaError, ValueError):
    """A setting is missing, misspelled or contradicts another."""


class UnknownNameError(ConfigError):
    """A name was looked up in a registry that does not have it."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        closest = get_close_matches(name, known, n=1)
        hint = f" Did you mean {closest[0]!r}?" if closest else ""
        super().__init__(f"No {kind} is called {name!r}.{hint} Known: {', '.join(known)}.")


class GridError(NuwaError, ValueError):
    """Tokens or pixels do not have the shape the grid promises."""


class WeightsError(NuwaError, ValueError):
    """A file of weights is not what its config promises."""
