"""The journal in memory: the same promises without a file, for examples, tests and the simulation.

What survives is on its disk, which is handed in: `MemoryDisk` keeps all of it, `SimulatedDisk` takes its time and
loses in a crash what was not synced. A journal opened on a disk that was used before recovers exactly what is there.

>>> import asyncio
>>> async def main() -> int:
...     journal = MemoryJournal()
...     snapshot = await journal.open(lambda records: None)
...     await journal.close()
...     return snapshot.position
>>> asyncio.run(main())
0

Everything runs in the event loop, one callback a commit, and in no order that the loop could change: it is right under
a loop that shuffles what is ready. Nothing here is bounded but by memory, as it holds every fact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from parallax.domain.entities import Incident, Order, Quote
from parallax.domain.errors import DeskError, IllegalTransition, JournalFailed, QuoteTaken
from parallax.domain.facts import Fact, OrderClaimed, OrderCompleted, OrderFailed, OrdersRead
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change, State, fold
from parallax.domain.transitions import OrderState, QuoteState
from parallax.journal import copies
from parallax.journal.disks import Disk, Entry, MemoryDisk
from parallax.journal.judging import Ahead, DoesNotFollow, Holder
from parallax.journal.queries import LONGEST_TEXT, amount_in, next_offset
from parallax.journal.rows import LETS_GO, amount_key
from parallax.journal.store import Batch, Store
from parallax.ports.codec import chained, decode, digest, encode
from parallax.ports.journal import (
    ANSWERS_KEPT_FOR,
    GENESIS,
    LINGER,
    MAX_PAGE,
    YOUNG,
    OrderPage,
    OrderQuery,
    OrderSort,
    QuotePage,
    Recorded,
    Remembered,
    Settling,
    Snapshot,
    SnapshotBounds,
    StoredFact,
)

_COPY_BATCH: Final = 1_000


class _Write(Struct, eq=False):
    changes: Sequence[Change]
    records: Sequence[bytes]
    future: asyncio.Future[Any]
    answer: Remembered | None = None


class _Durable:
    """What is on the disk, as the judge of what may follow wants to know it."""

    def __init__(self) -> None:
        self.state = State()
        self.holders: dict[QuoteId, Holder | None] = {}

    def order(self, order_id: OrderId) -> OrderState | None:
        order = self.state.orders.get(order_id)
        return None if order is None else order.state

    def quote(self, quote_id: QuoteId) -> QuoteState | None:
        quote = self.state.quotes.get(quote_id)
        return None if quote is None else quote.state

    def holder(self, quote_id: QuoteId) -> Holder | None:
        return self.holders.get(quote_id)


class MemoryJournal:
    """A journal in memory. See `parallax.ports.journal.Journal` for what each call promises.

    With `hashed` off, facts are kept as they are: nothing is encoded, `Recorded.hash` is empty, and the chain is
    computed only when someone reads facts back. The simulation's way: it saves two thirds of a fact's cost.
    """

    def __init__(
        self, disk: Disk | None = None, *, hashed: bool = True, bounds: SnapshotBounds | None = None
    ) -> None:
        self._disk: Disk = disk or MemoryDisk()
        self._hashed = hashed
        self._bounds = bounds or SnapshotBounds()
        self._durable = _Durable()
        self._state = self._durable.state
        self._facts: list[Fact] = []
        self._records: list[bytes] = []
        self._links: list[bytes] = []
        self._of_order: dict[OrderId, list[int]] = {}
        self._reads_of: dict[UserId, list[int]] = {}
        self._not_before: dict[OrderId, datetime | None] = {}
        self._answers: dict[str, Remembered] = {}
        self._queue: list[_Write] = []
        self._under_way = False
        self._failed: JournalFailed | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._sink: Callable[[Sequence[Recorded]], None] = _nobody

    async def open(self, sink: Callable[[Sequence[Recorded]], None]) -> Snapshot:
        """Recover what is on the disk."""
        assert self._loop is None, "a journal is opened once"
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        for entry in self._disk.load():
            if isinstance(entry, Remembered):
                self._keep(entry)
                continue
            try:
                fact = decode(entry) if isinstance(entry, bytes) else entry
                change = fold(self._state, fact)
            except (ValueError, IllegalTransition, DeskError) as error:
                position = len(self._facts) + 1
                raise self._fail_with(
                    f"The journal in memory is damaged at fact {position}: {error}."
                ) from None
            self._apply(change, entry if isinstance(entry, bytes) else None)
        return self._snapshot()

    def append(self, changes: Sequence[Change]) -> asyncio.Future[Sequence[Recorded]]:
        """Queue a batch."""
        return self._append(changes, linger=False)

    def append_later(self, changes: Sequence[Change]) -> asyncio.Future[Sequence[Recorded]]:
        """Queue a batch for the next commit, whoever it is made for."""
        return self._append(changes, linger=True)

    def _append(self, changes: Sequence[Change], *, linger: bool) -> asyncio.Future[Sequence[Recorded]]:
        future: asyncio.Future[Sequence[Recorded]] = asyncio.get_running_loop().create_future()
        records: list[bytes] = []
        if self._hashed:
            try:
                records = [encode(change.fact) for change in changes]
            except ValueError as error:
                _later(future, JournalFailed(f"A fact could not be written down: {error}."))
                return future
        self._put(_Write(changes, records, future), linger=linger)
        return future

    @property
    def failed(self) -> JournalFailed | None:
        """Why the journal takes no more, if so."""
        return self._failed

    # Writing: one commit at a time; what is queued meanwhile makes the next one.

    def _put(self, write: _Write, *, linger: bool = False) -> None:
        if self._failed is not None:
            _later(write.future, JournalFailed(self._failed.words))
        elif self._closed or self._loop is None:
            _later(write.future, JournalFailed("The journal in memory is not open."))
        else:
            self._queue.append(write)
            if linger:
                self._loop.call_later(LINGER, self._begin)
            else:
                self._begin()

    def _begin(self) -> None:
        """Begin a commit, unless one is under way, which is then followed by another."""
        if self._queue and not self._under_way:
            self._commit()

    def _commit(self) -> None:
        group, self._queue = self._queue, []
        ahead = Ahead(self._durable)
        entries: list[Entry] = []
        outcomes: list[Sequence[Recorded] | QuoteTaken] = []
        position, head = len(self._facts), self._links[-1] if self._links else GENESIS
        try:
            for write in group:
                taken = ahead.take(write.changes) if _moves_anything(write) else None
                if taken is not None:
                    outcomes.append(taken)
                    continue
                recorded: list[Recorded] = []
                for number, change in enumerate(write.changes):
                    position += 1
                    if self._hashed:
                        head = chained(head, digest(write.records[number]))
                        recorded.append(Recorded(position, head, change))
                        entries.append(write.records[number])
                    else:
                        recorded.append(Recorded(position, b"", change))
                        entries.append(change.fact)
                if write.answer is not None:
                    entries.append(write.answer)
                outcomes.append(recorded)
            self._disk.sync(entries, lambda: self._deliver(group, outcomes))
        except DoesNotFollow as error:
            self._give_up(group, f"The journal in memory was asked to record what does not follow: {error}.")
        except OSError as error:
            self._give_up(group, f"The disk failed under the journal in memory: {error.strerror}.")
        else:
            self._under_way = True

    def _deliver(self, group: list[_Write], outcomes: list[Sequence[Recorded] | QuoteTaken]) -> None:
        """The disk has it: apply, tell the sink, then everybody who waits, and begin the next."""
        self._under_way = False
        told: list[Recorded] = []
        for write, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, QuoteTaken):
                continue
            for number, recorded in enumerate(outcome):
                self._apply(recorded.change, write.records[number] if self._hashed else None, recorded.hash)
            told += outcome
            if write.answer is not None:
                self._keep(write.answer)
        try:
            if told:
                self._sink(told)
        except Exception as error:
            self._give_up(
                group, f"What the journal in memory recorded was not taken over ({type(error).__name__})."
            )
            raise
        for write, outcome in zip(group, outcomes, strict=True):
            if write.future.done():
                continue
            if isinstance(outcome, QuoteTaken):
                write.future.set_exception(outcome)
            else:
                write.future.set_result(outcome)
        self._begin()
        self._tell_drained()

    def _give_up(self, group: Iterable[_Write], words: str) -> None:
        self._fail_with(words)
        for write in (*group, *self._queue):
            _later(write.future, JournalFailed(words))
        self._queue = []
        self._tell_drained()

    def _fail_with(self, words: str) -> JournalFailed:
        self._failed = JournalFailed(words)
        return JournalFailed(words)

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._under_way and not self._drained.done():
            self._drained.set_result(None)

    def _apply(self, change: Change, record: bytes | None, link: bytes = b"") -> None:
        fact = change.fact
        self._facts.append(fact)
        self._state.put(change)
        number = len(self._facts)
        if record is not None:
            self._records.append(record)
            if not link:
                link = chained(self._links[-1] if self._links else GENESIS, digest(record))
            self._links.append(link)
        order_id = getattr(fact, "order_id", None)
        if order_id is not None:
            self._of_order.setdefault(order_id, []).append(number)
        if (order := change.order) is not None:
            if isinstance(fact, OrderClaimed):
                self._durable.holders[order.quote_id] = Holder(order.id, order.by)
            elif order.by and order.state in LETS_GO:
                self._durable.holders[order.quote_id] = None
            if isinstance(fact, OrderCompleted | OrderFailed):
                self._not_before[order.id] = fact.not_before
        elif isinstance(fact, OrdersRead):
            self._reads_of.setdefault(fact.user_id, []).append(number)

    def _keep(self, answer: Remembered) -> None:
        known = self._answers.get(answer.key)
        if known is None or known.at <= answer.at - ANSWERS_KEPT_FOR:
            self._answers[answer.key] = answer

    # Reading

    def _snapshot(self) -> Snapshot:
        state, bounds = self._state, self._bounds
        orders = sorted(state.orders.values(), key=attrgetter("created_at"))
        newest = len(orders) - bounds.orders
        live = [order for at, order in enumerate(orders) if at >= newest or not order.state.settled]
        held = {order.quote_id for order in live if not order.state.settled}
        quotes = sorted(state.quotes.values(), key=attrgetter("created_at"))
        young = 0
        if self._facts:
            since = self._facts[-1].at - YOUNG
            young = sum(quote.created_at >= since for quote in quotes)
        oldest = len(quotes) - max(bounds.quotes, min(young, bounds.young_quotes))
        incidents = list(state.incidents.values())
        recent = len(incidents) - bounds.incidents
        return Snapshot(
            len(self._facts),
            list(state.users.values()),
            [quote for at, quote in enumerate(quotes) if at >= oldest or quote.id in held],
            live,
            [one for at, one in enumerate(incidents) if at >= recent or one.resolved_at is None],
            state.pause,
            len(quotes),
        )

    def _readable(self) -> None:
        if self._closed or self._loop is None:
            raise JournalFailed("The journal in memory is not open.")

    def _stored(self, number: int) -> StoredFact:
        """A fact with its digest and hash, computing the chain up to it where nobody has yet."""
        for at in range(len(self._records), number):
            self._records.append(encode(self._facts[at]))
        for at in range(len(self._links), number):
            before = self._links[-1] if self._links else GENESIS
            self._links.append(chained(before, digest(self._records[at])))
        record = self._records[number - 1]
        return StoredFact(number, self._facts[number - 1], digest(record), self._links[number - 1])

    async def facts(self, after: int, limit: int) -> Sequence[StoredFact]:
        self._readable()
        after = max(0, after)
        last = min(len(self._facts), after + _page(limit))
        return [self._stored(number) for number in range(after + 1, last + 1)]

    async def order_facts(self, order_id: OrderId) -> Sequence[StoredFact]:
        self._readable()
        return [self._stored(number) for number in self._of_order.get(order_id, ())]

    async def reads(
        self, user_id: UserId, since: datetime, until: datetime, limit: int
    ) -> Sequence[StoredFact]:
        self._readable()
        found: list[tuple[datetime, int]] = []
        for number in self._reads_of.get(user_id, ()):
            fact = self._facts[number - 1]
            if isinstance(fact, OrdersRead) and since <= fact.began_at <= until:
                found.append((fact.began_at, number))
        return [self._stored(number) for _, number in sorted(found)[: _page(limit)]]

    async def order(self, order_id: OrderId) -> Order | None:
        self._readable()
        known = self._state.orders.get(order_id)
        return known or next(iter(self._at_venue({order_id})), None)

    async def orders_at_venue(self, ids: Sequence[VenueOrderId]) -> Sequence[Order]:
        self._readable()
        return self._at_venue(frozenset(ids))

    def _at_venue(self, ids: frozenset[VenueOrderId] | set[OrderId]) -> list[Order]:
        return [order for order in self._state.orders.values() if order.venue_order_id in ids]

    async def orders(self, query: OrderQuery, offset: int, limit: int) -> OrderPage:
        self._readable()
        found = [order for order in self._state.orders.values() if _matches(order, query)]
        if query.sort in (OrderSort.LARGEST, OrderSort.SMALLEST):
            found.sort(key=lambda order: (order.amount.amount, order.created_at))
        else:
            found.sort(key=attrgetter("created_at"))
        if query.sort in (OrderSort.LARGEST, OrderSort.NEWEST):
            found.reverse()
        offset = max(0, offset)
        items = found[offset : offset + _page(limit)]
        return OrderPage(items, len(found), next_offset(offset, len(items), len(found)))

    async def quote(self, quote_id: QuoteId) -> Quote | None:
        self._readable()
        return self._state.quotes.get(quote_id)

    async def known_quotes(self, ids: Sequence[QuoteId]) -> Sequence[QuoteId]:
        self._readable()
        return [quote_id for quote_id in ids if quote_id in self._state.quotes]

    async def incidents(self, ids: Sequence[IncidentId]) -> Sequence[Incident]:
        self._readable()
        found = map(self._state.incidents.get, ids)
        return [incident for incident in found if incident is not None]

    async def quotes(self, offset: int, limit: int) -> QuotePage:
        self._readable()
        found = sorted(self._state.quotes.values(), key=attrgetter("created_at"))
        found.reverse()
        offset = max(0, offset)
        items = found[offset : offset + _page(limit)]
        return QuotePage(items, len(found), next_offset(offset, len(items), len(found)))

    async def settle_times(self, limit: int) -> Sequence[Settling]:
        self._readable()
        settled = [
            order
            for order in self._state.orders.values()
            if order.by and order.state in (OrderState.COMPLETED, OrderState.FAILED)
        ]
        settled.sort(key=attrgetter("created_at"))
        newest = settled[::-1][: _page(limit)]
        found = [
            Settling(
                order.answered_at or order.sent_at or order.created_at,
                self._not_before.get(order.id),
                order.settled_at,
            )
            for order in newest
            if order.settled_at is not None
        ]
        return sorted(found, key=attrgetter("settled_at"), reverse=True)

    async def remember(self, key: str, fingerprint: bytes, answer: bytes, at: datetime) -> None:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(_Write((), (), future, Remembered(key, fingerprint, answer, at)))
        await future

    async def recall(self, key: str, now: datetime) -> Remembered | None:
        self._readable()
        known = self._answers.get(key)
        return known if known is not None and known.at > now - ANSWERS_KEPT_FOR else None

    async def backup(self, path: Path) -> int:
        """Write everything into a file that `SqliteJournal` opens."""
        self._readable()
        facts, answers = tuple(self._facts), tuple(self._answers.values())
        return await asyncio.to_thread(_write_file, path, facts, answers)

    async def close(self) -> None:
        """Write what is queued, then let go."""
        self._closed = True
        self._begin()
        if self._under_way:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained


def _write_file(target: Path, facts: Sequence[Fact], answers: Sequence[Remembered]) -> int:
    def fill(store: Store) -> None:
        state = State()
        for begin in range(0, len(facts), _COPY_BATCH):
            changes: list[Change] = []
            for fact in facts[begin : begin + _COPY_BATCH]:
                changes.append(fold(state, fact))
                state.put(changes[-1])
            store.commit([Batch.of(changes)])
        store.commit([Batch((), (), answer) for answer in answers])

    copies.write(target, fill)
    return copies.finish(target)


def _moves_anything(write: _Write) -> bool:
    """Whether anything with a state is touched: most looks at the venue touch nothing."""
    return any(
        change.order is not None or change.quote is not None or change.listed for change in write.changes
    )


def _nobody(records: Sequence[Recorded]) -> None:
    """Hears what is durable before anyone listens: nothing can be."""


def _later(future: asyncio.Future[Any], error: JournalFailed) -> None:
    def fail() -> None:
        if not future.done():
            future.set_exception(error)

    asyncio.get_running_loop().call_soon(fail)


def _matches(order: Order, query: OrderQuery) -> bool:
    if query.user_id is not None and order.user_id != query.user_id:
        return False
    if query.states and order.state not in query.states:
        return False
    if not query.text:
        return True
    if query.text.isascii() and len(query.text) <= LONGEST_TEXT:
        ids = (order.id, order.venue_order_id or "", order.quote_id)
        if any(one.startswith(query.text) for one in ids):
            return True
    return amount_key(order.amount.wire) == amount_in(query.text)


def _page(limit: int) -> int:
    return max(0, min(limit, MAX_PAGE))
