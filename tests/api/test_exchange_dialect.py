"""Habits of programs written for the exchange, each tried at the exchange and at the desk's plain path alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from parallax.web.api.dialect import ROOT, STATUS
from tests.api.support import HOST, KEY, NOWHERE, OTHER_USER, USER, World

PLAIN = f"http://{HOST}{ROOT}"


@dataclass
class Quote:
    """A closed record: one field more or less, and it cannot be made."""

    id: str
    created_at: str
    rate: str
    from_currency: str
    to_currency: str


@pytest.fixture(params=["the exchange", "Parallax"])
async def http(request: pytest.FixtureRequest, world: World) -> AsyncIterator[httpx2.AsyncClient]:
    app, base = (
        (world.sandbox, "http://exchange/api") if request.param == "the exchange" else (world.api, PLAIN)
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url=base, headers={"X-Api-Key": KEY}
    ) as http:
        yield http


@pytest.fixture
async def plain(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """At the desk alone."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(world.api), base_url=PLAIN, headers={"X-Api-Key": KEY}
    ) as http:
        yield http


async def quoted(http: httpx2.AsyncClient) -> str:
    return (await http.post("/quotes")).json()["data"]["id"]


async def ordered(
    http: httpx2.AsyncClient, amount: object = "1.00", *, quote: str = "", user: str = USER
) -> httpx2.Response:
    body = {"quote_id": quote or await quoted(http), "user_id": user, "from_amount": amount}
    return await http.post("/orders", json=body)


async def listed(http: httpx2.AsyncClient, user: str = USER) -> list[dict[str, Any]]:
    return (await http.get(f"/users/{user}/orders")).json()["data"]


async def test_a_closed_record_is_filled_with_a_quote(http: httpx2.AsyncClient) -> None:
    made = await http.post("/quotes", json={"anything": 1})
    assert made.status_code == 201
    quote = Quote(**made.json()["data"])
    assert [Quote(**row) for row in (await http.get("/quotes")).json()["data"]] == [quote]


async def test_an_order_spread_over_ones_own_changes_only_what_the_exchange_says(
    http: httpx2.AsyncClient,
) -> None:
    mine = {"created_at": "mine", "rate": "mine", "note": "mine"}
    quote = await quoted(http)
    order = (await ordered(http, "1.50", quote=quote)).json()["data"]
    spread = {**mine, **order}
    assert {name: spread[name] for name in mine} == mine
    assert set(order) == {"id", "status", "quote_id", "user_id", "from_amount"}
    assert (order["status"], order["quote_id"], order["user_id"]) == ("pending", quote, USER)
    assert order["from_amount"] == "1.50"
    assert (await http.get(f"/orders/{order['id']}")).json() == {"data": order}


async def test_users_come_as_the_exchange_lists_them(http: httpx2.AsyncClient) -> None:
    rows = (await http.get("/users")).json()["data"]
    assert [row["name"] for row in rows] == ["User One", "User Two", "User Three"]
    assert {frozenset(row) for row in rows} == {frozenset({"id", "name", "email"})}


async def test_a_list_that_is_reversed_shows_the_newest_pending_order_first(http: httpx2.AsyncClient) -> None:
    for amount in ("1", "2", "3"):
        await ordered(http, amount)
    orders = await listed(http)
    orders.reverse()
    assert [order["from_amount"] for order in orders] == ["3", "2", "1"]


async def test_every_refusal_has_its_reasons_where_clients_look(http: httpx2.AsyncClient) -> None:
    used = await quoted(http)
    await ordered(http, quote=used)
    for field, answer in (
        ("quote_id", await ordered(http, quote=used)),
        ("quote_id", await ordered(http, quote=NOWHERE)),
        ("user_id", await ordered(http, user=NOWHERE)),
        ("from_amount", await ordered(http, "0")),
        ("from_amount", await ordered(http, "abc")),
    ):
        assert answer.status_code == 422
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        said = answer.json()
        assert said["errors"][field]
        assert said["data"]["errors"] == said["errors"]
    unknown = await http.get(f"/orders/{NOWHERE}")
    assert unknown.status_code == 404
    assert unknown.json()["errors"]


@pytest.mark.parametrize("amount", ["1", "1.5", "1.50", 7, 0.25])
async def test_an_amount_comes_back_digit_for_digit(http: httpx2.AsyncClient, amount: object) -> None:
    order = (await ordered(http, amount)).json()["data"]
    assert str(order["from_amount"]) == str(amount)


async def test_an_amount_that_would_come_back_otherwise_is_refused(
    plain: httpx2.AsyncClient, world: World
) -> None:
    answer = await ordered(plain, "0050.00")
    assert answer.status_code == 422
    assert answer.json()["errors"]["from_amount"]
    assert world.requests == 0


@pytest.mark.parametrize("path", ["//users", "/users/", "/users//"])
async def test_a_slash_too_many_does_no_harm(http: httpx2.AsyncClient, path: str) -> None:
    base = str(http.base_url).rstrip("/")
    assert (await http.get(base + path)).status_code == 200


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
async def test_a_proxy_that_adds_the_key_may_hand_the_browsers_origin_on(
    http: httpx2.AsyncClient, site: str
) -> None:
    headers = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": site}
    assert (await http.post("/quotes", headers=headers)).status_code == 201


async def test_a_page_of_another_site_cannot_send_the_key(world: World) -> None:
    """Without the header it is turned away; with it, its browser asks first, and hears no yes."""
    origin = {"origin": "http://evil.example", "sec_fetch_site": "cross-site"}
    assert (await world.call("POST", f"{ROOT}/quotes", **origin)).status == 403
    asked = await world.call(
        "OPTIONS",
        f"{ROOT}/quotes",
        **origin,
        access_control_request_method="POST",
        access_control_request_headers="x-api-key",
    )
    assert asked.status == 403
    assert "access-control-allow-origin" not in asked.headers


async def test_an_order_without_an_answer_is_pending_and_never_sent_again(
    plain: httpx2.AsyncClient, world: World
) -> None:
    quote = await quoted(plain)
    await world.fault("close", on="order_create", when="before")
    answer = await ordered(plain, quote=quote)
    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "pending")
    assert [order["status"] for order in await listed(plain)] == ["pending"]
    again = await ordered(plain, quote=quote)
    assert again.status_code == 422
    assert world.requests == 1


async def test_a_refused_order_is_422_and_not_listed(plain: httpx2.AsyncClient, world: World) -> None:
    world.refuse({"from_amount": ["is above your limit"]})
    answer = await ordered(plain)
    assert (answer.status_code, answer.json()["errors"]) == (422, {"from_amount": ["is above your limit"]})
    assert await listed(plain) == []


async def test_an_order_keeps_its_id_until_it_has_settled(plain: httpx2.AsyncClient, world: World) -> None:
    order = (await ordered(plain)).json()["data"]
    await world.settled()
    (settled,) = await listed(plain)
    assert settled["id"] == order["id"]
    assert settled["status"] in ("completed", "failed")
    assert (await plain.get(f"/orders/{order['id']}")).json()["data"] == settled
    assert await listed(plain, OTHER_USER) == []


def test_no_state_is_shown_by_a_word_that_the_exchange_lacks() -> None:
    assert set(STATUS.values()) == {"pending", "completed", "failed"}


async def test_a_list_that_was_never_read_is_not_an_empty_one(
    plain: httpx2.AsyncClient, world: World
) -> None:
    await world.fault("close", on="orders")
    answer = await plain.get(f"/users/{USER}/orders")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["errors"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_no_call_is_a_404_or_405_in_the_same_form(
    plain: httpx2.AsyncClient, method: str
) -> None:
    nowhere = await plain.request(method, "/nothing")
    assert (nowhere.status_code, bool(nowhere.json()["errors"])) == (404, True)
    other = await plain.request(method, "/orders")
    assert (other.status_code, bool(other.json()["errors"])) == (405, True)
