"""What commands show: a table on a terminal, tab-separated lines in a pipe, or one JSON object a line.

JSON has the API's names. Nothing is cut off or broken over lines: ids are there to be copied.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parallax.cli import say

if TYPE_CHECKING:
    from rich.table import Table

    from parallax.client.values import Event, Order, Quote

Row = Mapping[str, object]

WIDE: Final = 400
"""Columns that a table may take: wider than any; a narrow terminal wraps its lines and loses nothing."""

STYLES: Final = {
    "active": "green",
    "completed": "green",
    "well": "green",
    "running": "green",
    "pending": "cyan",
    "sent": "cyan",
    "claimed": "cyan",
    "unknown": "bold yellow",
    "slow": "yellow",
    "limited": "yellow",
    "waiting": "yellow",
    "failed": "red",
    "refused": "red",
    "refusing": "red",
    "down": "red",
    "contradicted": "bold red",
}


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """Print rows: all they have as JSON, their `columns` otherwise. `nothing` is said to people when there is none."""
    if as_json:
        for row in rows:
            say(to_json(row))
    elif not sys.stdout.isatty():
        for row in rows:
            say("\t".join(text(row.get(column)) for column in columns))
    elif rows:
        print_table(table_of(rows, columns))
    else:
        say(nothing)


def table_of(rows: Sequence[Row], columns: Sequence[str], title: str | None = None) -> Table:
    """Rows as a table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    for row in rows:
        cells = [text(row.get(column)) for column in columns]
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in cells))
    return table


def print_table(table: Table) -> None:
    """Print a table as wide as it is."""
    from rich.console import Console

    Console(width=WIDE).print(table)


def to_json(row: Row) -> str:
    """One line of JSON."""
    return json.dumps(row, default=plain, ensure_ascii=False)


def text(value: object) -> str:
    """A value as people read it, on one line."""
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return " ".join(str(value).split())


def plain(value: object) -> object:
    """What JSON has no form for: instants with Z, durations in seconds, records as objects."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case _ if is_dataclass(value):
            return {each.name: getattr(value, each.name) for each in fields(value)}
        case _:
            return str(value)


def quote_row(quote: Quote) -> Row:
    """A quote with the API's names."""
    return {
        "id": quote.id,
        "rate": quote.rate.wire,
        "from_currency": quote.rate.from_currency.code.lower(),
        "to_currency": quote.rate.to_currency.code.lower(),
        "status": str(quote.status),
        "created_at": quote.created_at,
        "expires_at": quote.expires_at,
        "order_id": quote.order_id,
    }


def quote_cells(quote: Quote) -> Row:
    """A quote with what people read in a table besides."""
    return {**quote_row(quote), "pair": quote.rate.pair}


def order_row(order: Order) -> Row:
    """An order with the API's names."""
    return {
        "id": order.id,
        "state": str(order.state),
        "quote_id": order.quote_id,
        "user_id": order.user_id,
        "from_amount": order.amount.wire,
        "from_currency": order.amount.currency.code.lower(),
        "to_amount": order.result.wire if order.result else None,
        "to_currency": order.result.currency.code.lower() if order.result else None,
        "rate": order.rate.wire if order.rate else None,
        "venue_order_id": order.venue_order_id,
        "by": order.by,
        "reasons": list(order.reasons),
        "created_at": order.created_at,
        "sent_at": order.sent_at,
        "settled_at": order.settled_at,
        "contradicted": order.contradicted,
    }


def order_cells(order: Order) -> Row:
    """An order with what people read in a table besides."""
    doubt = "contradicted" if order.contradicted else None
    return {**order_row(order), "sold": order.amount, "bought": order.result, "contradicted": doubt}


def event_row(event: Event) -> Row:
    """A fact with its place and name."""
    return {"position": event.position, "kind": event.kind, **event.data}


def event_line(event: Event) -> str:
    """A fact as one line for people: when, what, and what it is about."""
    data: Mapping[str, Any] = event.data
    about = [
        f"{name.removesuffix('_id')} {data[name]}"
        for name in ("order_id", "quote_id", "user_id")
        if data.get(name)
    ]
    more = [
        str(data[name])
        for name in ("words", "cause", "reason", "error", "evidence", "name", "version")
        if data.get(name)
    ]
    return text(
        "  ".join((str(data.get("at", ""))[:19].replace("T", " "), f"{event.kind:<17}", *about, *more))
    )


def show_quotes(quotes: Sequence[Quote], *, as_json: bool, nothing: str = "") -> None:
    """Print quotes."""
    shown = quote_row if as_json else quote_cells
    show([shown(each) for each in quotes], QUOTE_COLUMNS, as_json=as_json, nothing=nothing)


def show_orders(orders: Sequence[Order], *, as_json: bool, nothing: str = "") -> None:
    """Print orders."""
    shown = order_row if as_json else order_cells
    show([shown(each) for each in orders], ORDER_COLUMNS, as_json=as_json, nothing=nothing)


QUOTE_COLUMNS: Final = ("id", "pair", "rate", "status", "expires_at", "order_id")
ORDER_COLUMNS: Final = (
    "id",
    "state",
    "sold",
    "bought",
    "rate",
    "created_at",
    "user_id",
    "quote_id",
    "contradicted",
)
