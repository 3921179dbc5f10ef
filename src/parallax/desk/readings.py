"""Readings: every list that is read from the venue, its age, and what it made known.

One read of a user's orders serves all who need it: the tracker, a page that opens, a sweep. Each becomes facts through
`parallax.desk.reconciliation`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

import msgspec

from parallax.desk.ledger import Ledger, Written
from parallax.desk.reconciliation import OrdersList, alike, orders_facts, quotes_facts, users_facts
from parallax.domain.errors import JournalFailed, NotReadYet, VenueUnavailable
from parallax.domain.facts import OrdersRead
from parallax.domain.identity import OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.transitions import OrderState
from parallax.ports.clock import Clock
from parallax.ports.journal import MAX_PAGE
from parallax.ports.venue import Purpose, Venue, VenueOrder, VenueOrderStatus, doubt_of

SLICE: Final = 2_000
"""Quotes of a list that are recorded at once: ten to twenty milliseconds of work."""

SLICES_AHEAD: Final = 8
"""Slices that may wait for the journal while the next is made, and that it then writes together: a claim that comes
behind them waits for a fifth of a second, as hardly ever happens but at a first start."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_CREATED_AT: Final = attrgetter("created_at")
_ID: Final = attrgetter("id")

SMALLEST_PAGE: Final = 10
"""Rows of the smallest page that exchanges make. A list of just as many as pages have (tens, or twenty-fives) may be
one, whatever it does not say, unless a longer one has been seen."""

SETTLED_THERE: Final = frozenset({OrderState.COMPLETED, OrderState.FAILED})
"""What every whole list of a user's orders shows for ever."""


@dataclass(slots=True)
class Age:
    """When the list of `what` was last read (desk's clock; None: not since start), why the last try failed, if so, and
    why what was read may not be all there is (`doubt`, a part of a sentence). `recorded_at` is from when it is known by
    what was recorded before the start (None: it is not)."""

    what: str
    read_at: datetime | None = None
    error: str = ""
    doubt: str = ""
    recorded_at: datetime | None = None

    @property
    def known_at(self) -> datetime | None:
        """The moment of which the list is known (None: nothing is known of it)."""
        return self.read_at or self.recorded_at

    @property
    def why(self) -> str:
        """Why the list has not been read, in a sentence."""
        return self.error or "The first read is under way."

    def check(self) -> None:
        """Raises `NotReadYet` when nothing is known of the list."""
        if self.known_at is None:
            raise NotReadYet(f"The exchange's list of {self.what} has not been read yet. {self.why}")


class Readings:
    """Reads lists and records what they prove."""

    def __init__(self, ledger: Ledger, venue: Venue, clock: Clock) -> None:
        self._ledger = ledger
        self._venue = venue
        self._clock = clock
        self.users_age = Age("users")
        self.quotes_age = Age("quotes")
        self._orders_age: dict[UserId, Age] = {}
        self._longest = 0
        """Rows of the longest list of orders so far: pages are no longer."""
        self._under_way: dict[UserId, asyncio.Future[None]] = {}
        self._seen_pending: dict[UserId, dict[OrderId, datetime]] = {}
        # What a user's list has shown as it is known here, settled: the very objects that it was found alike in.
        self._alike: dict[UserId, dict[VenueOrderId, VenueOrder]] = {}

    def orders_age(self, user_id: UserId) -> Age:
        """The age of a user's list of orders."""
        if (age := self._orders_age.get(user_id)) is None:
            age = self._orders_age[user_id] = Age("this user's orders")
        return age

    @property
    def any_orders_read(self) -> bool:
        """Whether the orders of any user are known as a list."""
        return any(age.known_at is not None for age in self._orders_age.values())

    @property
    def users_with_orders_read(self) -> int:
        """Of how many users the orders have been read since the start."""
        return sum(age.read_at is not None for age in self._orders_age.values())

    async def recall_ages(self, position: int) -> None:
        """Learn from the journal, at start, as of when users and quotes are known."""
        last = await self._ledger.journal.facts(position - 1, 1) if position else ()
        if last and len(self._ledger.books.users):
            self.users_age.recorded_at = last[0].fact.at
        if last and self._ledger.books.quotes_ever:
            self.quotes_age.recorded_at = last[0].fact.at

    async def recall_orders_age(self, user_id: UserId) -> None:
        """Learn from the journal as of when a user's orders are known that have not been read since the start."""
        now = self._clock.now()
        for since in (now - timedelta(days=1), _EPOCH):
            reads = await self._ledger.journal.reads(user_id, since, now, MAX_PAGE)
            whole = [read.fact for read in reads if isinstance(read.fact, OrdersRead) and not read.fact.error]
            if whole:
                self.orders_age(user_id).recorded_at = whole[-1].began_at
                return

    async def read_users(self, purpose: Purpose = Purpose.REFRESH) -> None:
        """Read the users. Raises `VenueUnavailable`, and notes it."""
        await self._noting(self.users_age, lambda: self._read_users(purpose))

    async def _read_users(self, purpose: Purpose) -> None:
        users = await self._venue.users(purpose)
        facts = users_facts(self._ledger, users, self._clock.now())
        if facts:
            await self._ledger.record(*facts)
        else:
            # Another read may have recorded the same list a moment ago, and whoever waits for this one then looks
            # in the books.
            await self._ledger.all_written()

    async def read_quotes(self, purpose: Purpose = Purpose.REFRESH) -> None:
        """Read the quotes. Raises `VenueUnavailable`, and notes it."""
        await self._noting(self.quotes_age, lambda: self._read_quotes(purpose))

    async def _read_quotes(self, purpose: Purpose) -> None:
        quotes = await self._venue.quotes(purpose)
        unknown = [quote.id for quote in quotes if self._ledger.quote(quote.id) is None]
        known = set(await self._ledger.journal.known_quotes(unknown)) if unknown else set[QuoteId]()
        # Roughly oldest first, and by id within a slice: the books are kept by time and the journal's table has keys on
        # both; what comes in their order costs half of what it costs otherwise.
        fresh = sorted((quote for quote in quotes if quote.id not in known), key=_CREATED_AT)
        # A first list may be very long. In slices it holds up nobody, and one is written while the next is made.
        writing: deque[Written] = deque()
        for start in range(0, len(fresh), SLICE):
            part = sorted(fresh[start : start + SLICE], key=_ID)
            if quotes_facts(self._ledger, part, self._clock.now()):
                writing.append(
                    await self._ledger.record_checked(
                        lambda part=part: quotes_facts(self._ledger, part, self._clock.now())
                    )
                )
            await (writing.popleft() if len(writing) > SLICES_AHEAD else asyncio.sleep(0))
        if writing:
            await writing[-1]  # slices are written in their order
        else:
            await self._ledger.all_written()

    async def read_orders(self, user_id: UserId, purpose: Purpose) -> None:
        """Read a user's orders and record everything that the list proves.

        Raises `VenueUnavailable`, and notes it: a read that failed is no evidence, but it is written down.
        """
        while purpose is Purpose.REFRESH and (other := self._under_way.get(user_id)) is not None:
            # Shared here and not at the gateway, where it would pass for a second list, begun later than it was.
            await asyncio.wait({other})
            if not other.cancelled():
                return other.result()
        done = self._under_way[user_id] = asyncio.get_running_loop().create_future()
        try:
            await self._noting(self.orders_age(user_id), lambda: self._read_orders(user_id, purpose))
        except VenueUnavailable as error:
            done.set_exception(error)
            done.exception()  # there may be nobody to share it with
            raise
        else:
            done.set_result(None)
        finally:
            done.cancel()
            if self._under_way.get(user_id) is done:
                del self._under_way[user_id]
        return None

    async def _read_orders(self, user_id: UserId, purpose: Purpose) -> None:
        loop = asyncio.get_running_loop()
        began_at, began = self._clock.now(), loop.time()
        try:
            listed = await self._venue.orders(user_id, purpose)
        except VenueUnavailable as error:
            self._ledger.record(OrdersRead(self._clock.now(), user_id, began_at, 0, error.words))
            raise
        newest, doubt = self._weighed(user_id, listed)
        self.orders_age(user_id).doubt = doubt
        found_alike = self._alike.setdefault(user_id, {})
        # A list is full, and most of it has been looked through before: an exchange shows every order for ever.
        telling = [order for order in newest.values() if found_alike.get(order.id) is not order]
        await self._recall(telling)
        # The answer itself has told the venue's time, so the beginning is reckoned back from now (rule 8).
        elapsed = timedelta(seconds=loop.time() - began)
        time = self._venue.clock.read()
        earliest, latest = time.now - time.uncertainty - elapsed, time.now + time.uncertainty
        seen_pending = self._seen_pending.get(user_id, {})
        read = OrdersList(
            user_id, telling, len(listed), began_at, began, earliest, latest, seen_pending, doubt
        )
        written = await self._ledger.record_checked(
            lambda: orders_facts(self._ledger, read, self._clock.now())
        )
        self._note_pending(user_id, began_at)
        self._alike[user_id] = {
            order.id: order
            for order in newest.values()
            if found_alike.get(order.id) is order or alike(self._ledger.order_at_venue(order.id), order)
        }
        await written

    def _weighed(
        self, user_id: UserId, listed: Sequence[VenueOrder]
    ) -> tuple[dict[VenueOrderId, VenueOrder], str]:
        """Each order of a list once, as far as it has come, and why the list may not be all there is."""
        newest: dict[VenueOrderId, VenueOrder] = {}
        self._longest = max(self._longest, len(listed))
        doubts = [doubt] if (doubt := doubt_of(listed)) else []
        torn: set[VenueOrderId] = set()
        for order in listed:
            other = newest.setdefault(order.id, order)
            if other is order or other == order:
                continue
            if other.status is VenueOrderStatus.PENDING:
                newest[order.id] = order
            elif order.status is not VenueOrderStatus.PENDING:
                torn.add(order.id)
        for order_id in torn:  # settled in two ways: nothing is known of it but that it is there
            newest[order_id] = msgspec.structs.replace(newest[order_id], status=VenueOrderStatus.PENDING)
            doubts.append(f"it shows order {order_id} twice, and not the same")
        books = self._ledger.books
        if all(order.venue_order_id in newest for order in books.open_orders(user_id)):
            return newest, "; ".join(doubts)  # nothing is sought that it does not show
        settled = (order for order in books.orders_of(user_id) if order.state in SETTLED_THERE)
        missing = next((order for order in settled if order.venue_order_id not in newest), None)
        if missing is not None:
            doubts.append(f"it does not show order {missing.id}, which has settled")
        count = len(listed)
        if not doubts and count == self._longest >= SMALLEST_PAGE and not (count % 10 and count % 25):
            doubts.append(f"{count} rows may be a full page")
        return newest, "; ".join(doubts)

    async def _recall(self, listed: Sequence[VenueOrder]) -> None:
        """Make sure that what the list is about is in memory: from history, and from the venue for a new quote."""
        strangers = [order for order in listed if self._ledger.order_at_venue(order.id) is None]
        if not strangers:
            return
        self._ledger.recall(await self._ledger.journal.orders_at_venue([order.id for order in strangers]))
        strangers = [order for order in strangers if self._ledger.order_at_venue(order.id) is None]
        for order in strangers:
            if self._ledger.quote(order.quote_id) is None:
                quote = await self._ledger.journal.quote(order.quote_id)
                self._ledger.recall((), (quote,) if quote else ())
            await self._recall_holder(order.quote_id)
        if any(self._ledger.quote(order.quote_id) is None for order in strangers):
            # Not one that is under way: it may have left before the quote was made, and an order that is adopted
            # without its quote never gets a rate.
            await self.read_quotes(Purpose.FOLLOW)

    async def _recall_holder(self, quote_id: QuoteId) -> None:
        """Bring back the order that has or used a quote: that another is on it too is a contradiction, however long
        ago the first one settled."""
        quote = self._ledger.quote(quote_id)
        if quote is not None and quote.order_id is not None and self._ledger.order(quote.order_id) is None:
            holder = await self._ledger.journal.order(quote.order_id)
            self._ledger.recall((holder,) if holder else ())

    def _note_pending(self, user_id: UserId, began_at: datetime) -> None:
        """What is still pending after this read was pending when it began."""
        self._seen_pending[user_id] = {
            order.id: began_at
            for order in self._ledger.books.open_orders(user_id)
            if (current := self._ledger.order(order.id)) and current.state is OrderState.PENDING
        }

    async def _noting(self, age: Age, read: Callable[[], Awaitable[None]]) -> None:
        """Read a list, and note with its age that it is known when what it holds can be shown, and not sooner."""
        if (failed := self._ledger.journal.failed) is not None:
            raise JournalFailed(failed.words)  # a call for nothing: what it proves could not be written down
        began_at = self._clock.now()
        try:
            await read()
        except VenueUnavailable as error:
            age.error = error.words
            raise
        age.read_at, age.error = began_at, ""
