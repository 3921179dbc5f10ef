"""The journal's schema as numbered migrations, and how a file is brought up to date."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from importlib.resources import files
from typing import Final

APPLICATION_ID: Final = 0x50524C58
"""Marks an SQLite file as a journal of ours ("PRLX")."""

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")


class Unsuitable(Exception):
    """A file that this program must leave as it is; the words follow the file's name."""


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Number and SQL of every migration, in order, from 1 without gaps."""
    found = sorted(
        (int(match[1]), entry.read_text("utf-8"))
        for entry in files(__name__).iterdir()
        if (match := _NAME.fullmatch(entry.name))
    )
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "migrations are numbered from 1"
    return tuple(found)


def current() -> int:
    """The version of the schema that this program writes."""
    return len(migrations())


def version(db: sqlite3.Connection) -> int:
    """The version of a file's schema; 0 for an empty file. Raises `Unsuitable` for a file of something else."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (number,) = db.execute("PRAGMA user_version").fetchone()
    (things,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == 0 and number == 0 and things == 0:
        return 0
    if application != APPLICATION_ID:
        raise Unsuitable("is an SQLite file, but not a journal")
    if number > current():
        raise Unsuitable(
            f"has format {number}, made by a newer program; this one reads up to format {current()}"
        )
    if number < 1:
        raise Unsuitable("has no format number: its first page is damaged")
    return number


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file up to date: each migration is one transaction, so that a crash leaves a whole number of them."""
    before = version(db)
    for number, sql in migrations()[before:]:
        try:
            db.executescript(
                f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


@cache
def _expected(number: int) -> tuple[tuple[str, str, str], ...]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for _, sql in migrations()[:number]:
            db.executescript(sql)
        return _definitions(db)
    finally:
        db.close()


def _definitions(db: sqlite3.Connection) -> tuple[tuple[str, str, str], ...]:
    return tuple(db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name"))


def intact(db: sqlite3.Connection, number: int) -> bool:
    """Whether the tables, keys and triggers are the ones that the migrations up to `number` make."""
    return _definitions(db) == _expected(number)
