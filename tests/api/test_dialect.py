"""What a program written for the exchange relies on: the calls, the envelope, the field names, the decimal strings."""

from __future__ import annotations

import re

import pytest

from tests.api.support import NOWHERE, OTHER_USER, USER, World

NAIVE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")


async def test_users_are_listed_with_the_exchanges_three_fields(world: World) -> None:
    got = await world.call("GET", "/api/users", x_api_key="whatever")
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert {"id": USER, "name": "User One", "email": "user1@example.com"} in got.data


@pytest.mark.parametrize("body", [b"", b"{}", b"  {} ", b'{"anything": [1, 2]}', b"null", b"[]"])
async def test_a_quote_is_made_without_a_body_or_with_an_empty_one(world: World, body: bytes) -> None:
    got = await world.call("POST", "/api/quotes", body)
    assert got.status == 201
    quote = got.data
    assert NAIVE.fullmatch(quote["created_at"])
    assert (quote["rate"], quote["from_currency"], quote["to_currency"]) == ("54.42", "usd", "php")
    assert (quote["status"], quote["order_id"]) == ("active", None)
    assert quote["expires_at"].endswith("Z")
    assert got.headers["location"] == f"/api/quotes/{quote['id']}"
    assert (await world.call("GET", f"/api/quotes/{quote['id']}")).data == quote


@pytest.mark.parametrize("body", [b"[1]", b'"{}"', b"0", b"{", b"true"])
async def test_a_quote_is_not_made_for_a_body_that_says_something_else(world: World, body: bytes) -> None:
    got = await world.call("POST", "/api/quotes", body)
    assert got.status == (400 if body == b"{" else 422)
    assert len(world.exchange.quotes) == 0


async def test_an_order_goes_from_pending_to_settled_under_the_exchanges_words(world: World) -> None:
    quote = await world.quote()
    got = await world.order(quote["id"])
    assert got.status == 201
    order = got.data
    assert order["status"] == "pending"
    assert (order["quote_id"], order["user_id"], order["from_amount"]) == (quote["id"], USER, "100.50")
    assert (order["to_amount"], order["rate"], order["to_currency"]) == ("5469.21", "54.42", "php")
    assert got.headers["location"] == f"/api/orders/{order['id']}"
    await world.settled()
    here = (await world.call("GET", f"/api/orders/{order['id']}")).data
    there = (await world.call("GET", f"/api/orders/{order['venue_order_id']}")).data
    assert here == there
    assert here["status"] in ("completed", "failed")
    assert here["settled_at"]
    assert (await world.call("GET", f"/api/quotes/{quote['id']}")).data["status"] == "executed"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('"100"', "100"),
        ('"100.50"', "100.50"),
        ("100", "100"),
        ("100.50", "100.50"),
        ("0.1", "0.1"),
        ("123456789012345.67", "123456789012345.67"),
    ],
)
async def test_an_amount_keeps_its_digits_as_a_string_and_as_a_number(
    world: World, written: str, kept: str
) -> None:
    quote = await world.quote()
    body = f'{{"quote_id": "{quote["id"]}", "user_id": "{USER}", "from_amount": {written}}}'
    got = await world.call("POST", "/api/orders", body.encode())
    assert world.exchange.requests[-1].from_amount == kept
    assert got.json.get("data", {}).get("from_amount", kept) == kept


@pytest.mark.parametrize(
    "amount", ["0", "-5", "1.234", "1e3", "NaN", "Infinity", "", " 1", "1,000", "9" * 16, "9" * 5000, "٣"]
)
async def test_a_bad_amount_is_refused_in_the_exchanges_shape_and_nothing_is_sent(
    world: World, amount: str
) -> None:
    got = await world.order(amount=amount)
    assert got.status == 422
    assert got.json["code"] == "amount_invalid"
    assert got.json["errors"]["from_amount"]
    assert world.requests == 0


@pytest.mark.parametrize("literal", ["-5", "0", "1e3", "1.5E2", "0.001", "1234567890123456"])
async def test_a_number_is_judged_by_its_digits_and_not_by_a_float(world: World, literal: str) -> None:
    quote = await world.quote()
    body = f'{{"quote_id":"{quote["id"]}","user_id":"{USER}","from_amount":{literal}}}'
    got = await world.call("POST", "/api/orders", body.encode())
    assert (got.status, got.json["code"]) == (422, "amount_invalid")


async def test_lists_without_parameters_are_whole_and_wrapped_in_data_alone(world: World) -> None:
    quotes = [await world.quote() for _ in range(5)]
    placed = [(await world.order(quote["id"])).data for quote in quotes[:3]]
    listed = (await world.call("GET", "/api/quotes")).json
    assert list(listed) == ["data"]
    assert {quote["id"] for quote in listed["data"]} == {quote["id"] for quote in quotes}
    orders = (await world.call("GET", f"/api/users/{USER}/orders")).json
    assert list(orders) == ["data"]
    assert {order["id"] for order in orders["data"]} == {order["id"] for order in placed}
    assert (await world.call("GET", f"/api/users/{OTHER_USER}/orders")).json == {"data": []}


async def test_a_list_has_a_length_as_simple_clients_need_it(world: World) -> None:
    got = await world.call("GET", "/api/quotes")
    assert got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "path",
    [
        f"/api/quotes/{NOWHERE}",
        f"/api/orders/{NOWHERE}",
        f"/api/users/{NOWHERE}/orders",
        "/api/quotes/%00",
        "/api/orders/../users",
        "/api/users//orders",
        "/api/nothing",
        "/api/quotes/",
        "/api/",
        "/api//",
        "/api",
    ],
)
async def test_what_is_not_there_is_a_404_problem(world: World, path: str) -> None:
    assert world.calls.serves(world.client.scope("GET", path)), "the pages have nothing to do with it"
    got = await world.call("GET", path)
    assert got.status == 404
    assert got.headers["content-type"] == "application/problem+json"
    problem = got.json
    assert problem["status"] == 404
    assert problem["code"] in ("not_found", "no_such_call")
    assert problem["errors"]


async def test_a_base_url_with_a_slash_at_its_end_leads_to_the_same_calls(world: World) -> None:
    quote = await world.quote()
    assert (await world.call("GET", f"/api//quotes/{quote['id']}")).data == quote
    body = {"quote_id": quote["id"], "user_id": USER, "from_amount": "1"}
    placed = await world.call("POST", "/api/orders", body, idempotency_key="k")
    again = await world.call("POST", "/api//orders", body, idempotency_key="k")
    assert (again.status, again.data["id"]) == (201, placed.data["id"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/quotes", "GET, POST"),
        ("PUT", "/api/orders", "GET, POST"),
        ("POST", "/api/users", "GET"),
        ("PATCH", "/api/quotes/q", "GET"),
        ("OPTIONS", "/api/orders", "GET, POST"),
    ],
)
async def test_a_method_that_a_call_does_not_take_is_a_405(
    world: World, method: str, path: str, allow: str
) -> None:
    got = await world.call(method, path)
    assert (got.status, got.headers["allow"]) == (405, allow)
