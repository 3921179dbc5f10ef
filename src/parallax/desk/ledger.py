"""Decide, record, apply, tell: the only way in which anything on the desk changes.

A caller decides on `head` (what is true, including facts on their way to disk) and hands facts to `record`, which
folds them at once, so that the next decision sees them, and queues them in the journal. When they are durable they
are put into the books, which are what everyone is shown, and told to the feed. A decision and its `record` are one
step without an await between, so no two decisions can rest on the same state.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import structlog

from parallax.desk.books import Books
from parallax.desk.feed import Feed
from parallax.domain.entities import Incident, Order, Quote, User
from parallax.domain.errors import DeskError, JournalFailed
from parallax.domain.facts import Fact, IncidentRaised
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change, State, fold
from parallax.ports.journal import Journal, Recorded, Snapshot

LONGEST_READ: Final = 300.0
"""Seconds that a list may take from being asked for to being compared, waiting for the call budget included."""

log = structlog.get_logger()


class Written:
    """Facts on their way to the disk. Awaiting it returns when they are durable and in the books, or raises why they
    never will be: `QuoteTaken` or `JournalFailed`. Whoever stops waiting takes nothing back."""

    __slots__ = ("_ended", "_error", "_waiting")

    def __init__(self) -> None:
        self._ended = False
        self._error: BaseException | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def waiter(self) -> asyncio.Future[None]:
        """The same as a future of the caller's own. Those who ask first hear first."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._ended:
            self._tell(waiter)
        else:
            self._waiting.append(waiter)
        return waiter

    def __await__(self) -> Generator[Any, None, None]:
        return self.waiter().__await__()

    def end(self, error: BaseException | None) -> None:
        """They are written, or have failed to be."""
        self._ended, self._error = True, error
        for waiter in self._waiting:
            if not waiter.done():
                self._tell(waiter)
        self._waiting.clear()

    def _tell(self, waiter: asyncio.Future[None]) -> None:
        if self._error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(self._error)
            waiter.exception()  # looked at: whoever asked for it may never be started


class Ledger:
    """Books, journal and feed, kept in step."""

    def __init__(self, journal: Journal, books: Books, feed: Feed) -> None:
        self.journal = journal
        self.books = books
        self.feed = feed
        self._users: dict[UserId, User] = {}
        self._quotes: dict[QuoteId, Quote] = {}
        self._orders: dict[OrderId, Order] = {}
        self._incidents: dict[IncidentId, Incident] = {}
        # Ordered for its ends: taking the oldest out of a plain dictionary searches past all that was taken before.
        self._settled_lately: OrderedDict[OrderId, float] = OrderedDict()
        self._by_venue_id: dict[VenueOrderId, OrderId] = {}
        self._by_quote: dict[QuoteId, dict[OrderId, None]] = {}
        self._on_their_way: dict[int, Written] = {}
        self._last: Written | None = None
        self._failure_told = False

    async def open(self) -> Snapshot:
        """Take the journal into use and fill the books. Raises `JournalFailed`."""
        snapshot = await self.journal.open(self._durable)
        self.books.load(snapshot)
        self.feed.position = snapshot.position
        for order in snapshot.orders:
            self._index(order)
        return snapshot

    # The head: what a decision may look at. Together these make the `View` that facts are folded over.

    def user(self, user_id: UserId) -> User | None:
        return self._users.get(user_id) or self.books.users.get(user_id)

    def quote(self, quote_id: QuoteId) -> Quote | None:
        return self._quotes.get(quote_id) or self.books.quotes.get(quote_id)

    def order(self, order_id: OrderId) -> Order | None:
        return self._orders.get(order_id) or self.books.orders.get(order_id)

    def incident(self, incident_id: IncidentId) -> Incident | None:
        return self._incidents.get(incident_id) or self.books.incidents.get(incident_id)

    def order_at_venue(self, venue_order_id: VenueOrderId) -> Order | None:
        """The order that has this id at the venue."""
        order_id = self._by_venue_id.get(venue_order_id)
        return self.order(order_id) if order_id else None

    def orders_on(self, quote_id: QuoteId) -> list[Order]:
        """Every order that ever claimed or used a quote, oldest first."""
        return [order for order_id in self._by_quote.get(quote_id, ()) if (order := self.order(order_id))]

    def settled_after(self, order_id: OrderId, began: float) -> bool:
        """Whether the news that an order has settled came after `began`, in seconds of the loop: a list that was
        asked for before may honestly show it as it was."""
        return self._settled_lately.get(order_id, -math.inf) >= began

    # Changing

    def record(self, *facts: Fact) -> Written:
        """Fold facts and queue them, all or none; await what is returned until they are durable and applied.

        Raises `IllegalTransition` (nothing is queued) or `JournalFailed`.
        """
        return self._record(facts, self.journal.append)

    def record_later(self, *facts: Fact) -> None:
        """`record` for facts that nobody waits for: they are true here at once, and become durable in their turn, but
        do not make those behind them wait for a commit that was made for them."""
        self._record(facts, self.journal.append_later)

    async def all_written(self) -> None:
        """Return when everything recorded until now is durable and in the books, or has failed to be."""
        if self._last is not None:
            with suppress(DeskError):
                await self._last  # batches are written in their order: the last is the last

    def _record(
        self,
        facts: Sequence[Fact],
        append: Callable[[Sequence[Change]], asyncio.Future[Sequence[Recorded]]],
    ) -> Written:
        if self.journal.failed is not None:
            self._tell_of_failure()
            raise JournalFailed(
                self.journal.failed.words
            )  # a new one: one that is raised again grows each time
        # One fact, which is the usual number, needs no stage.
        view = _Staged(self) if len(facts) > 1 else None
        changes = [view.fold(fact) if view else fold(self, fact) for fact in facts]
        for change in changes:
            self._ahead(change)
        written = self._last = Written()
        # By the very change that is its last: it comes back, durable, with the others of its batch.
        self._on_their_way[id(changes[-1])] = written
        append(changes).add_done_callback(lambda done: self._settled(done, changes))
        return written

    async def record_checked(self, decide: Callable[[], Sequence[Fact]]) -> Written:
        """`record` what `decide` finds on the head, once every incident that it wants to raise has been looked for in
        history too: memory does not hold all that have been resolved, and none is raised twice."""
        asked: set[IncidentId] = set()
        while True:
            facts = decide()
            raised = {fact.incident_id for fact in facts if isinstance(fact, IncidentRaised)} - asked
            if not raised:
                return self.record(*facts)
            asked |= raised
            self.books.recall((), (), await self.journal.incidents(sorted(raised)))

    def recall(self, orders: Sequence[Order], quotes: Sequence[Quote] = ()) -> None:
        """Bring entities back from history, so that facts about them can be folded."""
        self.books.recall(orders, quotes)
        for order in orders:
            self._index(order)

    def retire(self, venue_now: datetime) -> None:
        """Let go of what is only history, which the journal keeps."""
        for order in self.books.retire(venue_now):
            if order.venue_order_id is not None:
                self._by_venue_id.pop(order.venue_order_id, None)
            on_quote = self._by_quote.get(order.quote_id, {})
            on_quote.pop(order.id, None)
            if not on_quote:
                self._by_quote.pop(order.quote_id, None)

    def _durable(self, records: Sequence[Recorded]) -> None:
        if not records:
            self._tell_of_failure()
            return
        for record in records:
            self.books.put(record.change)
            self._forget((record.change,))
        self.feed.tell(records)
        for record in records:
            if (written := self._on_their_way.pop(id(record.change), None)) is not None:
                written.end(None)

    def _settled(self, done: asyncio.Future[Sequence[Recorded]], changes: Sequence[Change]) -> None:
        if (error := done.exception()) is not None:
            self._forget(changes)
            self._tell_of_failure()
            self._on_their_way.pop(id(changes[-1])).end(error)

    def _tell_of_failure(self) -> None:
        """A journal that has failed is everybody's news, once, and a line of the log."""
        failed = self.journal.failed
        if failed is not None and not self._failure_told:
            self._failure_told = True
            log.error("the journal failed: nothing is sent any more", reason=failed.words)
            self.feed.signal("desk")

    def _ahead(self, change: Change) -> None:
        if change.user is not None:
            self._users[change.user.id] = change.user
        if change.quote is not None:
            self._quotes[change.quote.id] = change.quote
        for quote in change.listed:
            self._quotes[quote.id] = quote
        if change.order is not None:
            self._orders[change.order.id] = change.order
            self._index(change.order)
            if change.order.state.settled:
                self._note_settled(change.order.id)
        if change.incident is not None:
            self._incidents[change.incident.id] = change.incident

    def _note_settled(self, order_id: OrderId) -> None:
        now = asyncio.get_running_loop().time()
        self._settled_lately[order_id] = now
        while (oldest := next(iter(self._settled_lately))) and self._settled_lately[
            oldest
        ] < now - LONGEST_READ:
            del self._settled_lately[oldest]

    def _forget(self, changes: Sequence[Change]) -> None:
        """Drop from the head what is not newer than these changes."""
        for change in changes:
            if change.user is not None and self._users.get(change.user.id) is change.user:
                del self._users[change.user.id]
            if change.quote is not None and self._quotes.get(change.quote.id) is change.quote:
                del self._quotes[change.quote.id]
            for quote in change.listed:
                if self._quotes.get(quote.id) is quote:
                    del self._quotes[quote.id]
            if change.order is not None and self._orders.get(change.order.id) is change.order:
                del self._orders[change.order.id]
            if change.incident is not None and self._incidents.get(change.incident.id) is change.incident:
                del self._incidents[change.incident.id]

    def _index(self, order: Order) -> None:
        if order.venue_order_id is not None:
            self._by_venue_id[order.venue_order_id] = order.id
        self._by_quote.setdefault(order.quote_id, {})[order.id] = None


class _Staged:
    """The head with the facts of one `record` on top, so that a batch that is not legal leaves no trace."""

    def __init__(self, head: Ledger) -> None:
        self._head = head
        self._state = State()

    def fold(self, fact: Fact) -> Change:
        change = fold(self, fact)
        self._state.put(change)
        return change

    def user(self, user_id: UserId) -> User | None:
        return self._state.users.get(user_id) or self._head.user(user_id)

    def quote(self, quote_id: QuoteId) -> Quote | None:
        return self._state.quotes.get(quote_id) or self._head.quote(quote_id)

    def order(self, order_id: OrderId) -> Order | None:
        return self._state.orders.get(order_id) or self._head.order(order_id)

    def incident(self, incident_id: IncidentId) -> Incident | None:
        return self._state.incidents.get(incident_id) or self._head.incident(incident_id)
