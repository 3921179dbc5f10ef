"""A whole desk under virtual time: the real desk, gateway and HTTP client on the real sandbox, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import TypeVar

import httpx2
import structlog

from parallax.desk.desk import Desk
from parallax.domain.identity import OrderId, UserId
from parallax.domain.money import parse_amount
from parallax.journal.memory import MemoryJournal
from parallax.ports.journal import Recorded
from parallax.sandbox import Exchange, InProcess, SandboxSettings, create_app
from parallax.venues.budget import Limits
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway, GatewaySettings
from parallax.venues.http import Answer, Head, Transport
from simulation.loop import SimulatedLoop

T = TypeVar("T")

MAX_STEPS = 50_000_000
"""Callbacks of one scenario: a thousand orders for minutes take a few million."""

KEY = "bench"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class LoopClock:
    """The desk's clock: the loop's time."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Network(Transport):
    """Every call takes 20 to 60 ms there and back; `hanging` ones take for ever."""

    def __init__(self, way: InProcess, random: Random) -> None:
        self._way = way
        self._random = random
        self.hanging = False

    async def send(self, head: Head, body: bytes = b"") -> Answer:
        await asyncio.sleep(self._random.uniform(0.01, 0.03))
        if self.hanging:
            await asyncio.Event().wait()
        headers = [(name.lower(), value) for name, value in head.headers]
        try:
            answer = await self._way.call(head.method, head.target, body, headers)
        except ConnectionError as error:
            raise httpx2.ReadError(str(error)) from None
        await asyncio.sleep(self._random.uniform(0.01, 0.03))
        return Answer(answer.status, answer.headers, answer.body)


@dataclass
class World:
    """A desk on a sandbox, with a note of when each order settled there and was shown here."""

    seed: int = 0
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    limits: Limits = field(default_factory=lambda: Limits(calls_per_second=1_000, burst=1_000, queue=10_000))

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.clock = LoopClock()
        self.exchange = Exchange(
            self.clock.now, self.seed, self.sandbox, rates=lambda _, __: Decimal("54.42")
        )
        self.network = Network(InProcess(create_app(self.exchange, KEY)), self.random)
        self.gateway = Gateway(
            ExchangeApi("http://sandbox/api", KEY, transport=self.network),
            self.clock,
            Random(self.seed + 1),
            GatewaySettings(limits=self.limits),
        )
        ids = count(1)
        self.desk = Desk(
            journal=MemoryJournal(hashed=False),
            venue=self.gateway,
            clock=self.clock,
            random=Random(self.seed + 2),
            new_id=lambda: f"order-{next(ids)}",
            version="bench",
        )
        self.shown: dict[OrderId, datetime] = {}
        self._waiting: dict[OrderId, asyncio.Event] = {}
        self.users = [UserId(user_id) for user_id in self.exchange.users]

    async def start(self) -> None:
        """Start the desk and let it read its lists."""
        await self.desk.start()
        self.desk.feed.hook(self._note)
        await asyncio.sleep(1)

    async def order(self, user: int = 0) -> OrderId:
        """Quote and execute for a user."""
        quote = await self.desk.request_quote("bench")
        amount = parse_amount("100", quote.rate.from_currency)
        return (await self.desk.execute(quote.id, self.users[user], amount, "bench")).id

    async def until_settled(self, order_id: OrderId) -> None:
        """Wait until one order has settled here."""
        order = self.desk.books.order(order_id)
        if order is not None and not order.state.settled:
            await self._waiting.setdefault(order_id, asyncio.Event()).wait()

    async def settled(self) -> None:
        """Wait until every order placed has settled here."""
        with self.desk.feed.subscribe() as news:
            while self.desk.books.open_count:
                await news.next()

    def delays(self) -> list[float]:
        """Seconds from an order's settling at the exchange to its being shown here."""
        result: list[float] = []
        for order_id, shown in self.shown.items():
            order = self.desk.books.order(order_id)
            assert order is not None
            assert order.venue_order_id is not None
            settled_at, _ = self.exchange.orders[order.venue_order_id].life[-1]
            result.append((shown - settled_at).total_seconds())
        return result

    def calls(self) -> dict[str, int]:
        """Calls that reached the exchange, by kind."""
        return dict(self.exchange.stats.calls)

    def _note(self, records: Sequence[Recorded]) -> None:
        for record in records:
            order = record.change.order
            if order is not None and order.state.settled:
                self.shown.setdefault(order.id, self.clock.now())
                if (waiting := self._waiting.pop(order.id, None)) is not None:
                    waiting.set()


def play(scenario: Callable[[], Awaitable[T]], seed: int = 0) -> T:
    """Run a scenario under virtual time."""
    loop = SimulatedLoop(Random(seed), max_steps=MAX_STEPS)
    with _quiet():
        try:
            return loop.run_until_complete(scenario())
        finally:
            loop.close()


@contextmanager
def _quiet() -> Generator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()
