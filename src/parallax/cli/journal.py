"""`parallax journal verify | export | backup | stats`: what is done to a journal that no desk has in use.

Status 0: done. 1: the journal was read and is not what was written (`verify`). 2: it could not be done, and why.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from parallax.cli import COMMANDS, fail, say

if TYPE_CHECKING:
    from parallax.journal.maintenance import Anchor, Stats

app = App(name="journal", help=COMMANDS["journal"][1])

HASH_BYTES: Final = 32

JournalPath = Annotated[
    Path | None, Parameter(help="The journal's file; without it, that of the settings (PARALLAX_JOURNAL).")
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document.", negative="")]


@app.command
def verify(
    *,
    journal: JournalPath = None,
    anchor: Annotated[
        str | None,
        Parameter(help="POSITION:HASH, noted down earlier elsewhere: the journal must still have both."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check pages, keys, hashes and facts, and the tables against the facts. Status 1 when something is wrong."""
    from parallax.journal import maintenance

    with _journal(journal) as path:
        found = maintenance.verify(path, _anchor(anchor))
    if as_json:
        _print_json({"ok": found.ok, **asdict(found)})
    elif found.ok:
        say(found.words)
    else:
        raise fail(found.words, found.exit_status)
    return found.exit_status


@app.command
def export(
    *,
    journal: JournalPath = None,
    output: Annotated[Path | None, Parameter(help="A new file; without it, standard output.")] = None,
) -> int:
    """Write every fact as one line of JSON, oldest first."""
    from parallax.journal import maintenance

    with _journal(journal) as path:
        _write(maintenance.export(path), output)
    return 0


@app.command
def backup(target: Annotated[Path, Parameter(help="A new file.")], /, *, journal: JournalPath = None) -> int:
    """Copy a journal and verify the copy. Never overwrites."""
    from parallax.journal import maintenance

    with _journal(journal) as path:
        say(maintenance.backup(path, target).words)
    return 0


@app.command
def stats(*, journal: JournalPath = None, as_json: AsJson = False) -> int:
    """Show a journal in figures."""
    from parallax.journal import maintenance

    with _journal(journal) as path:
        figures = maintenance.stats(path)
    if as_json:
        _print_json(asdict(figures))
    else:
        _print_table(figures)
    return 0


@contextmanager
def _journal(path: Path | None) -> Generator[Path]:
    """The journal that is meant; what is wrong with it, or with the settings that name it, ends the command."""
    from parallax.domain.errors import JournalFailed
    from parallax.settings import SettingsInvalid, load

    try:
        yield path or load().journal
    except (SettingsInvalid, JournalFailed) as error:
        raise fail(str(error)) from None


def _anchor(text: str | None) -> Anchor | None:
    from parallax.journal.maintenance import Anchor

    if text is None:
        return None
    position, _, digest = text.partition(":")
    try:
        anchor = Anchor(int(position), bytes.fromhex(digest))
    except ValueError:
        anchor = None
    if anchor is None or anchor.position < 1 or len(anchor.hash) != HASH_BYTES:
        raise fail(f"--anchor {text[:80]} is not POSITION:HASH, as `parallax journal stats` shows them")
    return anchor


def _write(lines: Iterable[bytes], output: Path | None) -> None:
    try:
        if output is None:
            _write_lines(lines, sys.stdout.fileno(), close=False)
        else:
            _write_lines(lines, os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), close=True)
    except BrokenPipeError:
        pass  # whoever read has seen enough
    except OSError as error:
        raise fail(f"{output or 'standard output'} cannot be written: {error.strerror}") from None


def _write_lines(lines: Iterable[bytes], file: int, *, close: bool) -> None:
    with os.fdopen(file, "wb", closefd=close) as target:
        target.writelines(line + b"\n" for line in lines)


def _print_json(document: dict[str, object]) -> None:
    say(json.dumps(document, default=_plain))


def _plain(value: object) -> str:
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return str(value)


def _print_table(figures: Stats) -> None:
    from rich.console import Console
    from rich.text import Text

    rows = list(_figures(figures))
    width = max(len(name) for name, _ in rows)
    console = Console(highlight=False)
    for name, value in rows:
        # Never broken or cut: an anchor is there to be copied.
        console.print(Text.assemble((f"{name:<{width}}", "dim"), "  ", value), soft_wrap=True)


def _figures(figures: Stats) -> Iterable[tuple[str, str]]:
    yield "journal", str(figures.path)
    yield "format", str(figures.format)
    yield "size", f"{figures.size:,} bytes, {figures.log_bytes:,} in the log"
    yield "facts", f"{figures.facts:,}"
    yield "anchor", f"{figures.facts}:{figures.head.hex()}"
    if figures.first_at and figures.last_at:
        yield "from", _plain(figures.first_at)
        yield "to", _plain(figures.last_at)
    yield "users", f"{figures.users:,}"
    yield "quotes", _counted(figures.quotes_by_state)
    yield "orders", _counted(figures.orders_by_state)
    yield "incidents", f"{figures.incidents:,}, {figures.open_incidents:,} open"
    yield "answers kept", f"{figures.answers:,}"
    if figures.paused_since:
        yield "paused since", _plain(figures.paused_since)
    for kind, count in sorted(figures.facts_by_kind.items()):
        yield f"  {kind}", f"{count:,}"


def _counted(by_state: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count:,} {state}" for state, count in by_state.items())
    return f"{sum(by_state.values()):,}" + (f" ({parts})" if parts else "")
