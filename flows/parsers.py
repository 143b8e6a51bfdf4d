"""How commands read their words: ``argparse``, with refusals of one line."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, Protocol

from nuwa_model.errors import UnknownNameError


class Parser(argparse.ArgumentParser):
    """Refuses in one line where ``argparse`` prints the whole usage before it.

    Its commands are parsers of this kind too, and each refuses the words that it does not know
    itself, so that the line names the command.
    """

    def __init__(self, **words: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **words})
        self._suspects: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, as ``argparse`` does."""
        self._end(f"{message}{self._hint()}; see {self.prog} --help.")

    def parse_known_args(  # type: ignore[override]  # argparse has four overloads of it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read words; none is left over."""
        # A required option is said to be missing where it is misspelled.
        words = sys.argv[1:] if args is None else args
        self._suspects = [word for word in words if word.startswith("-")]
        read, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._suspects = unknown
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return read, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Guess the command that was meant; ``argparse`` calls this for other choices too."""
        is_command = isinstance(action, argparse._SubParsersAction)
        if is_command and action.choices is not None and value not in action.choices:
            kind = str(action.metavar or "command").lower()
            self._end(str(UnknownNameError(kind, value, action.choices)))
        super()._check_value(action, value)

    def _hint(self) -> str:
        """The option that was meant by the first word that looks like another one."""
        for word in self._suspects:
            name, _, _ = word.partition("=")
            meant = self._meant(name)
            if meant:
                return f" (did you mean {meant}, not {name}?)"
        return ""

    def _meant(self, word: str) -> str:
        options = [option for action in self._actions for option in action.option_strings]
        name = word.lstrip("-")
        if word in options or not name:
            return ""
        if f"--{name}" in options:
            return f"--{name}"
        if not word.startswith("-"):
            return ""  # a value, not an option
        names = [option.removeprefix("--") for option in options if option.startswith("--")]
        begun = [option for option in names if option.startswith(name)]
        closest = begun or get_close_matches(name, names, n=1)
        return f"--{closest[0]}" if closest else ""

    def _end(self, refusal: str) -> NoReturn:
        line = f"error: {self.prog}: {refusal}"
        self.exit(2, "\\n".join(line.splitlines()) + "\n")


class Subparsers(Protocol):
    """What ``add_subparsers`` returns, which has no public name."""

    def add_parser(self, name: str, **words: Any) -> argparse.ArgumentParser:
        """Add a command."""
