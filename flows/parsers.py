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
        self._words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, as ``argparse`` does."""
        self._end(f"{message}{self._hint()}; see {self.prog} --help.")

    def parse_known_args(  # type: ignore[override]  # argparse has four overloads of it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read words; none is left over."""
        self._words = sys.argv[1:] if args is None else args
        read, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return read, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Guess the command that was meant; ``argparse`` calls this for every word."""
        if action.choices is None or action.option_strings or value in action.choices:
            super()._check_value(action, value)
        else:
            kind = str(action.metavar).lower()
            self._end(str(UnknownNameError(kind, value, map(str, action.choices))))

    def _hint(self) -> str:
        """The option that the first unknown one may have been meant to be.

        It may stand before a refusal that says nothing of it: a required option is missing where
        it is misspelled.
        """
        options = [word for action in self._actions for word in action.option_strings]
        by_name = {option.lstrip("-"): option for option in options}
        for word in self._words:
            name, _, _ = word.partition("=")
            if name.startswith("--") and name not in options:
                closest = get_close_matches(name.lstrip("-"), by_name, n=1)
                return f" (is {name} {by_name[closest[0]]}?)" if closest else ""
        return ""

    def _end(self, refusal: str) -> NoReturn:
        line = f"error: {self.prog}: {refusal}"
        self.exit(2, "\\n".join(line.splitlines()) + "\n")


class Subparsers(Protocol):
    """What ``add_subparsers`` returns, which has no public name."""

    def add_parser(self, name: str, **words: Any) -> argparse.ArgumentParser:
        """Add a command."""
