"""What `parallax journal verify | export | backup | stats` do with a journal that no desk has in use.

Each takes the journal's lock while it works and raises `JournalFailed`, in words, when a desk has it. They return
plain data; printing is the commands' business. Nothing here changes what a journal says; where a desk was killed, its
tables catch up with its facts.
"""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from parallax.domain.plurals import count
from parallax.journal import copies, rows, schema
from parallax.journal.failures import failures_of
from parallax.journal.files import Files
from parallax.journal.rows import Damaged
from parallax.journal.store import Store
from parallax.journal.verification import DAMAGED, SOUND, Anchor, Verification, verify
from parallax.ports.codec import chained, decode, digest
from parallax.ports.journal import GENESIS

__all__ = [
    "DAMAGED",
    "SOUND",
    "UNUSABLE",
    "Anchor",
    "Copy",
    "Stats",
    "Verification",
    "backup",
    "export",
    "stats",
    "verify",
]

UNUSABLE: Final = 2
"""Exit status: it could not be read at all (absent, in use, of another format); for a `JournalFailed`."""

EXPORT_LINES: Final = 1_000
"""Facts read from the file at a time during an export."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup that was made and verified, with the position of its last fact."""

    path: Path
    facts: int

    @property
    def words(self) -> str:
        """What was done, in one line."""
        return f"{self.path}: {count(self.facts, 'fact')} copied and verified"


@dataclass(frozen=True, slots=True)
class Stats:
    """A journal in figures. Sizes in bytes; `log_bytes` is what the write-ahead log still held."""

    path: Path
    format: int
    size: int
    log_bytes: int
    facts: int
    head: bytes
    first_at: datetime | None
    last_at: datetime | None
    facts_by_kind: Mapping[str, int]
    orders_by_state: Mapping[str, int]
    quotes_by_state: Mapping[str, int]
    users: int
    incidents: int
    open_incidents: int
    answers: int
    paused_since: datetime | None

    @property
    def words(self) -> str:
        """The figures in one line."""
        orders = sum(self.orders_by_state.values())
        return (
            f"{self.path}: {count(self.facts, 'fact')}, {count(orders, 'order')}, {count(self.users, 'user')}, "
            f"{count(self.open_incidents, 'open incident')}, {count(self.size, 'byte')}"
        )


def export(path: Path) -> Iterator[bytes]:
    """Every fact as one line of JSON, oldest first, without the line's end:
    `{"position":…,"hash":"…","at":"…","kind":"…","fields":{…}}`, where `["kind",fields]` is the record's exact
    bytes. Stops with `JournalFailed` at a fact that is not what was written."""
    with closing(Store.open(path, create=False)) as store, failures_of(store.path):
        position, head = 0, GENESIS
        while True:
            found = store.db.execute(
                "SELECT position, at, kind, record, hash FROM facts WHERE position > ? ORDER BY position LIMIT ?",
                (position, EXPORT_LINES),
            ).fetchall()
            for number, at, kind, record, link in found:
                position, head = position + 1, chained(head, digest(record))
                if number != position or link != head:
                    raise Damaged(f"fact {position} is not what was written")
                fact = decode(record)
                if (type(fact).__name__, rows.ticks(fact.at)) != (kind, at):
                    raise Damaged(f"the columns of fact {position} are not those of its record")
                moment = msgspec.json.encode(rows.moment(at)).decode()
                fields = record[len(kind) + 4 : -1]
                yield (
                    f'{{"position":{position},"hash":"{link.hex()}","at":{moment},"kind":"{kind}","fields":'.encode()
                    + fields
                    + b"}"
                )
            if len(found) < EXPORT_LINES:
                return


def backup(path: Path, target: Path) -> Copy:
    """Copy a journal to a new file and verify the copy. Never overwrites. For one that is open in a program,
    see `Journal.backup`."""
    with closing(Store.open(path, create=False)) as store:
        copies.copy(store, target.absolute(), between=lambda: None)
    return Copy(target, copies.finish(target.absolute()))


def stats(path: Path) -> Stats:
    """Figures of a journal."""
    log = Files(path).log
    log_bytes = log.stat().st_size if log.exists() else 0
    with closing(Store.open(path, create=False)) as store, failures_of(store.path):
        db = store.db

        def number(sql: str) -> int:
            return db.execute(sql).fetchone()[0] or 0

        def counted(table: str, column: str) -> dict[str, int]:
            return dict(db.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY 1 ORDER BY 1"))

        def moment(sql: str) -> datetime | None:
            row = db.execute(sql).fetchone()
            return rows.moment(row[0]) if row else None

        return Stats(
            path=path,
            format=schema.version(db),
            size=path.stat().st_size,
            log_bytes=log_bytes,
            facts=store.position,
            head=store.head,
            first_at=moment("SELECT at FROM facts ORDER BY position LIMIT 1"),
            last_at=moment("SELECT at FROM facts ORDER BY position DESC LIMIT 1"),
            facts_by_kind=counted("facts", "kind"),
            orders_by_state=counted("orders", "state"),
            quotes_by_state=counted("quotes", "state"),
            users=number("SELECT count(*) FROM users"),
            incidents=number("SELECT count(*) FROM incidents"),
            open_incidents=number("SELECT count(*) FROM incidents WHERE resolved_at IS NULL"),
            answers=number("SELECT count(*) FROM answers"),
            paused_since=moment("SELECT since FROM pause"),
        )
