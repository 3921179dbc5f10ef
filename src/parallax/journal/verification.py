"""Whether a journal is what was written: its pages, its chain from the first fact, its tables against the facts."""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Final

from parallax.domain.errors import DeskError, IllegalTransition, JournalFailed
from parallax.domain.facts import Fact
from parallax.domain.identity import OrderId
from parallax.domain.plurals import count
from parallax.domain.state import State, fold
from parallax.journal import rows
from parallax.journal.failures import failures_of, in_a_line, kind_of
from parallax.journal.rows import Damaged
from parallax.journal.store import Store
from parallax.ports.codec import chained, decode, digest
from parallax.ports.journal import GENESIS

SOUND: Final = 0
"""Exit status: done, and nothing is wrong."""

DAMAGED: Final = 1
"""Exit status: the journal was read, and is not what was written."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position and its hash, noted down earlier somewhere else: a journal that still has both was not cut short
    or rewritten up to there."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found. `facts` is the last position that is sound, `head` its hash; `problem` the first
    break and what it means, `position` where it is, when it is a fact."""

    path: Path
    facts: int
    head: bytes
    problem: str = ""
    position: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    @property
    def words(self) -> str:
        """The finding in one line."""
        if self.ok:
            return f"{self.path}: {count(self.facts, 'fact')}, chain and tables sound; head {self.head.hex()}"
        return f"{self.path}: {self.problem}; sound up to fact {self.facts}. Restore a backup."

    @property
    def exit_status(self) -> int:
        """What a command that was asked for it ends with."""
        return SOUND if self.ok else DAMAGED


def verify(path: Path, anchor: Anchor | None = None) -> Verification:
    """Check everything: SQLite's pages and keys, the chain from the first fact, each step against the transition
    tables, and that the tables are what the facts fold into. Facts are streamed; the entities are held in memory,
    about 2 KB for each order. Stops at the first break."""
    chain = _Chain(anchor)
    try:
        with closing(Store.open(path, create=False, check=False)) as store, failures_of(store.path):
            try:
                _verify(store, chain)
            except sqlite3.DatabaseError as error:
                chain.problem = f"its pages are damaged ({error})"
            except Damaged as error:
                chain.problem = str(error)
            except rows.UNREADABLE as error:
                chain.problem = f"what it holds cannot be read ({type(error).__name__}: {error})"
    except JournalFailed as failed:
        if isinstance(failed.__cause__, Damaged | UnicodeError) or _is_damage(failed.__cause__):
            return Verification(path, 0, GENESIS, str(failed.__cause__))
        raise
    return Verification(path, chain.position, chain.head, chain.problem, chain.broken_at)


class _Chain:
    """How far a verification has come: the last sound fact, and what is known of the state after it."""

    def __init__(self, anchor: Anchor | None) -> None:
        self.anchor = anchor
        self.position = 0
        self.head = GENESIS
        self.problem = ""
        self.broken_at: int | None = None
        self.state = State()
        self.not_before: dict[OrderId, datetime | None] = {}
        self.facts: dict[OrderId, int] = {}

    def follow(self, row: rows.Row) -> None:
        """Take the next fact. Raises `Damaged`, with what its break means."""
        expected = self.position + 1
        self.broken_at = expected
        position, record, link = row[0], row[-2], row[-1]
        if position != expected:
            raise Damaged(f"fact {expected} is missing: facts were removed, or a page was lost")
        if chained(self.head, digest(record)) != link:
            raise Damaged(
                f"fact {expected} does not carry the hash of what is before it: it, or its hash, was changed"
            )
        fact = self._read(expected, record)
        try:
            change = fold(self.state, fact)
        except (IllegalTransition, DeskError) as error:
            raise Damaged(f"fact {expected} cannot follow what is before it ({error})") from None
        if rows.fact_row(position, change, record, link) != row:
            raise Damaged(f"the columns of fact {expected} are not those of its record")
        self.state.put(change)
        if change.order is not None:
            self.facts[change.order.id] = self.facts.get(change.order.id, 0) + 1
            self.not_before[change.order.id] = rows.not_before_of(fact)
        if self.anchor is not None and self.anchor.position == position and self.anchor.hash != link:
            raise Damaged(f"fact {position} has another hash than the one noted down: history was rewritten")
        self.position, self.head, self.broken_at = position, link, None

    @staticmethod
    def _read(position: int, record: bytes) -> Fact:
        try:
            return decode(record)
        except ValueError as error:
            raise Damaged(f"fact {position} cannot be read ({error})") from None

    def end(self) -> None:
        """All facts are read. Raises `Damaged` when the anchor lies beyond them."""
        if self.anchor is not None and self.anchor.position > self.position:
            raise Damaged(f"fact {self.anchor.position} was noted down and is not there: the end was lost")


def _verify(store: Store, chain: _Chain) -> None:
    db = store.db
    (word,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    page_problem = "" if word == "ok" else f"SQLite finds its pages or keys damaged ({in_a_line(word)})"
    # The chain is followed all the same: how far the facts are sound is what a restore is measured by.
    for row in db.execute(f"SELECT {', '.join(rows.FACT_COLUMNS)} FROM facts ORDER BY position"):
        chain.follow(row)
    chain.end()
    store.catch_up()
    _compare(db, chain)
    if page_problem:
        raise Damaged(page_problem)


def _compare(db: sqlite3.Connection, chain: _Chain) -> None:
    """The tables must hold exactly what the facts fold into, in the order in which it became known."""
    state = chain.state
    _same(db, "users", rows.USER_COLUMNS, (rows.user_row(user) for user in state.users.values()))
    _same(db, "quotes", rows.QUOTE_COLUMNS, (rows.quote_row(quote) for quote in state.quotes.values()))
    _same(
        db,
        "orders",
        rows.ORDER_COLUMNS,
        (rows.order_row(order, chain.not_before[order.id]) for order in state.orders.values()),
    )
    _same(
        db,
        "incidents",
        rows.INCIDENT_COLUMNS,
        (rows.incident_row(incident) for incident in state.incidents.values()),
    )
    _same(
        db,
        "pause",
        rows.PAUSE_COLUMNS,
        (rows.pause_row(pause) for pause in (state.pause,) if pause is not None),
    )
    _same_positions(db)
    for order_id, facts in db.execute("SELECT id, facts FROM orders"):
        if chain.facts[order_id] != facts:
            raise Damaged(
                f"the row of order {order_id} counts {count(facts, 'fact')}, not {chain.facts[order_id]}"
            )
    for row in db.execute(f"SELECT {', '.join(rows.ANSWER_COLUMNS)}, seal FROM answers"):
        rows.opened(row, "the answer to")


def _same(db: sqlite3.Connection, table: str, columns: Sequence[str], expected: Iterator[rows.Row]) -> None:
    key = "id" if table == "pause" else "number"
    found = db.execute(f"SELECT {', '.join(columns)}, seal FROM {table} ORDER BY {key}")
    for row, wanted in zip_longest(found, expected):
        if row is None:
            raise Damaged(f"{wanted[0]!r} is in the facts, but not in the table of {table}")
        if wanted is None:
            raise Damaged(f"{row[0]!r} is in the table of {table}, but not in the facts")
        if row != (*wanted, rows.seal(wanted)):
            raise Damaged(f"the row of {wanted[0]!r} in the table of {table} is not what the facts say")


def _same_positions(db: sqlite3.Connection) -> None:
    """The positions of orders' facts must be those of the facts, whose columns are checked by now."""
    same = "facts.position = order_facts.position AND facts.order_id = order_facts.order_id"
    of_orders = "facts.order_id IS NOT NULL AND facts.kind <> 'IncidentRaised'"
    for sql in (
        f"SELECT position FROM order_facts WHERE NOT EXISTS (SELECT 1 FROM facts WHERE {same} AND {of_orders})",
        f"SELECT position FROM facts WHERE {of_orders} AND NOT EXISTS (SELECT 1 FROM order_facts WHERE {same})",
    ):
        row = db.execute(sql).fetchone()
        if row is not None:
            raise Damaged(f"fact {row[0]} and the table of order_facts differ about the order that it is of")


def _is_damage(cause: BaseException | None) -> bool:
    """Whether a journal could not be opened because of what it holds, not because of who holds it."""
    return cause is not None and kind_of(cause) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
