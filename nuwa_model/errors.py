"""Every error this package raises on purpose.

* NuwaError
  - ConfigError          a setting is missing, misspelled or contradicts another
    - UnknownNameError   a name was looked up in a registry that does not have it
    - RangeError         a number of a section of settings means nothing
  - GridError            tokens or pixels do not have the shape the grid promises
  - PixelsError          pixels are not numbers in the range that a tokenizer reads
  - WeightsError         a file of weights is not what its config promises
"""

import math
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
        super().__init__(
            f"No {kind} is called {name!r}.{hint} Known: {', '.join(known) or 'none'}."
        )


class RangeError(ConfigError):
    """A number of a section of settings means nothing.

    Args:
        section: The settings; a dataclass.
        name: Of the field.
        expected: What may be there, such as ``at least 1``.
    """

    def __init__(self, section: object, name: str, expected: str) -> None:
        self.section, self.name, self.expected = type(section), name, expected
        self.value = getattr(section, name)
        super().__init__(f"{name} ({self.value}) must be {expected}.")


def refuse_outside(section: object, **ranges: tuple[float, float]) -> None:
    """Refuse numbers that mean nothing.

    Args:
        section: Settings; a dataclass.
        ranges: Least and largest value of a field, both allowed but for infinity.

    Raises:
        RangeError: A field is not a number in its range; the message names both.
    """
    for name, (least, most) in ranges.items():
        value = getattr(section, name)
        if not (least <= value <= most and math.isfinite(value)):  # also where it is no number
            allowed = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
            is_endless = value == math.inf and most == math.inf
            raise RangeError(section, name, f"finite, and {allowed}" if is_endless else allowed)


class GridError(NuwaError, ValueError):
    """Tokens or pixels do not have the shape the grid promises."""


class PixelsError(NuwaError, ValueError):
    """Pixels are not numbers in the range that a tokenizer reads."""


class WeightsError(NuwaError, ValueError):
    """A file of weights is not what its config promises."""
