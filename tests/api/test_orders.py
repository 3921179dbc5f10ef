"""What whoever places an order is told: accepted, unknown, refused, taken, expired, held back."""

from __future__ import annotations

import asyncio

import pytest

from parallax.domain.errors import VenueUnavailable
from tests.api.support import NOWHERE, OTHER_USER, USER, World


async def test_an_order_without_an_answer_is_202_unknown_and_says_where_to_look(world: World) -> None:
    await world.fault("close", on="order_create", when="after", times=1)
    got = await world.order()
    assert got.status == 202
    assert (got.data["status"], got.data["state"]) == ("unknown", "unknown")
    assert got.data["reasons"] == ["connection_lost"]
    assert got.headers["retry-after"]
    assert got.headers["location"] == got.json["links"]["order"]
    assert got.json["links"]["orders"] == f"/api/users/{USER}/orders"
    await world.settled()
    found = await world.call("GET", got.headers["location"])
    assert found.data["status"] in ("completed", "failed")
    assert world.requests == 1


async def test_a_second_order_on_a_quote_is_409_and_names_the_first(world: World) -> None:
    quote = await world.quote()
    first = await world.order(quote["id"])
    second = await world.order(quote["id"], user=OTHER_USER)
    assert second.status == 409
    problem = second.json
    assert (problem["code"], problem["retry"]) == ("quote_taken", False)
    assert (problem["order_id"], problem["by"]) == (first.data["id"], "api")
    assert problem["errors"]["quote_id"]
    assert world.requests == 1


async def test_a_thousand_orders_on_one_quote_send_one_request_and_all_are_told_the_truth(
    world: World,
) -> None:
    quote = await world.quote()
    answers = await asyncio.gather(*(world.order(quote["id"]) for _ in range(1_000)))
    placed = [got for got in answers if got.status == 201]
    assert len(placed) == world.requests == 1
    taken = [got.json for got in answers if got.status == 409]
    assert len(taken) == 999
    assert {problem["order_id"] for problem in taken} == {placed[0].data["id"]}


async def test_an_expired_quote_is_410_and_nothing_is_sent(world: World) -> None:
    world.exchange.create_quote(age_seconds=301)
    await world.desk.refresh("quotes")
    quote = (await world.call("GET", "/api/quotes")).data[0]
    assert quote["status"] == "expired"
    got = await world.order(quote["id"])
    assert (got.status, got.json["code"]) == (410, "quote_expired")
    assert got.json["errors"]["quote_id"]
    assert world.requests == 0


async def test_a_refusal_of_the_amount_is_422_with_the_exchanges_reasons_and_frees_the_quote(
    world: World,
) -> None:
    quote = await world.quote()
    accept = world.exchange.place_order
    world.refuse({"from_amount": ["is above your limit"]})
    got = await world.order(quote["id"])
    assert (got.status, got.json["code"]) == (422, "order_refused")
    assert got.json["errors"] == {"from_amount": ["is above your limit"]}
    assert got.json["reasons"] == ["from_amount: is above your limit"]
    world.exchange.place_order = accept
    assert (await world.order(quote["id"], "10")).status == 201


@pytest.mark.parametrize(
    "why", ["The exchange cannot be reached.", "There is no room, and nothing was sent."]
)
async def test_an_order_that_was_held_back_says_once_that_nothing_was_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    quote = await world.quote()

    async def held_back(*_: object, **__: object) -> object:
        raise VenueUnavailable(why)

    monkeypatch.setattr(world.gateway, "place_order", held_back)
    got = await world.order(quote["id"])
    assert (got.status, got.json["code"]) == (503, "order_withdrawn")
    assert got.json["detail"].lower().count("nothing was sent") == 1
    assert why in got.json["detail"]


async def test_orders_that_never_came_to_be_are_listed_only_when_asked_for(world: World) -> None:
    world.refuse({"from_amount": ["is above your limit"]})
    refused = (await world.order()).json["order_id"]
    path = f"/api/users/{USER}/orders"
    assert (await world.call("GET", path)).data == []
    assert [order["id"] for order in (await world.call("GET", f"{path}?status=all")).data] == [refused]
    assert (await world.call("GET", f"{path}?status=refused")).data[0]["reasons"]
    assert (await world.call("GET", f"/api/orders/{refused}")).data["status"] == "refused"


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_refusal_of_the_desk_itself_is_503_and_may_pass(world: World, status: int) -> None:
    quote = await world.quote()
    world.refuse({"api_key": ["is not valid"]}, status)
    got = await world.order(quote["id"])
    assert (got.status, got.json["code"], got.json["retry"]) == (503, "desk_turned_away", True)
    assert got.headers["retry-after"]
    assert (await world.call("GET", f"/api/quotes/{quote['id']}")).data["status"] == "active"


async def test_what_is_said_of_the_request_as_a_whole_is_said_plainly(world: World) -> None:
    world.refuse({"detail": ["too many requests"]}, 429)
    got = await world.order()
    assert got.json["errors"] == {"detail": ["too many requests"]}
    assert got.json["detail"].endswith("nothing was exchanged. too many requests")


async def test_a_quote_that_was_used_elsewhere_is_unknown_until_the_lists_have_proven_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallax.desk.desk.DOUBT_PATIENCE", 0.05)
    quote = await world.quote()
    world.exchange.place_elsewhere(OTHER_USER, "5", quote["id"])
    got = await world.order(quote["id"])
    assert (got.status, got.data["status"]) == (202, "unknown")
    assert got.data["reasons"]
    theirs = await world.call("GET", f"/api/users/{OTHER_USER}/orders")
    assert [order["quote_id"] for order in theirs.data] == [quote["id"]]
    assert theirs.data[0]["by"] == ""


async def test_a_paused_desk_is_503_with_the_reason(world: World) -> None:
    quote = await world.quote()
    await world.desk.pause("Month-end close.", "operator")
    got = await world.order(quote["id"])
    assert (got.status, got.json["code"]) == (503, "desk_paused")
    assert "Month-end close." in got.json["detail"]
    assert got.headers["retry-after"]
    status = (await world.call("GET", "/api/status")).data
    assert status["paused"]["reason"] == "Month-end close."


async def test_an_exchange_that_is_down_is_503_with_retry_after(world: World) -> None:
    quote = await world.quote()
    await world.fault("status", status=503)
    for _ in range(10):
        got = await world.call("POST", "/api/quotes")
        assert (got.status, got.json["code"]) == (503, "venue_unavailable")
        assert got.headers["retry-after"]
    refused = await world.order(quote["id"])
    assert (refused.status, refused.json["retry"]) == (503, True)
    assert world.requests == 0
    assert (await world.call("GET", "/api/users")).status == 200


async def test_a_stopping_desk_takes_nothing_new(world: World) -> None:
    quote = await world.quote()
    world.desk.drain()
    for got in (await world.order(quote["id"]), await world.call("POST", "/api/quotes")):
        assert (got.status, got.json["code"]) == (503, "desk_stopping")
    assert (await world.call("GET", f"/api/quotes/{quote['id']}")).status == 200


@pytest.mark.parametrize(
    ("quote_id", "user_id", "field"),
    [(NOWHERE, USER, "quote_id"), (None, NOWHERE, "user_id")],
)
async def test_an_order_for_what_is_not_known_is_404_and_names_the_field(
    world: World, quote_id: str | None, user_id: str, field: str
) -> None:
    got = await world.order(quote_id or "", user=user_id)
    assert (got.status, got.json["code"]) == (404, "not_found")
    assert got.json["errors"][field]


async def test_every_missing_field_is_named_at_once(world: World) -> None:
    got = await world.call("POST", "/api/orders", {})
    assert got.status == 422
    assert set(got.json["errors"]) == {"quote_id", "user_id", "from_amount"}


async def test_a_client_that_leaves_does_not_take_its_order_back(world: World) -> None:
    quote = await world.quote()
    await world.fault("delay", on="order_create", seconds=0.2, when="after", times=1)
    asked = asyncio.create_task(world.order(quote["id"], Idempotency_Key="gone"))
    with world.desk.feed.subscribe(lambda change: change.order is not None) as news:
        await news.next()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    got = await world.order(quote["id"], Idempotency_Key="gone")
    assert got.status == 201
    assert got.headers["idempotency-replayed"] == "true"
    assert world.requests == 1
