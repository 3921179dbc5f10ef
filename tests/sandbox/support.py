"""A clock that stands still until moved, and a client that speaks the wire in process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from parallax.sandbox import (
    USER_FIXTURES,
    Exchange,
    InProcess,
    RawAnswer,
    SandboxSettings,
    create_app,
)

KEY = "test-key"
USER, OTHER_USER = USER_FIXTURES[0].id, USER_FIXTURES[1].id
NOWHERE = "00000000-0000-4000-8000-000000000000"


def fixed_rates(from_currency: str, to_currency: str) -> Decimal:
    return Decimal("54.42")


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; fail after a bound far above what anything here takes."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for is a count inside the exchange
            await asyncio.sleep(0.001)


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2030, 1, 31, 23, 59, 58, 750_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Wire:
    """One exchange under a virtual clock, called in process."""

    def __init__(self, *, seed: int = 7, control: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.exchange = Exchange(self.clock, seed, SandboxSettings(**settings), fixed_rates)
        self.app = create_app(self.exchange, KEY, control=control)
        self.calls = InProcess(self.app)

    async def raw(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> RawAnswer:
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = ((b"x-api-key", KEY.encode()),) if headers is None else headers
        return await self.calls.call(method, path, sent, given)

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = await self.raw(method, path, body)
        return answer.status, json.loads(answer.body)

    async def quote(self) -> dict[str, Any]:
        status, document = await self("POST", "/api/quotes")
        assert status in (200, 201)
        return document["data"]

    async def order(self, quote_id: str | None = None, amount: object = "10.50", user: str = USER) -> Any:
        """Place an order (on a new quote) that must be accepted."""
        status, document = await self.try_order(quote_id or (await self.quote())["id"], amount, user)
        assert status in (200, 201), document
        return document["data"]

    async def try_order(self, quote_id: object, amount: object = "10.50", user: object = USER) -> Any:
        body = {"quote_id": quote_id, "user_id": user, "from_amount": amount}
        return await self("POST", "/api/orders", body)

    async def orders(self, user: str = USER) -> list[dict[str, Any]]:
        status, document = await self("GET", f"/api/users/{user}/orders")
        assert status == 200
        return document["data"]

    async def control(self, **fields: object) -> Any:
        status, document = await self("POST", "/_control", fields)
        assert status in (200, 201), document
        return document["data"]
