"""How commands read their words: ``argparse``, with refusals of one line."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, Protocol


class Parser(argparse.ArgumentParser):
    """Refuses in one line where ``argparse`` prints the whole usage before it.

    Its commands are parsers of this kind too, and each refuses the words that it does not know
    itself, so that the line names the command.
    """

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, as ``argparse`` does."""
        self.exit(2, f"error: {self.prog}: {message}; see {self.prog} --help.\n")

    def parse_known_args(  # type: ignore[override]  # argparse has four overloads of it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read words; none is left over."""
        read, unknown = super().parse_known_args(args, namespace)
        if unknown:
            closest = get_close_matches(unknown[0], self._option_string_actions, n=1)
            hint = f" (did you mean {closest[0]}?)" if closest else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return read, unknown


class Subparsers(Protocol):
    """What ``add_subparsers`` returns, which has no public name."""

    def add_parser(self, name: str, **words: Any) -> argparse.ArgumentParser:
        """Add a command."""
