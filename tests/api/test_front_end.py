"""A front end written for the exchange, in a few lines and unaware of us, works with another base URL and nothing else.

It does what the public ones do: lists users and quotes, asks for quotes with an empty body, orders with a string or a
number, polls each order until it has settled, reads a used quote's 422-or-other as a refusal, and sorts lists itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from parallax.web.api.dialect import ROOT
from tests.api.support import HOST, KEY, USER, World

VALID = timedelta(minutes=5)


class Refused(Exception):
    """The exchange said no."""


class FrontEnd:
    """Knows the exchange's documentation and nothing of Parallax."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def users(self) -> list[tuple[str, str, str]]:
        return [(user["id"], user["name"], user["email"]) for user in await self._get("/users")]

    async def quote(self, **options: Any) -> dict[str, Any]:
        return self._read((await self._http.post("/quotes", **options)), 200, 201)

    async def active_quotes(self) -> list[dict[str, Any]]:
        """It has no `expires_at` to go by: it adds five minutes to a time without a zone, which is UTC."""
        quotes = await self._get("/quotes")
        quotes.sort(key=lambda quote: quote["created_at"], reverse=True)
        return [quote for quote in quotes if self.created(quote) + VALID > datetime.now(UTC)]

    @staticmethod
    def created(quote: dict[str, Any]) -> datetime:
        return datetime.fromisoformat(quote["created_at"] + "Z")

    async def order(self, quote_id: str, user_id: str, amount: str | int) -> dict[str, Any]:
        body = {"quote_id": quote_id, "user_id": user_id, "from_amount": amount}
        return self._read(await self._http.post("/orders", json=body), 200, 201)

    async def settled(self, order_id: str, pause: Callable[[], Awaitable[None]]) -> str:
        while True:
            order = await self._get(f"/orders/{order_id}")
            match order["status"]:
                case "pending":
                    await pause()
                case "completed" | "failed" as status:
                    return status
                case other:
                    raise AssertionError(other)

    async def orders(self, user_id: str) -> list[dict[str, Any]]:
        orders = await self._get(f"/users/{user_id}/orders")
        quotes = {quote["id"]: quote for quote in await self._get("/quotes")}
        return [
            {**order, "result": Decimal(order["from_amount"]) * Decimal(quotes[order["quote_id"]]["rate"])}
            for order in orders
        ]

    async def _get(self, path: str) -> Any:
        return self._read(await self._http.get(path), 200)

    def _read(self, answer: httpx2.Response, *good: int) -> Any:
        body = answer.json()
        if answer.status_code in good:
            return body["data"]
        errors = body.get("errors") or body["data"]["errors"]
        raise Refused("; ".join(f"{field} {text}" for field, texts in errors.items() for text in texts))


@pytest.fixture(params=["the exchange", "Parallax"])
async def front_end(request: pytest.FixtureRequest, world: World) -> Any:
    """The same program in front of the one and of the other."""
    app, base = (
        (world.sandbox, "http://exchange/api")
        if request.param == "the exchange"
        else (world.api, f"http://{HOST}{ROOT}")
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url=base, headers={"X-Api-Key": KEY}
    ) as http:
        yield FrontEnd(http)


async def test_a_front_end_goes_its_whole_way(front_end: FrontEnd, world: World) -> None:
    users = await front_end.users()
    assert (USER, "User One", "user1@example.com") in users
    first = await front_end.quote()
    second = await front_end.quote(json={})
    assert {quote["id"] for quote in await front_end.active_quotes()} == {first["id"], second["id"]}
    assert abs(front_end.created(first) - datetime.now(UTC)) < timedelta(seconds=5)
    order = await front_end.order(first["id"], USER, "100.50")
    assert order["status"] == "pending"
    assert order["from_amount"] == "100.50"
    assert (await front_end.order(second["id"], USER, 7))["from_amount"] in ("7", 7)
    with pytest.raises(Refused, match="quote_id"):
        await front_end.order(first["id"], USER, "1")

    async def settle() -> None:
        await world.settled()
        await asyncio.sleep(0)

    assert await front_end.settled(order["id"], settle) in ("completed", "failed")
    listed = await front_end.orders(USER)
    assert {entry["quote_id"] for entry in listed} == {first["id"], second["id"]}
    assert {entry["result"] for entry in listed} == {
        Decimal("100.50") * Decimal(first["rate"]),
        7 * Decimal(second["rate"]),
    }


async def test_a_front_end_reads_our_refusals_as_it_reads_the_exchanges(front_end: FrontEnd) -> None:
    quote = await front_end.quote()
    with pytest.raises(Refused, match="from_amount"):
        await front_end.order(quote["id"], USER, "0")
    with pytest.raises(Refused, match="from_amount"):
        await front_end.order(quote["id"], USER, "abc")
    with pytest.raises(Refused, match="user_id"):
        await front_end.order(quote["id"], "98e3cf2b-ad84-466f-950d-000000000000", "1")
    with pytest.raises(Refused, match="quote_id"):
        await front_end.order("98e3cf2b-ad84-466f-950d-000000000000", USER, "1")
