"""A venue whose answers a test scripts, with a record of every call; and facts to begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from parallax.domain.entities import User
from parallax.domain.errors import NotFound, VenueUnavailable
from parallax.domain.identity import QuoteId, UserId, VenueOrderId
from parallax.domain.money import Rate, currency
from parallax.ports.venue import (
    Accepted,
    OrderRequest,
    Outcome,
    Purpose,
    VenueHealth,
    VenueOrder,
    VenueOrderStatus,
    VenueQuote,
    VenueStatus,
    VenueTime,
)

Item = TypeVar("Item")

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE, TWO = UserId("user-1"), UserId("user-2")
RATE = Rate(Decimal("54.42"), currency("USD"), currency("PHP"))


class LoopClock:
    """The desk's clock, driven by the loop's time, and adjustable."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic()) + self.shift

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class ScriptedClock:
    """The venue's clock as the desk estimates it: exact, unless a test says otherwise."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self.offset = timedelta()
        self.uncertainty = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self._clock.monotonic()) + self.offset

    def read(self) -> VenueTime:
        return VenueTime(self.now(), self.uncertainty)


class ScriptedVenue:
    """An exchange in a few lines. `answer` decides what an order gets; by default it is accepted and settles when a
    test says so."""

    name = "scripted"

    def __init__(self, clock: LoopClock) -> None:
        self.clock = ScriptedClock(clock)
        self.status = VenueStatus(VenueHealth.WELL, START)
        self.send_margin = timedelta(seconds=1)
        self.calls: list[str] = []
        self.spared: dict[str, int] = {}
        self.sent: list[OrderRequest] = []
        self.user_list = [User(ONE, "User One", "one@example.com"), User(TWO, "User Two", "two@example.com")]
        self.quote_list: list[VenueQuote] = []
        self.order_list: list[VenueOrder] = []
        self.down = False
        self.answer: Callable[[OrderRequest], Awaitable[Outcome]] = self.accept
        self.before_reply: Callable[[], Awaitable[None]] | None = None
        self._made = 0

    # What a test does to the venue

    def quote(self, age: timedelta = timedelta()) -> VenueQuote:
        """A new quote, made `age` ago."""
        self._made += 1
        quote = VenueQuote(QuoteId(f"quote-{self._made}"), RATE, self.clock.now() - age)
        self.quote_list.append(quote)
        return quote

    def place(self, quote_id: str, user_id: str = ONE, amount: str = "100") -> VenueOrder:
        """An order at the venue, as if placed by anyone."""
        self._made += 1
        order = VenueOrder(
            VenueOrderId(f"venue-{self._made}"),
            QuoteId(quote_id),
            UserId(user_id),
            amount,
            VenueOrderStatus.PENDING,
        )
        self.order_list.append(order)
        return order

    def settle(self, quote_id: str, status: VenueOrderStatus = VenueOrderStatus.COMPLETED) -> None:
        """Give every order on a quote a status."""
        self.order_list = [
            VenueOrder(o.id, o.quote_id, o.user_id, o.amount, status) if o.quote_id == quote_id else o
            for o in self.order_list
        ]

    async def accept(self, request: OrderRequest) -> Outcome:
        """The usual answer."""
        return Accepted(self.place(request.quote_id, request.user_id, request.amount))

    # The port

    def on_status(self, callback: Callable[[VenueStatus], None]) -> Callable[[], None]:
        return lambda: None

    def avoided(self, reason: str, calls: int = 1) -> None:
        self.spared[reason] = self.spared.get(reason, 0) + calls

    def arrival(self, time: VenueTime | None = None) -> datetime:
        return (time or self.clock.read()).now + self.send_margin

    async def users(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[User]:
        return await self._read("users", self.user_list)

    async def request_quote(self) -> VenueQuote:
        await self._read("quote", [])
        return self.quote()

    async def quotes(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[VenueQuote]:
        return await self._read("quotes", self.quote_list)

    async def orders(self, user_id: UserId, purpose: Purpose) -> Sequence[VenueOrder]:
        listed = await self._read(f"orders {user_id}", [])
        return listed or [order for order in self.order_list if order.user_id == user_id]

    async def order(self, venue_order_id: VenueOrderId, purpose: Purpose) -> VenueOrder:
        await self._read("order", [])
        for order in self.order_list:
            if order.id == venue_order_id:
                return order
        raise NotFound("order", venue_order_id)

    async def place_order(
        self, request: OrderRequest, *, before: datetime, last_check: Callable[[], None]
    ) -> Outcome:
        await asyncio.sleep(0)
        last_check()
        self.calls.append("place")
        self.sent.append(request)
        return await self.answer(request)

    async def close(self) -> None:
        pass

    async def _read(self, call: str, items: Sequence[Item]) -> Sequence[Item]:
        self.calls.append(call)
        await asyncio.sleep(0.01)
        if self.before_reply is not None:
            await self.before_reply()
        if self.down:
            raise VenueUnavailable("The exchange does not answer.")
        return list(items)
