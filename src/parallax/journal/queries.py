"""What is read from a journal's file. Each function is one bounded read, and checks what it reads: a row against its
seal, a fact against the chain, an absence against a second key.

They run on the thread that owns the connection and raise `Damaged`, or what SQLite raises; `read` names both.
"""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from parallax.domain.entities import Incident, Order, Quote
from parallax.domain.errors import AmountInvalid
from parallax.domain.facts import OrderFact
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import NO_CURRENCY, parse_amount
from parallax.domain.transitions import SETTLED
from parallax.journal import rows
from parallax.journal.failures import failures_of
from parallax.journal.rows import Damaged
from parallax.journal.store import Store
from parallax.ports.codec import chained, decode, digest
from parallax.ports.journal import (
    ANSWERS_KEPT_FOR,
    GENESIS,
    MAX_PAGE,
    YOUNG,
    OrderPage,
    OrderQuery,
    OrderSort,
    QuotePage,
    Remembered,
    Settling,
    Snapshot,
    SnapshotBounds,
    StoredFact,
)

T = TypeVar("T")

LONGEST_TEXT: Final = 64
"""Characters of a search text that can match anything: the longest id."""

_USERS: Final = ", ".join((*rows.USER_COLUMNS, "seal"))
_QUOTES: Final = ", ".join((*rows.QUOTE_COLUMNS, "seal"))
_ORDERS: Final = ", ".join((*rows.ORDER_COLUMNS, "seal"))
_INCIDENTS: Final = ", ".join((*rows.INCIDENT_COLUMNS, "seal"))
_PAUSES: Final = ", ".join((*rows.PAUSE_COLUMNS, "seal"))
_ANSWERS: Final = ", ".join((*rows.ANSWER_COLUMNS, "seal"))
_UNSETTLED: Final = "state NOT IN (" + ", ".join(sorted(f"'{state}'" for state in SETTLED)) + ")"
_SORTS: Final = {
    OrderSort.NEWEST: "created_at DESC, number DESC",
    OrderSort.OLDEST: "created_at, number",
    OrderSort.LARGEST: "amount_key DESC, created_at DESC, number DESC",
    OrderSort.SMALLEST: "amount_key, created_at, number",
}


class Unaskable(Exception):
    """No column could hold what was looked for: a mistake of whoever asks, which says nothing about the journal."""


def read(store: Store, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do one read. Raises `JournalFailed` in words or `Unaskable`, or lets SQLite's interruption through."""
    with failures_of(store.path):
        try:
            return work(store.db)
        except sqlite3.Error:
            raise
        except UnicodeEncodeError:
            raise Unaskable("a text that is not Unicode cannot be looked for") from None
        except OverflowError as error:
            if "SQLite" not in str(error):
                raise Damaged(f"OverflowError: {error}") from None
            raise Unaskable("a number that is too large cannot be looked for") from None
        except rows.UNREADABLE as error:
            raise (
                error if isinstance(error, Damaged) else Damaged(f"{type(error).__name__}: {error}")
            ) from None


def snapshot(db: sqlite3.Connection, position: int, bounds: SnapshotBounds) -> Snapshot:
    """What is live."""
    orders = _live_orders(db, bounds)
    pause = db.execute(f"SELECT {_PAUSES} FROM pause").fetchone()
    (quotes_ever,) = db.execute("SELECT coalesce(max(number), 0) FROM quotes").fetchone()
    return Snapshot(
        position,
        [rows.user_of(row) for row in db.execute(f"SELECT {_USERS} FROM users ORDER BY number")],
        _live_quotes(db, position, orders, bounds),
        orders,
        _live_incidents(db, bounds),
        None if pause is None else rows.pause_of(pause),
        quotes_ever,
    )


def _live_orders(db: sqlite3.Connection, bounds: SnapshotBounds) -> list[Order]:
    """The newest orders by their key, and every unsettled one by a look at the whole table: no damaged key can
    hide an order that has to be followed."""
    found: dict[int, rows.Row] = {}
    for chosen, bound in (
        (f"NOT INDEXED WHERE {_UNSETTLED} LIMIT ?", -1),
        ("ORDER BY created_at DESC, number DESC LIMIT ?", bounds.orders),
    ):
        for row in db.execute(f"SELECT number, {_ORDERS} FROM orders {chosen}", (bound,)):
            found[row[0]] = row[1:]
    at = rows.ORDER_COLUMNS.index("created_at")
    return [rows.order_of(row) for _, row in sorted(found.items(), key=lambda item: (item[1][at], item[0]))]


def _live_quotes(
    db: sqlite3.Connection, position: int, orders: Sequence[Order], bounds: SnapshotBounds
) -> list[Quote]:
    """The newest quotes, and those of unsettled orders (a claimed quote's order is unsettled)."""
    last = db.execute("SELECT at FROM facts WHERE position = ?", (position,)).fetchone()
    since = rows.ticks(rows.moment(last[0]) - YOUNG) if last else 0
    (young,) = db.execute("SELECT count(*) FROM quotes WHERE created_at >= ?", (since,)).fetchone()
    found: dict[int, rows.Row] = {}
    for row in db.execute(
        f"SELECT number, {_QUOTES} FROM quotes ORDER BY created_at DESC, number DESC LIMIT ?",
        (max(bounds.quotes, min(young, bounds.young_quotes)),),
    ):
        found[row[0]] = row[1:]
    held = json.dumps(list({order.quote_id for order in orders if not order.state.settled}))
    for row in db.execute(
        f"SELECT number, {_QUOTES} FROM quotes WHERE id IN (SELECT value FROM json_each(?))", (held,)
    ):
        found[row[0]] = row[1:]
    at = rows.QUOTE_COLUMNS.index("created_at")
    return [rows.quote_of(row) for _, row in sorted(found.items(), key=lambda item: (item[1][at], item[0]))]


def _live_incidents(db: sqlite3.Connection, bounds: SnapshotBounds) -> list[Incident]:
    found: dict[int, rows.Row] = {}
    for chosen, bound in (
        ("WHERE resolved_at IS NULL LIMIT ?", -1),
        ("ORDER BY number DESC LIMIT ?", bounds.incidents),
    ):
        for row in db.execute(f"SELECT number, {_INCIDENTS} FROM incidents {chosen}", (bound,)):
            found[row[0]] = row[1:]
    return [rows.incident_of(row) for _, row in sorted(found.items())]


# Facts


def facts(db: sqlite3.Connection, after: int, limit: int) -> list[StoredFact]:
    """Facts by position, each checked against the one before it."""
    after = max(0, after)
    found: list[StoredFact] = []
    before = GENESIS
    expected = after or 1
    for position, record, link in db.execute(
        "SELECT position, record, hash FROM facts WHERE position >= ? ORDER BY position LIMIT ?",
        (expected, limit + (1 if after else 0)),
    ):
        if position != expected:
            raise Damaged(f"fact {expected} is missing")
        if position > after:
            found.append(_stored(position, record, before, link))
        before = link
        expected += 1
    return found


def order_facts(db: sqlite3.Connection, order_id: OrderId, after: int) -> list[StoredFact]:
    """A page of the facts that name one order: its own, and incidents."""
    return _chosen(
        db,
        "position IN (SELECT position FROM order_facts WHERE order_id = ? UNION ALL"
        " SELECT position FROM facts WHERE order_id = ? AND kind = 'IncidentRaised')"
        " AND position > ? ORDER BY position LIMIT ?",
        (order_id, order_id, after, MAX_PAGE),
    )


def complete(db: sqlite3.Connection, order_id: OrderId, found: Sequence[StoredFact]) -> None:
    """Compare an order's facts with their number on its row, so that a damaged key cannot hide one in silence."""
    row = db.execute("SELECT facts FROM orders WHERE id = ?", (order_id,)).fetchone()
    if (row[0] if row else 0) != sum(isinstance(stored.fact, OrderFact) for stored in found):
        raise Damaged(f"facts of order {order_id} are missing")


def reads(
    db: sqlite3.Connection, user_id: UserId, since: datetime, until: datetime, limit: int
) -> list[StoredFact]:
    """`OrdersRead` facts of a user by the time at which the read began."""
    return _chosen(
        db,
        "user_id = ? AND began_at BETWEEN ? AND ? ORDER BY began_at, position LIMIT ?",
        (user_id, rows.ticks(since), rows.ticks(until), limit),
    )


def _chosen(db: sqlite3.Connection, where: str, values: Sequence[object]) -> list[StoredFact]:
    found: list[StoredFact] = []
    for position, record, link, before in db.execute(
        "SELECT position, record, hash, (SELECT hash FROM facts AS b WHERE b.position = facts.position - 1)"
        f" FROM facts WHERE {where}",
        values,
    ):
        if before is None and position != 1:
            raise Damaged(f"fact {position - 1} is missing")
        found.append(_stored(position, record, before or GENESIS, link))
    return found


def _stored(position: int, record: bytes, before: bytes, link: bytes) -> StoredFact:
    own = digest(record)
    if chained(before, own) != link:
        raise Damaged(f"fact {position} is not what was written")
    return StoredFact(position, decode(record), own, link)


# Orders and quotes


def order(db: sqlite3.Connection, order_id: OrderId) -> Order | None:
    """One order, by its id here or by the venue's."""
    row = db.execute(f"SELECT {_ORDERS} FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        row = db.execute(
            f"SELECT {_ORDERS} FROM orders WHERE venue_order_id = ? ORDER BY number LIMIT 1", (order_id,)
        ).fetchone()
    if row is None:
        complete(db, order_id, order_facts(db, order_id, 0))
        return None
    return rows.order_of(row)


def orders_at_venue(db: sqlite3.Connection, ids: Sequence[VenueOrderId]) -> list[Order]:
    """The orders that have one of these ids at the venue."""
    return [
        rows.order_of(row)
        for row in db.execute(
            f"SELECT {_ORDERS} FROM orders WHERE venue_order_id IN (SELECT value FROM json_each(?))"
            " ORDER BY number",
            (json.dumps(ids),),
        )
    ]


def orders(db: sqlite3.Connection, query: OrderQuery, offset: int, limit: int) -> OrderPage:
    """A page, and how many there are in all."""
    where, values = _conditions(query)
    (total,) = db.execute(f"SELECT count(*) FROM orders {where}", values).fetchone()
    items = [
        rows.order_of(row)
        for row in db.execute(
            f"SELECT {_ORDERS} FROM orders {where} ORDER BY {_SORTS[query.sort]} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
    ]
    return OrderPage(items, total, next_offset(offset, len(items), total))


def next_offset(offset: int, shown: int, total: int) -> int | None:
    """Where the next part of a list begins; None at its end."""
    return offset + shown if shown and offset + shown < total else None


def amount_in(text: str) -> str | None:
    """The sort key of the amount that a search text names, if it names one."""
    try:
        return rows.amount_key(parse_amount(text, NO_CURRENCY, grouped=True).wire)
    except AmountInvalid:
        return None


def _conditions(query: OrderQuery) -> tuple[str, list[object]]:
    terms: list[str] = []
    values: list[object] = []
    if query.user_id is not None:
        terms.append("user_id = ?")
        values.append(query.user_id)
    if query.states:
        terms.append(f"state IN ({', '.join('?' * len(query.states))})")
        values += sorted(query.states)
    if query.text:
        starts = ("id", "venue_order_id", "quote_id")
        given = query.text if query.text.isascii() and len(query.text) <= LONGEST_TEXT else None
        matches = " OR ".join(f"substr({column}, 1, ?) = ?" for column in starts)
        terms.append(f"({matches} OR amount_key = ?)")
        values += [len(query.text), given] * len(starts)
        values.append(amount_in(query.text))
    return ("WHERE " + " AND ".join(terms) if terms else ""), values


def quote(db: sqlite3.Connection, quote_id: QuoteId) -> Quote | None:
    """One quote."""
    row = db.execute(f"SELECT {_QUOTES} FROM quotes WHERE id = ?", (quote_id,)).fetchone()
    return None if row is None else rows.quote_of(row)


def has_quotes(db: sqlite3.Connection) -> bool:
    """Whether there are any quotes."""
    return db.execute("SELECT 1 FROM quotes LIMIT 1").fetchone() is not None


def known_quotes(db: sqlite3.Connection, ids: Sequence[QuoteId]) -> list[QuoteId]:
    """Those of `ids` that there are, in their order."""
    found = {
        row[0]
        for row in db.execute(
            "SELECT id FROM quotes WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
        )
    }
    return [quote_id for quote_id in ids if quote_id in found]


def incidents(db: sqlite3.Connection, ids: Sequence[IncidentId]) -> list[Incident]:
    """Those of `ids` that have been raised, in any order."""
    chosen = "WHERE id IN (SELECT value FROM json_each(?))"
    return [
        rows.incident_of(row)
        for row in db.execute(f"SELECT {_INCIDENTS} FROM incidents {chosen}", (json.dumps(ids),))
    ]


def quotes(db: sqlite3.Connection, offset: int, limit: int) -> QuotePage:
    """A page of quotes, newest first, and how many there are in all."""
    (total,) = db.execute("SELECT count(*) FROM quotes").fetchone()
    items = [
        rows.quote_of(row)
        for row in db.execute(
            f"SELECT {_QUOTES} FROM quotes ORDER BY created_at DESC, number DESC LIMIT ? OFFSET ?",
            (limit, offset),
        )
    ]
    return QuotePage(items, total, next_offset(offset, len(items), total))


def settle_times(db: sqlite3.Connection, limit: int) -> list[Settling]:
    """From the newest orders by their creation, which needs no key of its own."""
    found = [
        Settling(
            rows.moment(began_at),
            None if not_before is None else rows.moment(not_before),
            rows.moment(settled_at),
        )
        for began_at, not_before, settled_at in db.execute(
            "SELECT coalesce(answered_at, sent_at, created_at), not_before, settled_at FROM orders"
            " WHERE state IN ('completed', 'failed') AND placed_by <> ''"
            " ORDER BY created_at DESC, number DESC LIMIT ?",
            (limit,),
        )
    ]
    return sorted(found, key=lambda settling: settling.settled_at, reverse=True)


def answer(db: sqlite3.Connection, key: str, now: datetime) -> Remembered | None:
    """What is remembered under a key, if it is not too old."""
    row = db.execute(f"SELECT {_ANSWERS} FROM answers WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    found = rows.answer_of(row)
    return found if found.at > now - ANSWERS_KEPT_FOR else None
