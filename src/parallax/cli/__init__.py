"""The command line: one module a command. Nothing heavy is imported before a command runs.

Every command ends with one of the statuses below, and says in one line on standard error what a person can mend.
"""

from __future__ import annotations

import os
import sys
from typing import Final

EXIT_NO: Final = 1
"""The exit status when the desk or the exchange said no, or what was checked does not verify."""

EXIT_DAMAGED: Final = EXIT_NO
"""The exit status of `parallax journal verify` for a journal that is not what was written."""

EXIT_USAGE: Final = 2
"""The exit status for what the person who typed can mend: a setting, an argument, a taken port, a file in use."""

EXIT_UNREACHABLE: Final = 3
"""The exit status when no desk answers at the address."""

EXIT_FATE_OPEN: Final = 4
"""The exit status when it is not known yet what came of an order: it may have been placed, and must not be again."""

EXIT_INTERRUPTED: Final = 130
"""The exit status when Ctrl+C came before there was anything to stop in good order."""

COMMANDS: Final = {
    "serve": ("parallax.cli.serve:serve", "Serve the desk: its pages, its API, its live news."),
    "sandbox": ("parallax.cli.sandbox:sandbox", "Serve the bundled exchange, with faults on request."),
    "users": ("parallax.cli.users:users", "List users."),
    "quotes": ("parallax.cli.quotes:quotes", "List quotes."),
    "quote": ("parallax.cli.quotes:quote", "Ask for a quote, or show one."),
    "orders": ("parallax.cli.order:orders", "List orders."),
    "order": (
        "parallax.cli.order:order",
        "Turn a quote into an order, or look at one; --wait until it settles.",
    ),
    "watch": ("parallax.cli.watch:watch", "Watch quotes and orders live."),
    "operations": ("parallax.cli.operations:operations", "Show how the desk and its exchange are doing."),
    "incidents": (
        "parallax.cli.incidents:app",
        "List contradictions that a person must look at, or resolve one.",
    ),
    "console": ("parallax.cli.console:console", "Open an interactive Python with a connected desk."),
    "journal": ("parallax.cli.journal:app", "Verify, export, back up or measure a journal."),
    "receipt": ("parallax.cli.receipt:app", "Verify an order's receipt, offline."),
    "completion": (
        "parallax.cli.completion:completion",
        "Print what a shell needs to complete these commands.",
    ),
}
"""Name → where it is, loaded when it runs, and what it is for."""


class CannotWrite(Exception):
    """Standard output takes no more: its disk is full, for one. What the command did is done."""


def main() -> None:
    """The entry point of `parallax`."""
    arguments = sys.argv[1:]
    _have_streams()
    try:
        # Answered before the parser is loaded, which takes longer than everything else here.
        if arguments in ([], ["--help"], ["-h"]):
            say(overview())
        elif arguments in (["--version"], ["-V"]):
            say(version())
        else:
            from parallax.cli.app import run

            raise SystemExit(run(arguments))
    except BrokenPipeError:
        # Whoever read has seen enough (`| head`).
        _speak_to_nobody()
    except CannotWrite as error:
        _speak_to_nobody()
        raise fail(str(error)) from None
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
            *(f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()),
            "",
            "parallax COMMAND --help explains a command, parallax --version names this version.",
            "Settings come from the environment and dev.local.env: see dev.local.env.example.",
            f"Exit status: 0 done, {EXIT_NO} the desk or the exchange said no, {EXIT_USAGE} something to mend,",
            f"{EXIT_UNREACHABLE} no desk answers, {EXIT_FATE_OPEN} an order's fate is open. See docs/commands.md.",
        )
    )


def version() -> str:
    """What `parallax --version` says."""
    from parallax import __version__

    return f"parallax {__version__}"


def say(words: str) -> None:
    """A line for the person at the terminal, at once. Raises `BrokenPipeError` when nobody reads, `CannotWrite`."""
    try:
        print(words, flush=True)  # noqa: T201 - this is the command line
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotWrite(f"what was asked for cannot be written: {error.strerror}") from None


def _have_streams() -> None:
    """A command that was started without somewhere to write to (`>&-`) does what it does, and says it to nobody. A
    letter that the encoding lacks is replaced."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - until the end, and quick
    # Not where it was replaced by something else; standard error needs no help.
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="replace")


def _speak_to_nobody() -> None:
    """Have what is still buffered not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(words: str, status: int = EXIT_USAGE) -> SystemExit:
    """An exit with one clear line on standard error. Raise it."""
    print(f"parallax: {' '.join(words.split())}", file=sys.stderr)  # noqa: T201 - this is the command line
    return SystemExit(status)
