"""The command line: one module a command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from typing import Final

EXIT_USAGE: Final = 2
"""The exit status for what the person who typed can mend: a setting, an argument, a taken port."""


def main() -> None:
    """The entry point of `parallax`."""
    from parallax.cli.app import app

    app()


def fail(words: str, status: int = EXIT_USAGE) -> SystemExit:
    """An exit with one clear line on standard error. Raise it."""
    print(f"parallax: {words}", file=sys.stderr)  # noqa: T201 - this is the command line
    return SystemExit(status)
