"""How facts are written, and the rows that are written with them: many in a statement.

Users, incidents and the pause have their rows in the commit of their fact. Quotes and orders come later: see
`following`.
"""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Final

from parallax.domain.entities import Incident, Pause
from parallax.domain.state import Change
from parallax.journal import rows
from parallax.journal.judging import DoesNotFollow
from parallax.ports.codec import chained, digest
from parallax.ports.journal import ANSWERS_KEPT_FOR, MAX_ANSWERS, Recorded, Remembered

_CHUNKS: Final = (2_048, 512, 64, 16, 8, 4, 2, 1)
"""Rows per statement. Few and fixed, so that every statement is prepared once; many rows in one, because each
statement lets another thread take the interpreter, which a busy loop gives back late."""

_MAX_VALUES: Final = 32_766
"""Values in one statement at most: SQLite's own bound."""

PURGE: Final = 100
"""Answers that are old that go with each new one: at most so many, so that no commit is long."""


def put(
    db: sqlite3.Connection, changes: Sequence[Change], records: Sequence[bytes], position: int, head: bytes
) -> list[Recorded]:
    """Chain facts and insert them, with the rows that go with them. Raises `DoesNotFollow`."""
    recorded: list[Recorded] = []
    facts: list[rows.Row] = []
    for change, record in zip(changes, records, strict=True):
        position += 1
        head = chained(head, digest(record))
        recorded.append(Recorded(position, head, change))
        facts.append(rows.fact_row(position, change, record, head))
        if change.order is None:
            _put_with(db, change)
    insert(db, "facts", rows.FACT_COLUMNS, facts)
    return recorded


def _put_with(db: sqlite3.Connection, change: Change) -> None:
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


def _put_incident(db: sqlite3.Connection, incident: Incident) -> None:
    row = rows.incident_row(incident)
    if incident.resolved_at is None:
        try:
            insert(db, "incidents", (*rows.INCIDENT_COLUMNS, "seal"), [(*row, rows.seal(row))])
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
        insert(db, "pause", ("id", *rows.PAUSE_COLUMNS, "seal"), [(1, *row, rows.seal(row))])


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


def insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], values: Sequence[rows.Row]) -> None:
    """Insert any number of rows."""
    for part in parts(values):
        db.execute(_inserting(table, columns, len(part)), flat(part))


def move(
    db: sqlite3.Connection, statement: Callable[[int], str], values: Sequence[rows.Row], what: str
) -> None:
    """Update rows that must be in one of the states they are expected in."""
    for part in parts(values):
        try:
            changed = db.execute(statement(len(part)), flat(part)).rowcount
        except sqlite3.IntegrityError as error:
            raise DoesNotFollow(str(error)) from None
        if changed != len(part):
            ids = ", ".join(row[0] for row in part[:3])
            raise DoesNotFollow(f"{what} among {ids} is not in a state that may be followed so")


def parts(values: Sequence[rows.Row]) -> Sequence[Sequence[rows.Row]]:
    """Rows in parts of as many as statements are prepared for."""
    if len(values) <= 2:  # as a lone order has it
        return [values] if values else []
    found: list[Sequence[rows.Row]] = []
    begin, width = 0, len(values[0])
    for size in _CHUNKS:
        if size * width > _MAX_VALUES:
            continue
        while len(values) - begin >= size:
            found.append(values[begin : begin + size])
            begin += size
    return found


def flat(part: Sequence[rows.Row]) -> Sequence[object]:
    """The values of rows, one after the other."""
    return part[0] if len(part) == 1 else tuple(chain.from_iterable(part))


def marks(width: int, height: int) -> str:
    """The places for rows of values in a statement."""
    return ", ".join([f"({', '.join('?' * width)})"] * height)


@cache
def _inserting(table: str, columns: tuple[str, ...], height: int) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks(len(columns), height)}"


@cache
def moving(table: str, columns: tuple[str, ...], height: int, more: str) -> str:
    """An update from a list of values: id, the states before, then `columns`, and one for `more` if given."""
    last = len(columns) + 2
    settings = [f"{column} = v.column{number}" for number, column in enumerate(columns, 3)]
    if more:
        settings.append(more.format(f"v.column{last + 1}"))
    return (
        f"UPDATE {table} SET {', '.join(settings)} FROM (VALUES {marks(last + bool(more), height)}) AS v"
        f" WHERE {table}.id = v.column1 AND instr(v.column2, ',' || {table}.state || ',')"
    )
