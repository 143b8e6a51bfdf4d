"""What ``argparse`` gives for a group of commands, which it has no public name for."""

import argparse
from typing import Any, Protocol


class Subparsers(Protocol):
    """What ``add_subparsers`` returns."""

    def add_parser(self, name: str, **words: Any) -> argparse.ArgumentParser:
        """Add a command."""
