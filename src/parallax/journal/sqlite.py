"""The journal on disk: one SQLite file, one connection, one writer thread.

Everything queued while a commit is on its way to the disk shares the next one, so many waiting claims cost one fsync.
Reads run on the same thread between commits, and give way to a claim that comes in meanwhile; so do the tables of
quotes and orders, which follow the facts.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from parallax.domain.entities import Incident, Order, Quote
from parallax.domain.errors import JournalFailed, QuoteTaken
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change
from parallax.journal import copies, queries
from parallax.journal.failures import described, kind_of
from parallax.journal.store import Batch, Store
from parallax.ports.journal import (
    LINGER,
    MAX_PAGE,
    OrderPage,
    OrderQuery,
    QuotePage,
    Recorded,
    Remembered,
    Settling,
    Snapshot,
    SnapshotBounds,
    StoredFact,
)

T = TypeVar("T")

MAX_COMMIT_FACTS: Final = 2_000
"""Facts in one commit at most (about 50 ms of work), so that those behind them do not wait for ever."""

BUSY: Final = 1_000
"""Batches a second from which commits are spaced out. A lone order, which waits for each of its commits, never makes
so many; where many orders run, a commit for each fact would be most of the work."""

SPACING: Final = 0.006
"""Seconds between the beginnings of two commits when busy: what a claim then waits longer, at most."""

RATE_WINDOW: Final = 0.05
"""Seconds over which batches are counted to tell whether it is busy."""

MAX_QUEUED_FACTS: Final = 500_000
"""Facts waiting at most, about 500 MB. So many wait only when the disk hangs; then the journal has failed."""

MAX_QUEUED_READS: Final = 10_000
"""Reads waiting at most; beyond it a read is refused at once."""

MAX_YIELDS: Final = 3
"""How often a read is broken off for a waiting claim and begun again; then it runs to its end."""

YIELD_STEPS: Final = 2_000
"""SQLite's own steps between two looks for a waiting claim during a read: well under a millisecond."""

IDLE: Final = 0.25
"""Seconds without anything to do after which the tables follow the facts."""

FAR_BEHIND: Final = 1_024
"""Facts that the tables are behind from which they follow also when there is always something to do. A first list of
quotes, which comes with everything else that a start has to do, is not that many yet."""

FILES_CHECK: Final = 1.0
"""Seconds between two looks whether the file is still there, besides those of every commit."""

ORPHAN_CHECK: Final = 1.0
"""Seconds between two looks whether the program is still there: a writer left behind must not keep it from ending."""


class _Write(Struct, eq=False):
    batch: Batch
    future: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Read:
    work: Callable[[Store], Any]
    future: asyncio.Future[Any]
    patient: bool = False
    """Whether it lets commits in by itself, as a backup does between its steps."""
    yields: int = 0


class _Bell:
    """Wakes the writer; the loop rings it. A lock and no `Event`, which takes a dozen steps of Python for what the lock
    does in one."""

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        if self._silent.locked():
            self._silent.release()

    def wait(self, seconds: float) -> bool:
        """Whether it has been rung since the last time, or is within some seconds."""
        return self._silent.acquire(timeout=seconds)


class SqliteJournal:
    """A journal in the file `path`. See `parallax.ports.journal.Journal` for what each call promises."""

    def __init__(self, path: Path, *, bounds: SnapshotBounds | None = None) -> None:
        self.path = path.absolute()
        self._bounds = bounds or SnapshotBounds()
        self._writes: deque[_Write] = deque()
        self._reads: deque[_Read] = deque()
        self._queued = 0
        self._rate = 0.0
        self._last_commit = 0.0
        self._last_check = 0.0
        self._bell = _Bell()
        self._lingering = False
        self._far_behind = False
        self._failed: JournalFailed | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._ended: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: Callable[[Sequence[Recorded]], None] = _nobody

    async def open(self, sink: Callable[[Sequence[Recorded]], None]) -> Snapshot:
        """Start the writer and read what is live. Raises `JournalFailed`."""
        assert self._thread is None, "a journal is opened once"
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        opened: asyncio.Future[Snapshot] = self._loop.create_future()
        self._ended = self._loop.create_future()
        # Not a daemon: an interpreter that ends must not cut a commit in two.
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="parallax-journal", daemon=False
        )
        self._thread.start()
        return await opened

    def append(self, changes: Sequence[Change]) -> asyncio.Future[Sequence[Recorded]]:
        """Queue a batch; its facts are put into their written form here, so that what has none is refused."""
        return self._append(changes, self._bell.ring)

    def append_later(self, changes: Sequence[Change]) -> asyncio.Future[Sequence[Recorded]]:
        """Queue a batch for the next commit, whoever it is made for."""
        return self._append(changes, self._ring_later)

    def _ring_later(self) -> None:
        """Wake the writer when what lingers must not any longer; the first of it waits the longest."""
        if not self._lingering:
            self._lingering = True
            asyncio.get_running_loop().call_later(LINGER, self._ring_if_due)

    def _ring_if_due(self) -> None:
        """Wake the writer for what has lingered, unless another commit has taken it along."""
        self._lingering = False
        if self._writes:
            self._bell.ring()

    def _append(
        self, changes: Sequence[Change], ring: Callable[[], object]
    ) -> asyncio.Future[Sequence[Recorded]]:
        future: asyncio.Future[Sequence[Recorded]] = asyncio.get_running_loop().create_future()
        try:
            batch = Batch.of(changes)
        except ValueError as error:
            self._later(future, JournalFailed(f"A fact could not be written down: {error}."))
            return future
        self._queue(_Write(batch, future), ring)
        return future

    @property
    def failed(self) -> JournalFailed | None:
        """Why the journal takes no more, if so."""
        return self._failed

    @property
    def commits(self) -> int:
        """Transactions since the start: with the number of facts, how many shared each."""
        return self._store.commits if self._store else 0

    async def facts(self, after: int, limit: int) -> Sequence[StoredFact]:
        return await self._ask(lambda db: queries.facts(db, after, _page(limit)))

    async def order_facts(self, order_id: OrderId) -> Sequence[StoredFact]:
        found: list[StoredFact] = []
        while True:  # ends: an order's facts are finite and each page begins after the last
            page, last = await self._ask(_order_page(order_id, tuple(found)))
            found += page
            if last:
                return found

    async def reads(
        self, user_id: UserId, since: datetime, until: datetime, limit: int
    ) -> Sequence[StoredFact]:
        return await self._ask(lambda db: queries.reads(db, user_id, since, until, _page(limit)))

    async def order(self, order_id: OrderId) -> Order | None:
        return await self._ask(lambda db: queries.order(db, order_id))

    async def orders_at_venue(self, ids: Sequence[VenueOrderId]) -> Sequence[Order]:
        found: list[Order] = []
        for part in _parts(ids):
            found += await self._ask(lambda db, part=part: queries.orders_at_venue(db, part))
        return found

    async def orders(self, query: OrderQuery, offset: int, limit: int) -> OrderPage:
        return await self._ask(lambda db: queries.orders(db, query, max(0, offset), _page(limit)))

    async def quote(self, quote_id: QuoteId) -> Quote | None:
        return await self._ask(lambda db: queries.quote(db, quote_id))

    async def known_quotes(self, ids: Sequence[QuoteId]) -> Sequence[QuoteId]:
        found: list[QuoteId] = []
        if await self._ask(
            queries.has_quotes
        ):  # at a very first start every quote of a long list is asked for
            for part in _parts(ids):
                found += await self._ask(lambda db, part=part: queries.known_quotes(db, part))
        return found

    async def incidents(self, ids: Sequence[IncidentId]) -> Sequence[Incident]:
        found: list[Incident] = []
        for part in _parts(ids):
            found += await self._ask(lambda db, part=part: queries.incidents(db, part))
        return found

    async def quotes(self, offset: int, limit: int) -> QuotePage:
        return await self._ask(lambda db: queries.quotes(db, max(0, offset), _page(limit)))

    async def settle_times(self, limit: int) -> Sequence[Settling]:
        return await self._ask(lambda db: queries.settle_times(db, _page(limit)))

    async def remember(self, key: str, fingerprint: bytes, answer: bytes, at: datetime) -> None:
        batch = Batch((), (), Remembered(key, fingerprint, answer, at))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue(_Write(batch, future), self._bell.ring)
        await future

    async def recall(self, key: str, now: datetime) -> Remembered | None:
        return await self._ask(lambda db: queries.answer(db, key, now))

    async def backup(self, path: Path) -> int:
        """Copy on the writer thread, with commits between the steps; verify on another thread."""
        await self._on_thread(lambda store: copies.copy(store, path, between=self._commit), patient=True)
        return await asyncio.to_thread(copies.finish, path)

    async def close(self) -> None:
        """Write what is queued, then let go."""
        self._closing = True
        self._bell.ring()
        if self._thread is None or self._ended is None:
            return
        await asyncio.shield(self._ended)
        self._thread.join()

    # The loop's side

    def _queue(self, write: _Write, ring: Callable[[], object]) -> None:
        if (refusal := self._refusal()) is not None:
            self._later(write.future, refusal)
            return
        self._queued += len(write.batch.changes)
        if self._queued > MAX_QUEUED_FACTS:
            self._failed = JournalFailed(
                f"The disk under the journal {self.path} does not answer: {MAX_QUEUED_FACTS} facts wait for it."
            )
        self._writes.append(write)
        ring()

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._on_thread(lambda store: queries.read(store, work))

    def _on_thread(self, work: Callable[[Store], T], *, patient: bool = False) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closing or self._thread is None or not self._thread.is_alive():
            self._later(future, JournalFailed(f"The journal {self.path} is not open."))
        elif len(self._reads) >= MAX_QUEUED_READS:
            self._later(future, JournalFailed(f"Too many reads of the journal {self.path} wait; try again."))
        else:
            self._reads.append(_Read(work, future, patient))
            self._bell.ring()
        return future

    def _refusal(self) -> JournalFailed | None:
        if self._failed is not None:
            return JournalFailed(self._failed.words)
        if self._closing or self._thread is None:
            return JournalFailed(f"The journal {self.path} is not open.")
        return None

    def _later(self, future: asyncio.Future[Any], error: JournalFailed) -> None:
        asyncio.get_running_loop().call_soon(_fail, future, error)

    def _deliver(self, group: list[_Write], outcomes: list[Sequence[Recorded] | QuoteTaken]) -> None:
        """Tell the sink, in order of position, then everybody who waits."""
        records: list[Recorded] = []
        for write, outcome in zip(group, outcomes, strict=True):
            self._queued -= len(write.batch.changes)
            if not isinstance(outcome, QuoteTaken):
                records += outcome
        try:
            if records:
                self._sink(records)
        except Exception as error:
            self._failed = JournalFailed(
                f"What the journal {self.path} recorded could not be taken over ({type(error).__name__}); "
                "start again: memory is rebuilt from the journal."
            )
            for write in group:
                _fail(write.future, JournalFailed(self._failed.words))
            raise
        for write, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, QuoteTaken):
                _fail(write.future, outcome)
            elif not write.future.done():
                write.future.set_result(outcome)

    # The thread's side

    def _run(self, opened: asyncio.Future[Snapshot]) -> None:
        try:
            self._store = store = Store.open(self.path)
            try:
                store.lay_out_log()
                snapshot = queries.read(store, lambda db: queries.snapshot(db, store.position, self._bounds))
            except BaseException:
                store.close()
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, someone waits to be told
            self._failed = described(error, self.path)
            self._call(_fail, opened, self._failed)
            self._end()
            return
        self._call(_resolve, opened, snapshot)
        try:
            self._serve(store)
        finally:
            store.close()
            self._end()

    def _serve(self, store: Store) -> None:
        while True:
            following = store.behind and self._failed is None
            rung = self._bell.wait(IDLE if following else ORPHAN_CHECK)
            # Looked at before the queues are emptied: what was queued before the end is then written.
            ending = self._closing or not (rung or threading.main_thread().is_alive())
            while self._writes or self._reads:
                self._gather()
                self._commit()
                self._read()
                self._keep_up(store)
            self._check_files(store)
            while not rung and store.behind and not (self._failed or self._writes or self._reads):
                self._follow(store)
            if ending:
                return

    def _gather(self) -> None:
        """When batches come fast, let some more come, reading meanwhile."""
        if self._rate < BUSY or not self._writes:
            return
        while (wait := self._last_commit + SPACING - time.monotonic()) > 0 and not self._closing:
            if self._reads:
                self._read()
            else:
                time.sleep(wait)

    def _count(self, batches: int) -> None:
        now = time.monotonic()
        since = max(now - self._last_commit, 1e-6)
        self._rate += (batches / since - self._rate) * min(1.0, since / RATE_WINDOW)
        self._last_commit = now

    def _commit(self) -> None:
        """Write everything that waits, in one transaction, within the bound."""
        group: list[_Write] = []
        facts = 0
        while self._writes and facts < MAX_COMMIT_FACTS:
            write = self._writes.popleft()
            group.append(write)
            facts += len(write.batch.changes)
        if not group:
            return
        self._count(len(group))
        assert self._store is not None
        if self._failed is None:
            try:
                outcomes = self._store.commit([write.batch for write in group])
            except Exception as error:  # noqa: BLE001 - memory and disk may differ now, whatever it was
                self._fail(described(error, self.path))
            else:
                self._call(self._deliver, group, outcomes)
                return
        for write in group:
            self._refuse(write.future)

    def _keep_up(self, store: Store) -> None:
        """When the tables are far behind let them follow, a little after each commit, until they show everything."""
        if self._failed is None and (self._far_behind or store.behind >= FAR_BEHIND):
            self._follow(store)
            self._far_behind = store.behind > 0

    def _check_files(self, store: Store) -> None:
        """Notice also when nothing is written that the file was taken away."""
        now = time.monotonic()
        if self._failed is not None or now - self._last_check < FILES_CHECK:
            return
        self._last_check = now
        try:
            store.check_files()
        except JournalFailed as error:
            self._fail(error)

    def _follow(self, store: Store) -> None:
        """Let the tables show more of what is recorded."""
        try:
            store.follow()
        except Exception as error:  # noqa: BLE001 - the tables cannot be trusted any more, whatever it was
            self._fail(described(error, self.path))

    def _read(self) -> None:
        """Do one read, unless a claim breaks it off, or the tables do not show everything yet: then some of that."""
        store = self._store
        if store is None or not self._reads:
            return
        if store.behind and self._failed is None:
            self._follow(store)
            if store.behind and self._failed is None:
                return
        job = self._reads.popleft()
        if job.future.cancelled():
            return
        try:
            result = job.work(store) if job.patient else self._look(store, job)
        except queries.Unaskable as error:
            self._call(_fail, job.future, JournalFailed(f"The journal cannot be asked that: {error}."))
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            if kind_of(error) == sqlite3.SQLITE_INTERRUPT:
                job.yields += 1
                self._reads.appendleft(job)
                return
            failed = described(error, self.path)
            if not isinstance(error, copies.CopyFailed):
                self._fail(failed)  # a journal that cannot be read cannot be trusted
            self._call(_fail, job.future, JournalFailed(failed.words))
        else:
            self._call(_resolve, job.future, result)

    def _look(self, store: Store, job: _Read) -> Any:
        with store.showing():
            if job.yields < MAX_YIELDS:
                store.db.set_progress_handler(self._claims_wait, YIELD_STEPS)
            try:
                return job.work(store)
            finally:
                store.db.set_progress_handler(None, 0)

    def _claims_wait(self) -> bool:
        return bool(self._writes)

    def _fail(self, failed: JournalFailed) -> None:
        """Take no more, and have it told also where nobody waits for anything."""
        if self._failed is None:
            self._failed = failed
            self._call(self._sink, ())

    def _refuse(self, future: asyncio.Future[Any]) -> None:
        words = (self._failed or JournalFailed(f"The journal {self.path} is not open.")).words
        self._call(_fail, future, JournalFailed(words))

    def _end(self) -> None:
        for job in (*self._writes, *self._reads):
            self._refuse(job.future)
        self._writes.clear()
        self._reads.clear()
        assert self._ended is not None
        self._call(_resolve, self._ended, None)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is gone, and with it everybody who could be told
            self._loop.call_soon_threadsafe(function, *arguments)


def _nobody(records: Sequence[Recorded]) -> None:
    """Hears what is durable before anyone listens: nothing can be."""


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _page(limit: int) -> int:
    return max(0, min(limit, MAX_PAGE))


def _parts(ids: Sequence[T]) -> list[Sequence[T]]:
    """Lists of ids short enough for one read each."""
    return [ids[begin : begin + MAX_PAGE] for begin in range(0, len(ids), MAX_PAGE)]


def _order_page(
    order_id: OrderId, before: Sequence[StoredFact]
) -> Callable[[sqlite3.Connection], tuple[Sequence[StoredFact], bool]]:
    """The next page of an order's facts, and whether it is the last; then the whole is compared with its number."""

    def work(db: sqlite3.Connection) -> tuple[Sequence[StoredFact], bool]:
        page = queries.order_facts(db, order_id, before[-1].position if before else 0)
        if len(page) == MAX_PAGE:
            return page, False
        queries.complete(db, order_id, [*before, *page])
        return page, True

    return work
