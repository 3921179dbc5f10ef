"""How facts, and the entities that they move, are written: many rows in a statement, each step checked by the file.

An entity is written once for all the facts of a group that touch it, as the last of them left it; that the first of
them may follow the state that the row is in is part of the statement.
"""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

from msgspec import Struct

from parallax.domain.entities import Incident, Order, Pause, Quote
from parallax.domain.facts import Fact, OrderAccepted, OrderClaimed, OrderFound
from parallax.domain.identity import QuoteId
from parallax.domain.state import Change
from parallax.domain.transitions import ORDER_STEPS, QUOTE_STEPS
from parallax.journal import rows
from parallax.ports.codec import chained, digest
from parallax.ports.journal import ANSWERS_KEPT_FOR, MAX_ANSWERS, Recorded, Remembered

_CHUNKS: Final = (2_048, 512, 64, 16, 8, 4, 2, 1)
"""Rows per statement. Few and fixed, so that every statement is prepared once; many rows in one, because each
statement lets another thread take the interpreter, which a busy loop gives back late."""

_MAX_VALUES: Final = 32_766
"""Values in one statement at most: SQLite's own bound."""

PURGE: Final = 100
"""Answers that are old that go with each new one: at most so many, so that no commit is long."""


class ClaimedTwice(Exception):
    """Two claims on one quote within a group: it has to be written fact by fact."""


class DoesNotFollow(Exception):
    """A row is not in a state that the fact may follow."""


class Taken(Exception):
    """The key that holds one order to a quote was broken."""

    def __init__(self, quote_id: QuoteId) -> None:
        super().__init__(quote_id)
        self.quote_id = quote_id


def _befores(steps: Iterable[tuple[Any, type[Any]]]) -> dict[type[Any], str | None]:
    """For each fact the states that it may follow, as `,a,b,`; None for one that begins an entity."""
    found: dict[type[Any], str | None] = {}
    for before, fact in steps:
        found[fact] = None if before is None else f"{found.get(fact) or ','}{before.value},"
    return found


_ORDER_COLUMNS: Final = (*rows.ORDER_COLUMNS, "seal", "facts")
_ORDER_BEFORES: Final = _befores(ORDER_STEPS)
_QUOTE_BEFORES: Final = _befores(QUOTE_STEPS)


class _Touched(Struct):
    """What a group of facts makes of one entity: the states it may have had before, and what it is after."""

    befores: str | None
    entity: Any
    fact: Fact
    facts: int = 0
    found: bool = False
    """Whether one of the facts gave the order its id at the venue."""


class _Group(Struct):
    """Every entity that a group of facts touches, once."""

    orders: dict[str, _Touched]
    quotes: dict[str, _Touched]
    claimed: set[QuoteId]


def rows_begun(changes: Sequence[Change]) -> list[rows.Row]:
    """The rows of the quotes that begin by these changes, in their order.

    Made apart from the rest, where the facts are encoded: a list brings thousands, and the writer has no time for them.
    """
    begun: list[Quote] = []
    for change in changes:
        begun += change.listed
        if (quote := change.quote) is not None and _QUOTE_BEFORES[type(change.fact)] is None:
            begun.append(quote)
    return [(*row, rows.seal(row)) for row in rows.quote_rows(begun)] if begun else []


def begin_quotes(db: sqlite3.Connection, begun: Sequence[rows.Row]) -> None:
    """Insert quotes that begin, before the facts that begin them and whatever those behind make of them: that is an
    update then, like any other. Raises `DoesNotFollow` when one is there already."""
    try:
        _insert(db, "quotes", (*rows.QUOTE_COLUMNS, "seal"), begun)
    except sqlite3.IntegrityError as error:
        raise DoesNotFollow(str(error)) from None


def put(
    db: sqlite3.Connection, changes: Sequence[Change], records: Sequence[bytes], position: int, head: bytes
) -> list[Recorded]:
    """Chain facts, insert them, and bring every entity they touch to where the last of them left it.

    Raises `Taken` or `ClaimedTwice` when claims meet, and `DoesNotFollow` when a step is not one of the tables'.
    """
    group = _Group({}, {}, set())
    recorded: list[Recorded] = []
    facts: list[rows.Row] = []
    for change, record in zip(changes, records, strict=True):
        position += 1
        head = chained(head, digest(record))
        recorded.append(Recorded(position, head, change))
        facts.append(rows.fact_row(position, change, record, head))
        _gather(db, group, change)
    _insert(db, "facts", rows.FACT_COLUMNS, facts)
    _put_orders(db, group.orders)
    _move_quotes(db, group.quotes)
    return recorded


def _gather(db: sqlite3.Connection, group: _Group, change: Change) -> None:
    fact = change.fact
    if change.order is not None:
        _gather_order(group, change.order, fact)
    if (quote := change.quote) is not None:
        befores = _QUOTE_BEFORES[type(fact)]
        if befores is None:
            pass  # see `begin_quotes`
        elif (known := group.quotes.get(quote.id)) is None:
            group.quotes[quote.id] = _Touched(befores, quote, fact)
        else:
            known.entity = quote
    if change.user is not None:
        row = rows.user_row(change.user)
        db.execute(
            "INSERT INTO users (id, name, email, seal) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, email = excluded.email, seal = excluded.seal",
            (*row, rows.seal(row)),
        )
    if change.incident is not None:
        _put_incident(db, change.incident)
    if change.paused is not None:
        _put_pause(db, change.paused)


def _gather_order(group: _Group, order: Order, fact: Fact) -> None:
    if isinstance(fact, OrderClaimed):
        if fact.quote_id in group.claimed:
            raise ClaimedTwice
        group.claimed.add(fact.quote_id)
    known = group.orders.get(order.id)
    if known is None:
        known = group.orders[order.id] = _Touched(_ORDER_BEFORES[type(fact)], order, fact)
    known.entity, known.fact = order, fact
    known.facts += 1
    known.found = known.found or isinstance(fact, OrderAccepted | OrderFound)


def _put_orders(db: sqlite3.Connection, touched: dict[str, _Touched]) -> None:
    begun: list[rows.Row] = []
    moved: dict[_Keys, list[rows.Row]] = {}
    for one in touched.values():
        row = rows.order_row(one.entity, rows.not_before_of(one.fact))
        if one.befores is None:
            begun.append((*row, rows.seal(row), one.facts))
        else:
            keys = (one.found, one.entity.state in rows.LETS_GO)
            _, chosen = _order_settings(keys)
            moved.setdefault(keys, []).append((row[0], one.befores, *chosen(row), rows.seal(row), one.facts))
    try:
        if begun:
            _insert(db, "orders", _ORDER_COLUMNS, begun)
    except sqlite3.IntegrityError as error:
        if "orders.quote_id" not in str(error):
            raise DoesNotFollow(str(error)) from None
        raise Taken(QuoteId(begun[0][1])) from None
    for keys, values in moved.items():
        _move(db, partial(_orders_moved, keys), values, "an order")


def _move_quotes(db: sqlite3.Connection, touched: dict[str, _Touched]) -> None:
    moved: list[rows.Row] = []
    for one in touched.values():
        row = rows.quote_row(one.entity)
        moved.append((row[0], one.befores, *row[rows.QUOTE_FIXED :], rows.seal(row)))
    _move(db, _quotes_moved, moved, "a quote")


def _put_incident(db: sqlite3.Connection, incident: Incident) -> None:
    row = rows.incident_row(incident)
    if incident.resolved_at is None:
        try:
            _insert(db, "incidents", (*rows.INCIDENT_COLUMNS, "seal"), [(*row, rows.seal(row))])
        except sqlite3.IntegrityError as error:
            raise DoesNotFollow(str(error)) from None
        return
    changed = db.execute(
        "UPDATE incidents SET resolved_at = ?, resolved_by = ?, note = ?, seal = ?"
        " WHERE id = ? AND resolved_at IS NULL",
        (*row[-3:], rows.seal(row), incident.id),
    ).rowcount
    if changed != 1:
        raise DoesNotFollow(f"incident {incident.id} is not open")


def _put_pause(db: sqlite3.Connection, paused: Pause | bool) -> None:
    db.execute("DELETE FROM pause")
    if isinstance(paused, Pause):
        row = rows.pause_row(paused)
        _insert(db, "pause", ("id", *rows.PAUSE_COLUMNS, "seal"), [(1, *row, rows.seal(row))])


def remember(db: sqlite3.Connection, answer: Remembered) -> None:
    """Keep an answer, unless one of the last day stands under its key; let some old ones go."""
    row = rows.answer_row(answer)
    old = rows.ticks(answer.at - ANSWERS_KEPT_FOR)
    db.execute("DELETE FROM answers WHERE key = ? AND at <= ?", (answer.key, old))
    db.execute(
        "INSERT INTO answers (key, fingerprint, answer, at, seal) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        (*row, rows.seal(row)),
    )
    db.execute(
        "DELETE FROM answers WHERE number IN (SELECT number FROM answers ORDER BY number LIMIT ?)"
        " AND (at <= ? OR number <= (SELECT max(number) FROM answers) - ?)",
        (PURGE, old, MAX_ANSWERS),
    )


def _insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], values: Sequence[rows.Row]) -> None:
    for size, part in _chunked(values):
        db.execute(
            _inserting(table, columns, size), part[0] if size == 1 else tuple(chain.from_iterable(part))
        )


def _move(
    db: sqlite3.Connection, statement: Callable[[int], str], values: Sequence[rows.Row], what: str
) -> None:
    """Update rows that must be in one of the states they are expected in."""
    for size, part in _chunked(values):
        try:
            changed = db.execute(statement(size), [value for row in part for value in row]).rowcount
        except sqlite3.IntegrityError as error:
            raise DoesNotFollow(str(error)) from None
        if changed != size:
            ids = ", ".join(row[0] for row in part[:3])
            raise DoesNotFollow(f"{what} among {ids} is not in a state that may be followed so")


def _chunked(values: Sequence[rows.Row]) -> Iterator[tuple[int, Sequence[rows.Row]]]:
    if len(values) == 1:  # as a lone order has it
        yield 1, values
        return
    begin, width = 0, len(values[0]) if values else 0
    for size in _CHUNKS:
        if size * width > _MAX_VALUES:
            continue
        while len(values) - begin >= size:
            yield size, values[begin : begin + size]
            begin += size


def _marks(width: int, height: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * height)


@cache
def _inserting(table: str, columns: tuple[str, ...], height: int) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {_marks(len(columns), height)}"


@cache
def _moving(table: str, columns: tuple[str, ...], height: int, more: str) -> str:
    """An update from a list of values: id, the states before, then `columns`, and one for `more` if given. One row
    alone, as a lone order has it, needs no join."""
    value = "?" if height == 1 else "v.column"
    last = len(columns) + 2
    settings = [f"{column} = {value}{number}" for number, column in enumerate(columns, 3)]
    if more:
        settings.append(more.format(f"{value}{last + 1}"))
    source = "" if height == 1 else f"FROM (VALUES {_marks(last + bool(more), height)}) AS v "
    return (
        f"UPDATE {table} SET {', '.join(settings)} {source}"
        f"WHERE {table}.id = {value}1 AND instr({value}2, ',' || {table}.state || ',')"
    )


_Keys: TypeAlias = tuple[bool, bool]
"""Which columns that have keys an update of an order sets: its id at the venue, its hold on the quote. Setting the
others would make SQLite write their keys' pages anew, which is most of what a commit writes."""


@cache
def _order_settings(keys: _Keys) -> tuple[tuple[str, ...], Callable[[rows.Row], rows.Row]]:
    """The columns that an update sets, and how to take them from a row."""
    left = {name for name, kept in zip(("venue_order_id", "holds"), keys, strict=True) if not kept}
    chosen = [at for at, name in enumerate(rows.ORDER_COLUMNS) if at >= rows.ORDER_FIXED and name not in left]
    return tuple(rows.ORDER_COLUMNS[at] for at in chosen), itemgetter(*chosen)


def _orders_moved(keys: _Keys, height: int) -> str:
    columns, _ = _order_settings(keys)
    return _moving("orders", (*columns, "seal"), height, "facts = orders.facts + {}")


def _quotes_moved(height: int) -> str:
    return _moving("quotes", (*rows.QUOTE_COLUMNS[rows.QUOTE_FIXED :], "seal"), height, "")
