"""The command line: one module a command. Nothing heavy is imported before a command runs.

Every command ends with one of the statuses below, and says in one line on standard error what a person can mend.
"""

from __future__ import annotations

import sys
from typing import Final

EXIT_DAMAGED: Final = 1
"""The exit status of `parallax journal verify` for a journal that is not what was written."""

EXIT_USAGE: Final = 2
"""The exit status for what the person who typed can mend: a setting, an argument, a taken port, a file in use."""

EXIT_INTERRUPTED: Final = 130
"""The exit status when Ctrl+C came before there was anything to stop in good order."""

COMMANDS: Final = {
    "serve": ("parallax.cli.serve:serve", "Serve the desk: its pages, its API, its live news."),
    "sandbox": ("parallax.cli.sandbox:sandbox", "Serve the bundled exchange, with faults on request."),
    "journal": ("parallax.cli.journal:app", "Verify, export, back up or measure a journal."),
}
"""Name → where it is, loaded when it runs, and what it is for."""


def main() -> None:
    """The entry point of `parallax`."""
    arguments = sys.argv[1:]
    # Answered before the parser is loaded, which takes longer than everything else here.
    if arguments in ([], ["--help"], ["-h"]):
        say(overview())
    elif arguments in (["--version"], ["-V"]):
        say(version())
    else:
        from parallax.cli.app import run

        try:
            raise SystemExit(run(arguments))
        except KeyboardInterrupt:
            raise SystemExit(EXIT_INTERRUPTED) from None


def overview() -> str:
    """What `parallax --help` says."""
    return "\n".join(
        (
            "Parallax: a quote-to-order desk for currency exchange. One quote, at most one order.",
            "",
            "Usage: parallax COMMAND [OPTIONS]",
            "",
            *(f"  {name:<9} {summary}" for name, (_, summary) in COMMANDS.items()),
            "",
            "parallax COMMAND --help explains a command, parallax --version names this version.",
            "Settings come from the environment and dev.local.env: see dev.local.env.example.",
            f"Exit status: 0 done, {EXIT_DAMAGED} a journal is damaged, {EXIT_USAGE} something to mend (see stderr).",
        )
    )


def version() -> str:
    """What `parallax --version` says."""
    from parallax import __version__

    return f"parallax {__version__}"


def say(words: str) -> None:
    """A line for the person at the terminal, at once."""
    print(words, flush=True)  # noqa: T201 - this is the command line


def fail(words: str, status: int = EXIT_USAGE) -> SystemExit:
    """An exit with one clear line on standard error. Raise it."""
    print(f"parallax: {' '.join(words.split())}", file=sys.stderr)  # noqa: T201 - this is the command line
    return SystemExit(status)
