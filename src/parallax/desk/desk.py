"""The desk: the verbs that ways in (pages, API, commands) may use, and nothing else.

Reading is answered from memory, or from the journal for history; asking the venue happens behind it. Every verb raises
only the errors of `parallax.domain.errors`.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

import structlog

from parallax.desk.books import Books
from parallax.desk.execution import GRACE, VAGUE, Execution
from parallax.desk.feed import Feed, FeedClosed
from parallax.desk.ledger import Ledger
from parallax.desk.readings import Age, Readings
from parallax.desk.reconciliation import issued
from parallax.desk.supervision import DutyReport, Supervisor
from parallax.desk.tracker import Tracker
from parallax.desk.upkeep import Upkeep
from parallax.domain.entities import Incident, Order, Pause, Quote, User
from parallax.domain.errors import (
    DeskError,
    DeskStopping,
    JournalFailed,
    KeyReused,
    NotFound,
    NotReadYet,
    VenueBusy,
    VenueMisbehaved,
    VenueUnavailable,
)
from parallax.domain.facts import DeskStarted, IncidentResolved, OrdersPaused, OrdersResumed
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId
from parallax.domain.money import Money
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.clock import Clock
from parallax.ports.journal import Journal, OrderPage, OrderQuery, QuotePage, Remembered, StoredFact
from parallax.ports.venue import Purpose, Venue, VenueStatus

_KEYED: Final = uuid.UUID("7c1d5c0e-5b7a-4f0e-9a55-2f1f6f3a8d11")
"""The name space of order ids that are made of idempotency keys."""

PATIENCE: Final = 2.0
"""Seconds that a reader waits for a first list from the venue before being shown what is known without it."""

FORCED_REFRESH_GAP: Final = 5.0
"""Seconds between two refreshes of one list that people ask for."""

DRAIN: Final = 7.0
"""Seconds that orders under way get at a stop to receive their answers; then they are unknown. What is left of the ten
that a stop may take goes to writing that down and to the end of the program, on a busy machine two."""

DOUBT_PATIENCE: Final = 3.0
"""Seconds that whoever placed an order waits for a doubted refusal to be checked before being told "unknown"."""

LEARNED_FROM: Final = 200
"""Settled orders from which the settle times are learned again at start."""

MAX_PAUSE_REASON: Final = 200
"""Characters of the reason for a pause; it is shown on every page."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """How the desk and its venue are doing, for the head of every page."""

    venue_name: str
    sandbox: bool
    venue: VenueStatus
    clock_offset: timedelta
    clock_uncertainty: timedelta
    pause: Pause | None
    journal_failed: JournalFailed | None
    open_incidents: int
    open_orders: int
    stopping: bool


class Desk:
    """Users, quotes and orders, live."""

    def __init__(
        self,
        *,
        journal: Journal,
        venue: Venue,
        clock: Clock,
        random: Random,
        new_id: Callable[[], str],
        version: str,
        sandbox: bool = False,
        grace: timedelta = GRACE,
    ) -> None:
        self._journal = journal
        self._venue = venue
        self._clock = clock
        self._version = version
        self._sandbox = sandbox
        self.books = Books()
        self.feed = Feed()
        self._ledger = Ledger(journal, self.books, self.feed)
        self._supervisor = Supervisor(clock, random)
        self._readings = Readings(self._ledger, venue, clock)
        self._execution = Execution(self._ledger, venue, self._supervisor, clock, new_id, grace)
        self.tracker = Tracker(self._ledger, self._readings, venue, self._supervisor, clock, random)
        self._upkeep = Upkeep(self._ledger, self._readings, venue, random)
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._forced: dict[str, float] = {}
        self.started_at: datetime | None = None

    # Life

    async def start(self) -> None:
        """Recover from the journal and begin all duties: the only way to start, also after a crash (rule 5).

        Raises `JournalFailed`. The venue need not be reachable.
        """
        snapshot = await self._ledger.open()
        await self._readings.recall_ages(snapshot.position)
        self.started_at = self._clock.now()
        lost = self._execution.recover()
        if lost:
            log.warning("orders without an answer are unknown and will be looked for", orders=len(lost))
        await self._ledger.record(*lost, DeskStarted(self.started_at, self._version, self._venue.name))
        # Oldest first, as they were learned: the later an order, the more it counts.
        for seen in reversed(await self._journal.settle_times(LEARNED_FROM)):
            self.tracker.settle_times.learn(seen.began_at, seen.not_before, seen.settled_at)
        self.tracker.begin()
        self._venue.on_status(lambda _: self.feed.signal("venue"))
        self._supervisor.duty("tracker", "Follows unsettled orders until they settle.", self.tracker.run)
        self._supervisor.duty(
            "reconciliation", "Compares users, quotes and orders with the exchange's lists.", self._upkeep.run
        )
        self._supervisor.duty("retirement", "Lets go of what is only history.", self._upkeep.retire)

    def drain(self) -> None:
        """Take nothing new from now on, and end open streams. Safe to call from a signal handler, and twice."""
        self._execution.drain()
        self.feed.close()

    async def all_answered(self) -> None:
        """Return when no order waits for its answer."""
        await self._execution.all_answered()

    async def stop(self, grace: float = DRAIN) -> None:
        """Drain, let orders under way get their answers for `grace` seconds or become unknown, then let go of
        everything."""
        self.drain()
        await self._supervisor.stop(grace)
        await self._journal.close()
        await self._venue.close()

    @property
    def status(self) -> DeskStatus:
        """How things are, now."""
        return DeskStatus(
            venue_name=self._venue.name,
            sandbox=self._sandbox,
            venue=self._venue.status,
            clock_offset=self._venue.clock.offset,
            clock_uncertainty=self._venue.clock.uncertainty,
            pause=self.books.pause,
            journal_failed=self._journal.failed,
            open_incidents=self.books.open_incident_count,
            open_orders=self.books.open_count,
            stopping=self._execution.stopping,
        )

    @property
    def duties(self) -> list[DutyReport]:
        """What is running and supervised."""
        return self._supervisor.reports

    @property
    def position(self) -> int:
        """The position of the newest fact that anyone can have been shown."""
        return self.feed.position

    def now(self) -> datetime:
        """The desk's clock."""
        return self._clock.now()

    def venue_now(self) -> datetime:
        """The venue's clock, which decides over quotes (rule 8)."""
        return self._venue.clock.now()

    def latest_venue_now(self) -> datetime:
        """The latest that the venue's clock may show: by it no quote seems to have more time left than it has."""
        time = self._venue.clock.read()
        return time.now + time.uncertainty

    def safe_until(self, quote: Quote) -> datetime:
        """The moment of the venue's clock from which an order on the quote could come too late."""
        return quote.expires_at - self._venue.send_margin

    # Users

    @property
    def users_age(self) -> Age:
        """How old the list of users is."""
        return self._readings.users_age

    async def know_users(self) -> Age:
        """Make sure that the users have been read once; waits a little, and says how they are known."""
        return await self._know(self.users_age, "users", self._readings.read_users)

    def users(self) -> list[User]:
        """All users that are known, by name."""
        self._venue.avoided("cache")
        return sorted(self.books.users, key=lambda user: (user.name.casefold(), user.id))

    def users_as_listed(self) -> list[User]:
        """All users that are known, in the order in which the venue first listed them."""
        self._venue.avoided("cache")
        return list(self.books.users)

    async def user(self, user_id: UserId) -> User:
        """One user. Raises `NotFound`, or `VenueUnavailable` when the venue has not named its users yet."""
        if (user := self.books.user(user_id)) is not None:
            return user
        await self._ask_again("users", self._readings.read_users, self._readings.users_age)
        if (user := self.books.user(user_id)) is not None:
            return user
        raise NotFound("user", user_id)

    # Quotes

    @property
    def quotes_age(self) -> Age:
        """How old the list of quotes is; single quotes are newer."""
        return self._readings.quotes_age

    async def know_quotes(self) -> Age:
        """Make sure that the quotes have been read once; waits a little, and says how they are known."""
        return await self._know(self.quotes_age, "quotes", self._readings.read_quotes)

    async def request_quote(self, by: str) -> Quote:
        """Ask the venue for a firm quote. Raises `VenueUnavailable`, `DeskStopping` or `JournalFailed`."""
        if self._execution.stopping:
            raise DeskStopping
        if self._journal.failed is not None:
            raise JournalFailed(self._journal.failed.words)
        given = await self._venue.request_quote()
        if (known := self._ledger.quote(given.id) or await self._journal.quote(given.id)) is not None:
            self._ledger.recall((), (known,))
            # A list that was read meanwhile may have shown the new quote first. Any other known quote is not new.
            listed_alone = known.state is QuoteState.ACTIVE and not known.by
            if not listed_alone or (known.rate, known.created_at) != (given.rate, given.created_at):
                raise VenueMisbehaved(
                    f"The exchange answered a request for a new quote with quote {given.id}, which is known already"
                    " and is not new. Nothing was taken over; ask again."
                )
        if self._ledger.quote(given.id) is None:
            await self._ledger.record(issued(given, self._clock.now(), by))
        return await self.quote(given.id)

    async def quote(self, quote_id: QuoteId) -> Quote:
        """One quote, live or from history. Raises `NotFound` or `VenueUnavailable`."""
        if (quote := self.books.quote(quote_id)) is not None:
            return quote
        if (quote := await self._journal.quote(quote_id)) is not None:
            return quote
        await self._ask_again("quotes", self._readings.read_quotes, self._readings.quotes_age)
        if (quote := self.books.quote(quote_id)) is not None:
            return quote
        raise NotFound("quote", quote_id)

    async def past_quotes(self, offset: int, limit: int) -> QuotePage:
        """All quotes, newest first, from memory as far as it reaches and then from the journal."""
        self._venue.avoided("cache")
        held = self.books.newest_quotes(limit, offset)
        if len(held) == limit:
            total, end = self.books.quotes_ever, offset + limit
            return QuotePage(held, total, end if end < total else None)
        return await self._journal.quotes(offset, limit)

    # Orders

    def orders_age(self, user_id: UserId) -> Age:
        """How old the list of a user's orders is; single orders are newer."""
        return self._readings.orders_age(user_id)

    async def know_orders(self, user_id: UserId) -> Age:
        """Make sure that a user's orders have been read once; waits a little, says how they are known, and never raises
        for the venue."""
        age = self._readings.orders_age(user_id)
        if age.known_at is None:
            await self._readings.recall_orders_age(user_id)
        return await self._know(
            age, f"orders {user_id}", lambda: self._readings.read_orders(user_id, Purpose.REFRESH)
        )

    @property
    def any_orders_read(self) -> bool:
        """Whether the orders of any user have been read."""
        return self._readings.any_orders_read

    @property
    def users_with_orders_read(self) -> int:
        """Of how many users the orders have been read since the start."""
        return self._readings.users_with_orders_read

    async def orders(self, query: OrderQuery, offset: int, limit: int) -> OrderPage:
        """Orders of the journal, filtered, sorted and paged."""
        return await self._journal.orders(query, offset, limit)

    async def order(self, order_id: OrderId, user_id: UserId | None = None) -> Order:
        """One order by its id here or at the venue, live or from history; of `user_id` only, if given (rule 6).

        Raises `NotFound`, or `VenueUnavailable` when the venue would have to be asked and cannot be.
        """
        order = await self._known_order(order_id)
        if order is not None:
            self._venue.avoided("cache")
        if order is None and user_id is not None:
            await self.know_orders(user_id)
            order = await self._known_order(order_id)
            if order is None:
                self._readings.orders_age(user_id).check()
        if order is None or (user_id is not None and order.user_id != user_id):
            raise NotFound("order", order_id)
        return order

    async def order_facts(self, order_id: OrderId) -> Sequence[StoredFact]:
        """Everything recorded of an order, oldest first."""
        return await self._journal.order_facts(order_id)

    async def remember(self, key: str, fingerprint: bytes, answer: bytes) -> None:
        """Keep the first answer given under an idempotency key, for a day. Raises `JournalFailed`."""
        await self._journal.remember(key, fingerprint, answer, self.now())

    async def recall(self, key: str) -> Remembered | None:
        """The answer kept under an idempotency key, if any. Raises `JournalFailed`."""
        return await self._journal.recall(key, self.now())

    async def facts(self, after: int, limit: int) -> Sequence[StoredFact]:
        """Facts of the journal after a position, oldest first: for streams that resume, and receipts."""
        return await self._journal.facts(after, limit)

    async def order_by_key(self, key: str) -> Order | None:
        """The order that was placed under an idempotency key; of several attempts, the last. Raises `JournalFailed`."""
        return (await self._keyed(key))[0]

    def possible_duplicates(self, user_id: UserId, amount: Money) -> list[Order]:
        """Orders that a new one for this user and amount might repeat by mistake: see `Execution`."""
        return self._execution.possible_duplicates(user_id, amount)

    async def place(
        self,
        quote_id: QuoteId,
        user_id: UserId,
        amount: Money,
        by: str,
        *,
        key: str = "",
        unless_duplicate: bool = False,
    ) -> Order:
        """Claim the quote for an order and have it carried out; returns when the claim is durable.

        Under a `key` this can be repeated: the order that was placed first is returned, however it stands. The key
        names the way in too, so that two ways never share one. An order that was withdrawn, of which nothing was
        sent, is tried anew. Raises `KeyReused` when the key's order is for something else; see `Execution.claim` for
        the rest. The order goes on whether or not anyone waits for it.
        """
        order_id: OrderId | None = None
        if key:
            known, order_id = await self._keyed(key)
            if known is not None and known.state is not OrderState.WITHDRAWN:
                return _same(known, quote_id, user_id, amount)
        self._ledger.recall((), (await self.quote(quote_id),))
        await self._know_the_time()
        order = await self._execution.claim(
            quote_id, user_id, amount, by, order_id=order_id, unless_duplicate=unless_duplicate
        )
        return _same(order, quote_id, user_id, amount) if key else order

    async def execute(
        self,
        quote_id: QuoteId,
        user_id: UserId,
        amount: Money,
        by: str,
        *,
        key: str = "",
        unless_duplicate: bool = False,
    ) -> Order:
        """Place an order and wait for the venue's answer: the order is then pending, refused, withdrawn, unknown or
        even settled; or still on its way, when the desk stops or its journal fails meanwhile: then nobody knows yet
        what came of it. Raises like `place`."""
        placed = await self.place(quote_id, user_id, amount, by, key=key, unless_duplicate=unless_duplicate)
        await self._execution.answered(placed.id)
        if (order := self.books.order(placed.id)) and order.refusal and order.state is OrderState.UNKNOWN:
            await self._doubt_settled(placed.id)
        return self.books.order(placed.id) or placed

    async def refresh(self, what: str, user_id: UserId | None = None) -> None:
        """Read a list again because a person asks: "users", "quotes" or "orders" of a user.

        Raises `VenueBusy` when the same list was asked for a moment ago, or `VenueUnavailable`.
        """
        key = f"{what} {user_id or ''}"
        loop = asyncio.get_running_loop()
        wait = self._forced.get(key, -math.inf) + FORCED_REFRESH_GAP - loop.time()
        if wait > 0:
            raise VenueBusy(f"This list was asked for a moment ago; try again in {wait:.0f} s.", wait)
        self._forced[key] = loop.time()
        if what == "users":
            await self._readings.read_users()
        elif what == "quotes":
            await self._readings.read_quotes()
        elif user_id is not None:
            await self._readings.read_orders(user_id, Purpose.REFRESH)

    # Operating

    async def pause(self, reason: str, by: str) -> None:
        """Take no new orders from now on; the reason is shown everywhere. Orders under way go on."""
        words = " ".join(reason.split())[:MAX_PAUSE_REASON]
        if not words:
            raise DeskError("Say why orders are paused; everyone is shown the reason.")
        if self.books.pause is None:
            await self._ledger.record(OrdersPaused(self._clock.now(), by, words))

    async def resume(self, by: str) -> None:
        """Take new orders again."""
        if self.books.pause is not None:
            await self._ledger.record(OrdersResumed(self._clock.now(), by))

    async def resolve_incident(self, incident_id: IncidentId, by: str, note: str) -> Incident:
        """Close an incident with a note. Raises `NotFound`."""
        incident = self._ledger.incident(incident_id)
        if incident is None:
            raise NotFound("incident", incident_id)
        if incident.resolved_at is None:
            fact = IncidentResolved(self._clock.now(), incident_id, by, note[:MAX_PAUSE_REASON])
            await self._ledger.record(fact)
        resolved = self.books.incident(incident_id)
        assert resolved is not None
        return resolved

    # Inside

    async def _know_the_time(self) -> None:
        """Have heard from the venue since the start, and since this machine's clock was last set: every answer tells
        the venue's time, and nothing else may decide whether a quote is still good (rule 8).

        Raises `VenueUnavailable`: nothing was sent.
        """
        if self._readings.users_age.read_at is not None and self._venue.clock.uncertainty <= VAGUE:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._readings.read_users()
        except TimeoutError:
            words = "The exchange's time is not known and it does not answer, so nothing was sent. Try again."
            raise VenueUnavailable(words) from None

    async def _keyed(self, key: str) -> tuple[Order | None, OrderId]:
        """The last attempt under a key, and the id that the next one would have."""
        attempt, last = 0, None
        while order := await self._placed_order(order_id := _keyed_order_id(key, attempt)):
            last = order
            if order.state is not OrderState.WITHDRAWN:
                break
            attempt += 1
        return last, order_id

    async def _placed_order(self, order_id: OrderId) -> Order | None:
        """An order of ours, waited for while its claim is on its way to the disk: "there is none" would have its owner
        order again. Raises `JournalFailed`."""
        if self.books.order(order_id) is None and self._ledger.order(order_id) is not None:
            return await self._execution.durable(order_id)
        return await self._known_order(order_id)

    async def _known_order(self, order_id: OrderId) -> Order | None:
        return self.books.order(order_id) or await self._journal.order(order_id)

    async def _doubt_settled(self, order_id: OrderId) -> None:
        """Give the tracker's first look at a doubted refusal the time to decide."""
        with self.feed.subscribe(lambda change: _is_about(change, order_id)) as news:
            try:
                async with asyncio.timeout(DOUBT_PATIENCE):
                    while (order := self.books.order(order_id)) and order.state is OrderState.UNKNOWN:
                        await news.next()
            except (TimeoutError, FeedClosed):
                return  # it is unknown still, and says so

    async def _ask_again(self, what: str, read: Callable[[], Awaitable[None]], age: Age) -> None:
        """Something unknown was asked for: read the list once more, but not more often than people may."""
        loop = asyncio.get_running_loop()
        lately = loop.time() - self._forced.get(what, -math.inf) < FORCED_REFRESH_GAP
        if what in self._reads or not lately:
            self._forced[what] = loop.time()
            await self._read_once(what, read)
        if age.read_at is None:
            # Also when a part is known from before: what was asked for is not in it.
            raise NotReadYet(f"The exchange's list of {what} has not been read yet. {age.why}")

    async def _know(self, age: Age, what: str, read: Callable[[], Awaitable[None]]) -> Age:
        if age.read_at is not None:
            self._venue.avoided("cache")
        else:
            await self._read_once(what, read)
        return age

    async def _read_once(self, what: str, read: Callable[[], Awaitable[None]]) -> None:
        """Have a list read, once for all who wait for it, and wait a little; what went wrong is with its age."""
        task = self._reads.get(what)
        if task is None:
            task = self._reads[what] = self._supervisor.task(f"read {what}", self._try(what, read))
            task.add_done_callback(lambda _: self._reads.pop(what, None))
        await asyncio.wait({task}, timeout=PATIENCE)

    @staticmethod
    async def _try(what: str, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except (VenueUnavailable, JournalFailed) as error:
            log.info("list could not be read", list=what, error=error.words)


def _is_about(change: Change, order_id: OrderId) -> bool:
    return change.order is not None and change.order.id == order_id


def _same(order: Order, quote_id: QuoteId, user_id: UserId, amount: Money) -> Order:
    """The order, if it is for this. Raises `KeyReused`."""
    if (order.quote_id, order.user_id, order.amount) != (quote_id, user_id, amount):
        raise KeyReused(order.id)
    return order


def _keyed_order_id(key: str, attempt: int) -> OrderId:
    """The id of the order that is placed under an idempotency key: the same key, the same order, in every journal."""
    return OrderId(str(uuid.uuid5(_KEYED, f"{attempt} {key}")))
