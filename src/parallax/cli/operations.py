"""`parallax operations`: how the desk and its exchange are doing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from parallax.cli import say
from parallax.cli.output import Row, print_table, table_of, text, to_json
from parallax.cli.remote import AsJson, Url, running_desk
from parallax.domain.plurals import count

if TYPE_CHECKING:
    from parallax.client.values import Status


def operations(*, url: Url = None, as_json: AsJson = False) -> int:
    """Show how the desk and its exchange are doing: health, clock, pause, calls, duties."""
    with running_desk(url) as desk:
        status = desk.status()
    if as_json:
        say(to_json(asdict(status)))
    elif sys.stdout.isatty():
        _for_people(status)
    else:
        for name, value in _figures(status):
            say(f"{name}\t{text(value)}")
    return 0


def _figures(status: Status) -> Iterable[tuple[str, object]]:
    yield "exchange", f"{status.venue} (the bundled sandbox)" if status.sandbox else status.venue
    yield "health", status.health
    if status.words:
        yield "why", status.words
    yield "clock", f"{status.clock_offset.total_seconds():+.3f} s from this desk's to the exchange's"
    yield (
        "new orders",
        "paused: " + status.paused if status.paused else "stopping" if status.stopping else "taken",
    )
    yield "journal", status.journal_failed or count(status.position, "fact")
    yield "open orders", status.open_orders
    yield "open incidents", status.open_incidents
    yield "started", status.started_at


def _for_people(status: Status) -> None:
    figures: list[Row] = [{"": name, " ": value} for name, value in _figures(status)]
    table = table_of(figures, ("", " "))
    table.show_header = False
    print_table(table)
    duties = [asdict(duty) for duty in status.duties]
    print_table(table_of(duties, ("name", "state", "since", "restarts", "last_error"), "Duties"))
    if status.calls:
        calls = [asdict(each) for each in status.calls]
        print_table(table_of(calls, ("purpose", "made", "saved", "failed"), "Calls to the exchange"))
