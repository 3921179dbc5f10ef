"""One call on its way through the exchange: what faults get hold of, and how a call waits or is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from parallax.sandbox.model import Order, OrderRequest
from parallax.sandbox.refusals import JSON_TYPE

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

KINDS: Final = ("users", "quote_create", "quotes", "order_create", "order", "orders")
"""The six calls of the wire: what faults are aimed at and what is counted."""


class ConnectionDropped(ConnectionError):
    """The exchange closed the connection on this call.

    Over sockets the connection is really closed and nobody sees this. Run in process, it comes out of the
    app, and the client's transport must turn it into the network error its library would have raised.
    """


@dataclass(slots=True)
class Answer:
    """What goes back, and how."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = ()
    sent_share: float = 1.0
    """Below 1: only this share of the body leaves before the connection closes."""
    trickle_seconds: float = 0.0
    """Above 0: the body leaves in pieces over this long."""


@dataclass(slots=True)
class Call:
    """A call under way."""

    kind: str
    target: str
    """The id in the path; empty when there is none."""
    receive: Receive
    connections: Connections
    request: OrderRequest | None = None
    """For `order_create`: the note of it."""
    skew_seconds: float = 0.0
    """How much more the exchange's clock is off for this call."""
    date_skew_seconds: float = 0.0
    """How much more its Date header alone is off."""
    order: Order | None = None
    """The order this call made, once it has."""

    async def pause(self, seconds: float) -> None:
        """Wait, whether or not the client does too. Raises `ConnectionDropped` when the exchange restarts."""
        await self.connections.pause(seconds)

    async def hang(self, seconds: float) -> None:
        """Wait until the client goes or `seconds` have passed; then the connection is closed."""
        await self.connections.pause(seconds, until=self.receive)
        raise ConnectionDropped("hung up after a long silence")


class Connections:
    """All connections of the exchange, so that a restart can drop what is under way."""

    __slots__ = ("_down_until", "_waiting", "starts")

    def __init__(self) -> None:
        self.starts = 1
        """How often the exchange has started."""
        self._down_until: datetime | None = None
        # A dict and not a set: dropped in the order they came, the same in every run.
        self._waiting: dict[asyncio.Future[None], None] = {}

    def restart(self, now: datetime, down_seconds: float = 0.0) -> None:
        """Drop every call under way, and each new one until `down_seconds` have passed. State is kept."""
        self.starts += 1
        self._down_until = now + timedelta(seconds=down_seconds) if down_seconds > 0 else None
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ConnectionDropped("the exchange restarted"))

    def is_down(self, clock: Callable[[], datetime]) -> bool:
        """Whether a call arriving now finds nobody."""
        if self._down_until is not None and clock() >= self._down_until:
            self._down_until = None
        return self._down_until is not None

    @property
    def waiting(self) -> int:
        """How many calls a fault holds up just now."""
        return len(self._waiting)

    async def pause(self, seconds: float, until: Receive | None = None) -> None:
        """Wait `seconds` of the loop's time, or until `until` reports that the client is gone.

        Raises `ConnectionDropped` when the exchange restarts meanwhile.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _finish, over)
        watch = None
        if until is not None:
            watch = loop.create_task(client_gone(until))
            watch.add_done_callback(lambda _: _finish(over))
        self._waiting[over] = None
        try:
            await over
        finally:
            del self._waiting[over]
            timer.cancel()
            if watch is not None:
                watch.cancel()


async def client_gone(receive: Receive) -> None:
    """Return once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
