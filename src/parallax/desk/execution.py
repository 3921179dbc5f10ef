"""Execution: claim, last check, send once, learn.

Rule 1: the claim is durable before anything is sent. Rule 2: one request per quote; only an explicit refusal frees it.
Rule 3: whatever is not an explicit yes or no is unknown. Once the request may have left, no way out of here,
cancellation included, leaves the order anything but answered or unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, assert_never

import structlog

from parallax.desk.ledger import Ledger
from parallax.desk.supervision import Supervisor
from parallax.domain.entities import Order, Quote
from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    DeskPaused,
    DeskStopping,
    JournalFailed,
    NotFound,
    PossibleDuplicate,
    QuoteExpired,
    QuoteTaken,
    VenueUnavailable,
)
from parallax.domain.facts import (
    AnswerLost,
    Fact,
    IncidentKind,
    IncidentRaised,
    OrderAccepted,
    OrderClaimed,
    OrderCompleted,
    OrderFailed,
    OrderRefused,
    OrderSent,
    OrderWithdrawn,
    RefusalDoubted,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId
from parallax.domain.money import Money
from parallax.domain.transitions import OrderState, QuoteStatus
from parallax.ports.clock import Clock
from parallax.ports.venue import (
    Accepted,
    OrderRequest,
    Outcome,
    Refused,
    Unknown,
    Venue,
    VenueHealth,
    VenueOrderStatus,
)

GRACE: Final = timedelta(seconds=60)
"""How long after a quote's end the venue may still be at work on a request it took in time, or its lists may
lag behind. Absence counts as evidence only in reads begun later (rule 3)."""

REPEATED_WITHIN: Final = timedelta(seconds=60)
"""For how long after an order another one for the same user and amount may be meant to be the same."""

UNDECIDED: Final = frozenset({OrderState.CLAIMED, OrderState.SENT, OrderState.UNKNOWN})
"""States of orders of which it is not known whether the venue has them."""

CAME_TO_BE: Final = frozenset({OrderState.PENDING, OrderState.COMPLETED})
"""States of orders that exchange money, or have done so."""

VAGUE: Final = timedelta(seconds=5)
"""Beyond this uncertainty of the venue's clock nothing is decided by it: the machine slept, or its clock was set. The
next answer tells the time again."""

LAST_ANSWER: Final = 5.0
"""Seconds of a stop after which nobody is kept waiting for an order's answer any more: they are told that it was sent,
a second before their connection would be closed without a word."""

log = structlog.get_logger()


class Execution:
    """Turns quotes into orders, each once."""

    def __init__(
        self,
        ledger: Ledger,
        venue: Venue,
        supervisor: Supervisor,
        clock: Clock,
        new_id: Callable[[], str],
        grace: timedelta = GRACE,
    ) -> None:
        self._ledger = ledger
        self._venue = venue
        self._supervisor = supervisor
        self._clock = clock
        self._new_id = new_id
        self._grace = grace
        self._running: dict[OrderId, asyncio.Task[None]] = {}
        self._claimed: dict[tuple[UserId, Money], OrderId] = {}
        """The newest order under way for each user and amount: its claim may not be durable yet."""
        self._waiting: dict[OrderId, list[asyncio.Future[None]]] = {}
        self._last_answer: asyncio.TimerHandle | None = None
        self.stopping = False

    @property
    def running(self) -> int:
        """Orders that are claimed or sent and wait for their answer."""
        return len(self._running)

    async def claim(
        self,
        quote_id: QuoteId,
        user_id: UserId,
        amount: Money,
        by: str,
        *,
        order_id: OrderId | None = None,
        unless_duplicate: bool = False,
    ) -> Order:
        """Claim a quote for a new order and start to carry it out; return the order once the claim is durable.

        `order_id` is the order's id where it is made of a key: when there is such an order already, that one is
        returned, whatever it is for.

        Raises `NotFound`, `QuoteTaken`, `QuoteExpired`, `DeskPaused`, `DeskStopping`, `AmountInvalid`,
        `VenueUnavailable` or `JournalFailed`, with `unless_duplicate` also `PossibleDuplicate`: then nothing was or
        will be sent by this call. A caller that goes away does not stop the order.
        """
        if order_id is not None and self._ledger.order(order_id) is not None:
            return await self.durable(order_id)
        try:
            quote = self._claimable(quote_id, user_id)
        except QuoteTaken:
            await self._taken_for_good(quote_id)
            raise
        if unless_duplicate and (others := self.possible_duplicates(user_id, amount)):
            raise PossibleDuplicate(others[0].id)
        result = quote.rate.convert(amount)
        if not result.amount:
            raise AmountInvalid(
                "buys_nothing",
                f"At this rate {amount} buys {result}: nothing. Nothing was sent. Enter a larger amount.",
            )
        order_id = order_id or OrderId(self._new_id())
        written = self._ledger.record(
            OrderClaimed(
                self._clock.now(),
                order_id,
                quote_id,
                user_id,
                amount.wire,
                amount.currency.code,
                result.wire,
                quote.expires_at,
                by,
            )
        )
        # The order hears first of its claim, so that it leaves before the claimant is told.
        task = self._supervisor.task(f"order {order_id}", self._carry_out(order_id, written.waiter()))
        self._running[order_id] = task
        self._claimed[user_id, amount] = order_id
        # Once more: a task may end before it begins.
        task.add_done_callback(lambda _: self._ended(order_id, (user_id, amount)))
        await written
        order = self._ledger.books.order(order_id)
        assert order is not None, "a durable claim is in the books"
        return order

    def possible_duplicates(self, user_id: UserId, amount: Money) -> list[Order]:
        """Orders of the user for the same amount that may be what a new one would repeat, the undecided first: those
        whose outcome is not known, and those placed within `REPEATED_WITHIN`. One that came to nothing is none."""
        since = self._clock.now() - REPEATED_WITHIN
        found = {order.id: order for order in self._ledger.books.alike(user_id, amount)}
        if (claimed := self._claimed.get((user_id, amount))) and (order := self._ledger.order(claimed)):
            found[order.id] = order
        near = [
            order
            for order in found.values()
            if order.state in UNDECIDED or (order.created_at >= since and order.state in CAME_TO_BE)
        ]
        return sorted(near, key=lambda order: (order.state in UNDECIDED, order.created_at), reverse=True)

    async def durable(self, order_id: OrderId) -> Order:
        """The order once its claim is durable: until then nobody is shown it. Raises `JournalFailed`."""
        while (order := self._ledger.books.order(order_id)) is None:
            await self._ledger.all_written()
            if (failed := self._ledger.journal.failed) is not None:
                raise JournalFailed(failed.words)
        return order

    async def answered(self, order_id: OrderId) -> None:
        """Return when the order has its answer, or is unknown; while the desk stops, after `LAST_ANSWER` at most."""
        if order_id in self._running:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(order_id, []).append(answer)
            await answer

    def drain(self) -> None:
        """Take nothing new. May be called twice."""
        self.stopping = True
        if self._last_answer is None:
            self._last_answer = asyncio.get_running_loop().call_later(LAST_ANSWER, self._send_home)

    def _send_home(self) -> None:
        for waiting in self._waiting.values():
            _resolve(waiting)

    async def all_answered(self) -> None:
        """Return when no order waits for its answer."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))

    def recover(self) -> list[Fact]:
        """What start-up makes of claims without an answer: they may have been sent, so they are unknown."""
        return [
            self._lost(order, "restart", "The desk stopped before the answer was recorded.")
            for order in self._ledger.books.orders
            if order.state in (OrderState.CLAIMED, OrderState.SENT)
        ]

    def _claimable(self, quote_id: QuoteId, user_id: UserId) -> Quote:
        if self.stopping:
            raise DeskStopping
        if (pause := self._ledger.books.pause) is not None:
            raise DeskPaused(pause.reason)
        status = self._venue.status
        if status.health is VenueHealth.DOWN:
            wait = (status.retry_at - self._clock.now()).total_seconds() if status.retry_at else 0.0
            raise VenueUnavailable(f"{status.words} Nothing was sent.", max(0.0, wait))
        if self._ledger.user(user_id) is None:
            raise NotFound("user", user_id)
        quote = self._ledger.quote(quote_id)
        if quote is None:
            raise NotFound("quote", quote_id)
        match quote.status(self._venue.arrival()):
            case QuoteStatus.ACTIVE:
                return quote
            case QuoteStatus.EXPIRED:
                raise QuoteExpired
            case QuoteStatus.CLAIMED | QuoteStatus.EXECUTED:
                holder = self._ledger.order(quote.order_id) if quote.order_id else None
                undecided = holder is not None and holder.state in UNDECIDED
                raise QuoteTaken(quote.order_id, holder.by if holder else None, undecided=undecided)
            case _ as never:
                assert_never(never)

    async def _taken_for_good(self, quote_id: QuoteId) -> None:
        """Return when the claim that has the quote is durable: until then nobody is shown it, and a crash may yet take
        it back. Raises `JournalFailed` when it has come to nothing."""
        if self._ledger.books.quote(quote_id) is self._ledger.quote(quote_id):
            return
        await self._ledger.all_written()
        if (failed := self._ledger.journal.failed) is not None:
            raise JournalFailed(failed.words)

    async def _carry_out(self, order_id: OrderId, claimed: asyncio.Future[None]) -> None:
        try:
            await self._carried_out(order_id, claimed)
        except JournalFailed:
            if self._ledger.journal.failed is None:
                raise
            # What became of it cannot be written down: the next start treats the claim as unknown.
        finally:
            self._answered(order_id)

    def _ended(self, order_id: OrderId, content: tuple[UserId, Money]) -> None:
        if self._claimed.get(content) == order_id:
            del self._claimed[content]
        self._answered(order_id)

    def _answered(self, order_id: OrderId) -> None:
        self._running.pop(order_id, None)
        _resolve(self._waiting.pop(order_id, ()))

    async def _carried_out(self, order_id: OrderId, claimed: asyncio.Future[None]) -> None:
        try:
            await claimed
            order = self._order(order_id)
            request = OrderRequest(order.quote_id, order.user_id, order.amount.wire)
            outcome = await self._venue.place_order(
                request,
                before=self._quote(order).expires_at,
                last_check=lambda: self._last_check(order_id, request),
            )
        except (QuoteTaken, JournalFailed):
            return  # nothing was sent, and nothing can be written down; the claimant hears of it
        except DeskError as error:
            await self._not_sent_or_lost(order_id, error.words)
        except asyncio.CancelledError:
            await self._not_sent_or_lost(order_id, "The desk stopped.")
            raise
        except Exception as error:
            await self._not_sent_or_lost(order_id, f"The desk failed ({type(error).__name__}).")
            raise
        else:
            await self._ledger.record(*self._learned(self._order(order_id), outcome))

    def _last_check(self, order_id: OrderId, request: OrderRequest) -> None:
        """Run right before the request leaves: is there still time, by the venue's clock? (rule 8)"""
        order = self._order(order_id)
        assert order.state is OrderState.CLAIMED, "sent once"
        if self.stopping:
            raise DeskStopping
        time = self._venue.clock.read()
        if time.uncertainty > VAGUE:
            raise VenueUnavailable("This machine's clock was set just now, and nothing was sent. Try again.")
        if self._venue.arrival(time) >= self._quote(order).expires_at:
            raise QuoteExpired
        # Nobody waits for this: without it the claim says as much. The answer's commit will do for both.
        self._ledger.record_later(OrderSent(self._clock.now(), order_id, order.quote_id, request.body))

    async def _not_sent_or_lost(self, order_id: OrderId, words: str) -> None:
        """The request did not get its answer: withdrawn if it provably never left, unknown otherwise."""
        if self._ledger.journal.failed is not None:
            return  # nothing can be recorded; the next start treats the claim as unknown
        order = self._order(order_id)
        if order.state is OrderState.CLAIMED:
            fact = OrderWithdrawn(self._clock.now(), order_id, order.quote_id, words)
        elif order.state is OrderState.SENT:
            fact = self._lost(order, "interrupted", words)
        else:
            return
        await self._ledger.record(fact)

    def _learned(self, order: Order, outcome: Outcome) -> list[Fact]:
        now = self._clock.now()
        match outcome:
            case Accepted(placed):
                facts: list[Fact] = [OrderAccepted(now, order.id, order.quote_id, placed.id)]
                if placed.status is VenueOrderStatus.COMPLETED:
                    facts.append(OrderCompleted(now, order.id, order.quote_id))
                elif placed.status is VenueOrderStatus.FAILED:
                    facts.append(OrderFailed(now, order.id, order.quote_id))
                if not same_amount(placed.amount, order.amount):
                    facts.append(amount_differs(now, order, placed.amount))
                return facts
            case Refused(status, reasons, leaves_quote_usable=True):
                return [OrderRefused(now, order.id, order.quote_id, status, reasons)]
            case Refused(status, reasons):
                return [
                    RefusalDoubted(
                        now, order.id, order.quote_id, status, reasons, self._conclusive_after(order)
                    )
                ]
            case Unknown(cause, detail):
                return [self._lost(order, cause, detail)]
            case _ as never:
                assert_never(never)

    def _lost(self, order: Order, cause: str, detail: str) -> AnswerLost:
        return AnswerLost(
            self._clock.now(), order.id, order.quote_id, cause, detail, self._conclusive_after(order)
        )

    def _conclusive_after(self, order: Order) -> datetime:
        return self._quote(order).expires_at + self._grace

    def _order(self, order_id: OrderId) -> Order:
        order = self._ledger.order(order_id)
        assert order is not None, "a claimed order is known"
        return order

    def _quote(self, order: Order) -> Quote:
        quote = self._ledger.quote(order.quote_id)
        assert quote is not None, "a claimed quote is known"
        return quote


def _resolve(waiting: Sequence[asyncio.Future[None]]) -> None:
    for answer in waiting:
        if not answer.done():
            answer.set_result(None)


def same_amount(written: str, amount: Money) -> bool:
    """Whether the venue's decimal string is numerically the amount, whatever its zeros."""
    return Decimal(written) == amount.amount


def amount_differs(at: datetime, order: Order, written: str) -> IncidentRaised:
    """The venue holds another amount than was sent."""
    return IncidentRaised(
        at,
        IncidentId(f"amount_differs.{order.id}"),
        IncidentKind.AMOUNT_DIFFERS,
        f"The order was sent for {order.amount.wire} and the exchange holds it for {written}.",
        order.user_id,
        order.quote_id,
        order.id,
    )
