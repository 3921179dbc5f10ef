"""A venue's wire that does what a test says, and remembers what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

from parallax.domain.entities import User
from parallax.domain.errors import DeskError, VenueBusy, VenueUnavailable
from parallax.domain.identity import QuoteId, UserId, VenueOrderId
from parallax.domain.money import currency, parse_rate
from parallax.ports.venue import (
    Accepted,
    OrderRequest,
    Outcome,
    VenueHealth,
    VenueOrder,
    VenueOrderStatus,
    VenueQuote,
)
from parallax.venues.api import CallFailed, Heard, Reply
from parallax.venues.gateway import Gateway, GatewaySettings
from parallax.venues.meter import MeterSnapshot
from tests.venues.virtual import NOON, VirtualClock

USER = User(UserId("u1"), "User One", "user1@example.com")
REQUEST = OrderRequest(QuoteId("q1"), UserId("u1"), "100.00")
QUOTE = VenueQuote(QuoteId("q1"), parse_rate("54.42", currency("usd"), currency("php")), NOON)
ORDER = VenueOrder(
    VenueOrderId("o1"), REQUEST.quote_id, REQUEST.user_id, REQUEST.amount, VenueOrderStatus.PENDING
)


class ScriptedApi:
    """Each call takes `delay` seconds; `script(call)` may wait, raise, or give a reply instead of the usual one."""

    name = "scripted"

    def __init__(self, delay: float = 0.1) -> None:
        self.delay = delay
        self.calls: list[tuple[float, str]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.closed = False
        self.script: Callable[[str], Awaitable[Any]] | None = None
        self.connecting: Callable[[], Awaitable[None]] | None = None

    def names(self) -> list[str]:
        return [name for _, name in self.calls]

    async def users(self) -> Reply[Sequence[User]]:
        return await self._call("users", [USER])

    async def request_quote(self) -> Reply[VenueQuote]:
        return await self._call("quote", QUOTE)

    async def quotes(self) -> Reply[Sequence[VenueQuote]]:
        return await self._call("quotes", [QUOTE])

    async def orders(self, user_id: UserId) -> Reply[Sequence[VenueOrder]]:
        return await self._call(f"orders {user_id}", [ORDER])

    async def order(self, venue_order_id: VenueOrderId) -> Reply[VenueOrder]:
        return await self._call(f"order {venue_order_id}", ORDER)

    async def connect(self) -> None:
        if self.connecting is not None:
            await self.connecting()

    async def place_order(self, request: OrderRequest) -> Reply[Outcome]:
        return await self._call("send", Accepted(ORDER))

    async def close(self) -> None:
        self.closed = True

    async def _call(self, name: str, value: Any) -> Reply[Any]:
        sent = asyncio.get_running_loop().time()
        self.calls.append((sent, name))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            given = await self.script(name) if self.script else None
            if given is not None:
                return given
            await asyncio.sleep(self.delay)
            return Reply(heard(sent=sent), value)
        finally:
            self.under_way -= 1


def heard(status: int = 200, *, sent: float | None = None, **headers: Any) -> Heard:
    """An answer that arrives now, from a venue whose clock is the desk's."""
    now = asyncio.get_running_loop().time()
    date = format_datetime((NOON + timedelta(seconds=now)).replace(microsecond=0), usegmt=True)
    return Heard(status, now if sent is None else sent, now, now, **{"date": date, **headers})


def answer(status: int, **headers: Any) -> Reply[Any]:
    """An answer to a read that is not a success."""
    error: DeskError = VenueBusy("busy") if status == 429 else VenueUnavailable(f"it said {status}")
    return Reply(heard(status, **headers), error=error)


def lost(cause: str = "connection_lost") -> CallFailed:
    return CallFailed(cause, "The connection was lost.", 0.1)


class House:
    """A gateway over a scripted wire."""

    def __init__(self, delay: float = 0.1, settings: GatewaySettings | None = None, **kwargs: Any) -> None:
        self.api = ScriptedApi(delay)
        self.clock = VirtualClock()
        self.gateway = Gateway(self.api, self.clock, Random(1), settings or GatewaySettings(**kwargs))

    async def send(self, seconds: float = 60.0, last_check: Callable[[], None] = lambda: None) -> Outcome:
        return await self.gateway.place_order(
            REQUEST,
            before=self.gateway.arrival() + timedelta(seconds=seconds),
            last_check=last_check,
        )

    async def becomes(self, health: VenueHealth) -> None:
        """Wait until the status says so."""
        reached = asyncio.Event()
        stop = self.gateway.on_status(lambda status: reached.set() if status.health is health else None)
        if self.gateway.status.health is not health:
            await reached.wait()
        stop()

    async def probe_due(self) -> None:
        """Wait until the breaker would let a probe through, and no longer."""
        down = self.gateway.snapshot().breaker
        assert down is not None
        await asyncio.sleep(down.retry_at - asyncio.get_running_loop().time() + 0.1)

    async def __aenter__(self) -> House:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not {task for task in left if task.get_name().startswith("venue")}


def counted(snapshot: MeterSnapshot, **wanted: str) -> int:
    return sum(
        call.count
        for call in snapshot.calls
        if all(getattr(call, key) == value for key, value in wanted.items())
    )


class Script:
    """Replies or exceptions, one for each call, then the usual answers."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    async def __call__(self, _name: str) -> Any:
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, BaseException):
            raise step
        return step() if callable(step) else step


async def hang(_name: str) -> Any:
    await asyncio.get_running_loop().create_future()
