"""A journal's file, without threads or a loop: open it alone, check it, commit groups of batches.

`SqliteJournal` drives one of these on its writer thread; the maintenance commands open one for themselves.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote as url_quote

from msgspec import Struct

from parallax.domain.errors import JournalFailed, QuoteTaken
from parallax.domain.facts import Fact, OrderFact
from parallax.domain.state import Change
from parallax.domain.transitions import ORDER_STEPS
from parallax.journal import schema, writing
from parallax.journal.failures import (
    FAILURES,
    described,
    failures_of,
    in_use,
    kind_of,
    log_missing,
    read_only,
)
from parallax.journal.files import Files
from parallax.journal.following import Tables
from parallax.journal.rows import Damaged
from parallax.ports.codec import chained, decode, digest, encode
from parallax.ports.journal import GENESIS, Recorded, Remembered

T = TypeVar("T")

OLDEST_SQLITE: Final = (3, 37, 0)
"""The first SQLite with STRICT tables; without them a damaged value could change its type in silence."""

CHECKPOINT_PAGES: Final = 4_000
"""Pages (4 KiB) that the write-ahead log collects before they are moved into the file: a commit touches some pages
again and again, so fewer moves are fewer writes; 16 MB is read back in well under a second after a crash."""

FRAME: Final = 4_096 + 24
"""Bytes that a page takes in the write-ahead log."""

CACHE_KIB: Final = 65_536
"""Memory for pages: the leaves of the keys that orders are looked up by, for about a million orders."""

STATEMENTS: Final = 256
"""Prepared statements kept: more than there are, every number of rows counted."""

TAIL: Final = 1_000
"""Facts at the end of the chain that are checked at every start; `parallax journal verify` checks all."""

THOROUGH_BYTES: Final = 32 * 2**20
"""Up to this size (some 50,000 facts) a start checks every page and key of the file, in under half a second. Beyond
it, a start checks what it reads: every order's row is looked at, and all that is live is read under its seal."""

_TRUNCATE: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Moves the log into the file and empties it."""

UNFOLLOWED: Final = 1_000
"""Facts about anything but quotes and orders after which it is noted down all the same how far the tables are: the next
start reads the facts from there."""


class Batch(Struct, frozen=True):
    """What is written together, all or none: changes with their records, or an answer to remember."""

    changes: Sequence[Change]
    records: Sequence[bytes]
    answer: Remembered | None = None

    @classmethod
    def of(cls, changes: Sequence[Change]) -> Batch:
        """Changes in their written form. Raises `ValueError` for a fact that has none."""
        return cls(changes, [encode(change.fact) for change in changes])


class Store:
    """An open journal file. Every method raises `JournalFailed`; only the thread that opened it may use it."""

    def __init__(self, files: Files, db: sqlite3.Connection) -> None:
        self.path = files.path
        self.files = files
        self.db = db
        self.position = 0
        self.head = GENESIS
        self.commits = 0
        self._tables = Tables(db)
        self._holds = False
        self._sound = True

    @classmethod
    def open(cls, path: Path, *, create: bool = True, check: bool = True) -> Store:
        """Take a journal into use, alone. With `create` it is made or brought up to date when it must be.

        With `check` (what a desk does) its pages, its keys and the tail of its chain are looked at first, and its
        tables catch up with its facts.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise JournalFailed(f"The journal needs SQLite {oldest}; this is {sqlite3.sqlite_version}.")
        path = path.absolute()
        with failures_of(path):
            if not create and not path.exists():
                raise JournalFailed(f"There is no journal {path}.")
            files = Files(path)
            _prepare(files)
            files.lock()
            try:
                db = _connected(files)
            except BaseException:
                files.unlock()
                raise
        store = cls(files, db)
        try:
            with failures_of(path):
                store._take(create=create)
                store._find_head()
                if check:
                    store._check()
        except BaseException:
            store.close()
            raise
        return store

    def lay_out_log(self) -> None:
        """Give the write-ahead log the size that it grows to before it is written over from its beginning: a commit
        that makes its file longer waits for the file system's own bookkeeping too.

        What is in it stays, and zeros behind it are no frames of it. A full disk has no room for this, nor need it.
        """
        with suppress(OSError), self.files.log.open("r+b", buffering=0) as log:
            size = log.seek(0, os.SEEK_END)
            missing = bytes(max(0, CHECKPOINT_PAGES * FRAME - size))
            if log.write(missing) < len(missing):
                log.truncate(size)
            os.fsync(log.fileno())

    def close(self) -> None:
        """Let the tables follow, move the log into the file and let go of it; a file that was taken away is left as a
        killed desk leaves it."""
        mine, self._holds = self._holds, False
        with suppress(sqlite3.Error, JournalFailed):
            self.db.set_progress_handler(None, 0)
            if mine and self._sound:
                self.follow_all()
        if mine and self.files.mergeable:
            for statement in (_TRUNCATE, "DELETE FROM log_in_use", _TRUNCATE):
                with suppress(sqlite3.Error):
                    self.db.execute(statement)
        elif mine:
            self.db.interrupt()  # so that SQLite does not move the log by itself
        with suppress(sqlite3.Error):
            self.db.close()
        self.files.unlock()

    def _take(self, *, create: bool) -> None:
        """Get the lock, which is also the guard against a second desk, before anything is read or changed."""
        db = self.db
        # Before the first access, so that no shared-memory file is ever made and the lock is kept for good.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA mmap_size = 0")
        log_was_there = self.files.log.exists()
        try:
            number = schema.version(db)  # first of all: a file of something else is left as it is
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if kind_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise in_use(self.path) from None
            raise
        if mode != "wal":
            raise JournalFailed(f"The journal {self.path} cannot keep a write-ahead log where it is.")
        if not log_was_there and _needs_log(db):
            raise log_missing(self.path, self.files.log)
        self._holds = True
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute("PRAGMA temp_store = MEMORY")
        if number < schema.current():
            if not create:
                raise JournalFailed(
                    f"The journal {self.path} has format {number}; start the desk on it once to bring it to "
                    f"format {schema.current()}."
                )
            schema.migrate(db)
        if not schema.intact(db, schema.current()):
            raise Damaged("its tables, keys or triggers are not the ones that were made")
        self._use_log()

    def _use_log(self) -> None:
        """Note in the file itself, and not only in the log, that the log belongs to it from now on."""
        if self.db.execute("INSERT INTO log_in_use VALUES (1) ON CONFLICT DO NOTHING").rowcount:
            self.db.execute("PRAGMA wal_checkpoint(FULL)")
        self.files.note()

    def _find_head(self) -> None:
        row = self.db.execute("SELECT position, hash FROM facts ORDER BY position DESC LIMIT 1").fetchone()
        if row is not None:
            self.position, self.head = row

    def _check(self) -> None:
        db = self.db
        pages, size = db.execute("SELECT * FROM pragma_page_count, pragma_page_size").fetchone()
        if pages * size <= THOROUGH_BYTES:
            (word,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if word != "ok":
                raise Damaged(word)
        self._check_tail()
        self.catch_up()
        self._check_last()

    def _check_tail(self) -> None:
        """The last facts are chained."""
        before: bytes | None = None
        expected = max(1, self.position - TAIL)
        for position, record, link in self.db.execute(
            "SELECT position, record, hash FROM facts WHERE position >= ? ORDER BY position", (expected,)
        ):
            if position != expected:
                raise Damaged(f"fact {expected} is missing")
            before = GENESIS if position == 1 else before
            if before is not None and chained(before, digest(record)) != link:
                raise Damaged(f"fact {position} is not what was written")
            before, expected = link, expected + 1

    def _check_last(self) -> None:
        """The tables are where the last fact left them."""
        row = self.db.execute("SELECT record FROM facts WHERE position = ?", (self.position,)).fetchone()
        fact = None if row is None else _decoded(self.position, row[0])
        if isinstance(fact, OrderFact):
            row = self.db.execute("SELECT state FROM orders WHERE id = ?", (fact.order_id,)).fetchone()
            after = {state.value for (_, kind), state in ORDER_STEPS.items() if kind is type(fact)}
            if row is None or row[0] not in after:
                raise Damaged(f"order {fact.order_id} is not where fact {self.position} left it")

    # Writing

    def commit(self, batches: Sequence[Batch]) -> list[Sequence[Recorded] | QuoteTaken]:
        """Write batches in one transaction, each all or none; an outcome for each, in their order.

        The tables of quotes and orders do not show them before `follow`. When this raises, nothing of it was
        confirmed, and the store must take no more.
        """
        outcomes, recorded = self._whole(lambda: self._write(batches))
        self.check_files()
        if recorded:
            self.position, self.head = recorded[-1].position, recorded[-1].hash
            self._tables.note(recorded)
        self.commits += 1
        return outcomes

    def check_files(self) -> None:
        """See that what is written is where the next start looks for it. When this raises, the store must take no
        more."""
        try:
            self.files.check()
        except JournalFailed:
            self._sound = False
            raise

    def _write(
        self, batches: Sequence[Batch]
    ) -> tuple[list[Sequence[Recorded] | QuoteTaken], Sequence[Recorded]]:
        """What becomes of each batch, and all that is written."""
        late = self._tables.judge([batch.changes for batch in batches])
        if len(batches) == 1 and late[0] is None and batches[0].answer is None:  # as a lone order has it
            recorded = self._put(batches[0].changes, batches[0].records)
            return [recorded], recorded
        changes: list[Change] = []
        records: list[bytes] = []
        for batch, taken in zip(batches, late, strict=True):
            if batch.answer is not None:
                writing.remember(self.db, batch.answer)
            if taken is None:
                changes += batch.changes
                records += batch.records
        recorded = self._put(changes, records)
        outcomes: list[Sequence[Recorded] | QuoteTaken] = []
        begin = 0
        for batch, taken in zip(batches, late, strict=True):
            if taken is not None:
                outcomes.append(taken)
                continue
            end = begin + len(batch.changes)
            outcomes.append(recorded[begin:end])
            begin = end
        return outcomes, recorded

    def _put(self, changes: Sequence[Change], records: Sequence[bytes]) -> Sequence[Recorded]:
        return writing.put(self.db, changes, records, self.position, self.head)

    @property
    def behind(self) -> int:
        """Facts that the tables of quotes and orders do not show yet, and the next start would have to read."""
        tables = self._tables
        return tables.behind or max(0, self.position - tables.position - UNFOLLOWED)

    def follow(self) -> None:
        """Let the tables of quotes and orders show more of what is recorded, as far as a few milliseconds take them;
        `behind` tells whether there is more. When this raises, the store must take no more."""
        if not self.behind:
            return
        self._tables.followed(self._whole(lambda: self._tables.follow(self.position)))

    def follow_all(self) -> None:
        """Let the tables of quotes and orders show all that is recorded."""
        while self.behind:
            self.follow()

    @contextmanager
    def showing(self) -> Generator[None]:
        """While this lasts, the tables show all that is recorded, also when nothing more may be written: without
        writing it down, then."""
        if not self.behind:
            yield
            return
        with failures_of(self.path):
            self.db.execute("BEGIN")
            try:
                self._tables.follow(self.position, most=sys.maxsize)
                yield
            finally:
                self._roll_back()

    def catch_up(self) -> None:
        """Let the tables follow the facts that a desk which was killed had not come to."""
        self._tables.catch_up(self.position)
        self.follow_all()

    def _whole(self, work: Callable[[], T]) -> T:
        """Do something in one transaction; when it raises, none of it is done, and nothing more may be."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            result = work()
            self.db.execute("COMMIT")
        except BaseException as error:
            self._sound = False
            self._roll_back()
            if isinstance(error, FAILURES):
                raise described(error, self.path) from error
            raise
        return result

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")


def _prepare(files: Files) -> None:
    """Make an empty file that only its owner may read: it will hold customers' names. Leave an existing one."""
    path = files.real
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise JournalFailed(f"{path} is not a file, so it cannot be a journal.") from None
        if not os.access(path, os.R_OK | os.W_OK):  # SQLite would open it, and stumble over the lock
            raise read_only(path) from None
        log = files.log
        if path.stat().st_size == 0 and log.exists() and log.stat().st_size > 0:
            raise Damaged("it is empty, but its write-ahead log is not") from None
    except FileNotFoundError:
        raise JournalFailed(f"The journal {path} cannot be created: there is no {path.parent}.") from None
    else:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _connected(files: Files) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{url_quote(str(files.real))}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        cached_statements=STATEMENTS,
    )


def _needs_log(db: sqlite3.Connection) -> bool:
    """Whether the file was left by a desk that was killed: part of it is then in its log."""
    known = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'log_in_use'").fetchone()[0]
    return bool(known) and db.execute("SELECT count(*) FROM log_in_use").fetchone()[0] > 0


def _decoded(position: int, record: bytes) -> Fact:
    try:
        return decode(record)
    except ValueError as error:
        raise Damaged(f"fact {position} cannot be read: {error}") from None
