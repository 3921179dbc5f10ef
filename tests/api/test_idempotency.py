"""A program may repeat a request under its key, whatever happened to the first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest

from parallax.domain.entities import Order
from parallax.domain.errors import KeyReused, VenueUnavailable
from parallax.domain.identity import QuoteId, UserId
from parallax.domain.money import Money, currency
from parallax.journal.memory import MemoryDisk
from tests.api.support import OTHER_USER, USER, World

KEY = "4c1f6a0e-6d0c-4f7e-9d57-0c8e1d7f5b42"


async def test_the_same_key_and_body_get_the_first_answer_again(world: World) -> None:
    quote = await world.quote()
    first = await world.order(quote["id"], Idempotency_Key=KEY)
    await world.settled()
    second = await world.order(quote["id"], Idempotency_Key=KEY)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["location"] == first.headers["location"]
    assert world.requests == 1


async def test_a_quote_is_asked_for_once_under_a_key(world: World) -> None:
    answers = [await world.call("POST", "/api/quotes", Idempotency_Key=KEY) for _ in range(3)]
    assert len({got.body for got in answers}) == 1
    assert len(world.exchange.quotes) == 1


@pytest.mark.parametrize("amount", ["100.51", "100.5"])
async def test_the_same_key_with_another_body_is_422_and_nothing_is_done(world: World, amount: str) -> None:
    quote, other = await world.quote(), await world.quote()
    await world.order(quote["id"], Idempotency_Key=KEY)
    for got in (
        await world.order(quote["id"], amount, Idempotency_Key=KEY),
        await world.order(other["id"], Idempotency_Key=KEY),
        await world.call("POST", "/api/quotes", Idempotency_Key=KEY),
    ):
        assert (got.status, got.json["code"]) == (422, "idempotency_key_reused")
    assert world.requests == 1


async def test_requests_at_the_same_moment_under_one_key_are_one(world: World) -> None:
    quote = await world.quote()
    await world.fault("delay", on="order_create", seconds=0.05, when="after")
    answers = await asyncio.gather(*(world.order(quote["id"], Idempotency_Key=KEY) for _ in range(50)))
    assert {(got.status, got.body) for got in answers} == {(201, answers[0].body)}
    assert sum("idempotency-replayed" not in got.headers for got in answers) == 1
    assert world.requests == 1
    other = await world.order(quote["id"], "7", Idempotency_Key=KEY)
    assert other.status == 422


async def test_a_refusal_that_did_nothing_is_not_kept(world: World) -> None:
    quote = await world.quote()
    for _ in range(2):
        got = await world.order(quote["id"], "-1", Idempotency_Key=KEY)
        assert (got.status, "idempotency-replayed" in got.headers) == (422, False)
    assert await world.desk.recall(KEY) is None
    got = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (got.status, world.requests) == (201, 1)


async def test_a_refusal_by_the_exchange_is_answered_the_same_again(world: World) -> None:
    quote = await world.quote()
    world.refuse({"from_amount": ["is above your limit"]})
    first = await world.order(quote["id"], Idempotency_Key=KEY)
    second = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (first.status, first.json["code"]) == (422, "order_refused")
    assert (second.status, second.headers["idempotency-replayed"]) == (422, "true")
    assert second.json == first.json
    other = await world.order(quote["id"], "7", Idempotency_Key=KEY)
    assert (other.status, world.requests) == (422, 1)


async def test_what_may_pass_is_not_kept_and_tried_anew(world: World) -> None:
    quote = await world.quote()
    await world.desk.pause("A drill.", "operator")
    assert (await world.order(quote["id"], Idempotency_Key=KEY)).status == 503
    await world.desk.resume("operator")
    got = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (got.status, "idempotency-replayed" in got.headers) == (201, False)


async def test_an_unknown_order_is_answered_the_same_again(world: World) -> None:
    quote = await world.quote()
    await world.fault("close", on="order_create", when="after", times=1)
    first = await world.order(quote["id"], Idempotency_Key=KEY)
    await world.settled()
    second = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (second.status, second.body) == (202, first.body)
    assert world.requests == 1


async def test_answers_are_kept_over_restarts_and_for_a_day(world: World) -> None:
    quote = await world.quote()
    first = await world.order(quote["id"], Idempotency_Key=KEY)
    await world.desk.stop()
    await world.open()
    again = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (again.status, again.body) == (201, first.body)
    today = world.desk.now
    world.desk.now = lambda: today() + timedelta(hours=24, seconds=1)
    late = await world.order(quote["id"], "5", Idempotency_Key=KEY)
    assert (late.status, late.json["code"], late.json["order_id"]) == (409, "key_reused", first.data["id"])
    assert world.requests == 1


async def test_a_crash_between_claim_and_answer_never_places_a_second_order(world: World) -> None:
    """Killed while the exchange has the order and nobody has its answer: the claim knows whose it is."""
    quote = await world.quote()
    await world.fault("delay", on="order_create", seconds=0.5, when="after", times=1)
    lost = asyncio.create_task(world.order(quote["id"], Idempotency_Key=KEY))
    with world.desk.feed.subscribe(lambda change: change.order is not None) as news:
        await news.next()
    left_behind = MemoryDisk()
    left_behind.sync(list(world.disk.load()), lambda: None)
    after = World(disk=left_behind)
    after.exchange, after.sandbox = world.exchange, world.sandbox
    await after.open()
    try:
        stranger = await after.order(quote["id"])
        assert (stranger.status, stranger.json["code"]) == (409, "quote_taken")
        mine = await after.order(quote["id"], Idempotency_Key=KEY)
        assert mine.status in (201, 202)
        assert mine.headers["idempotency-replayed"] == "true"
        assert mine.data["id"] == stranger.json["order_id"]
        other = await after.order(quote["id"], Idempotency_Key="another key")
        assert other.status == 409
        again = await after.order(quote["id"], Idempotency_Key=KEY)
        assert (again.status, again.body) == (mine.status, mine.body)
        await after.settled()
        assert (await after.call("GET", mine.headers["location"])).data["status"] in ("completed", "failed")
        assert world.requests == 1
    finally:
        await after.close()
        await asyncio.gather(lost, return_exceptions=True)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "schlüssel"])
async def test_a_key_that_cannot_be_one_is_422(world: World, key: str) -> None:
    got = await world.order(Idempotency_Key=key)
    assert (got.status, got.json["code"]) == (422, "request_invalid")
    assert got.json["errors"]["Idempotency-Key"]
    assert world.requests == 0


async def test_who_placed_an_order_does_not_tell_the_key(world: World) -> None:
    got = await world.order(Idempotency_Key=KEY)
    assert got.data["by"] == "api"
    assert KEY not in got.body.decode()
    assert got.data["user_id"] == USER


async def test_an_order_is_found_by_its_key_and_by_no_other(world: World) -> None:
    placed = (await world.order(Idempotency_Key=KEY)).data
    (found,) = (await world.call("GET", f"/api/orders?idempotency_key={KEY}")).data
    assert found["id"] == placed["id"]
    assert (await world.call("GET", "/api/orders?idempotency_key=another")).data == []
    assert (await world.call("GET", "/api/orders?idempotency_key=")).status == 422
    assert await world.desk.order_by_key(KEY) is None, "the way in is part of the key"


async def test_a_key_gives_its_order_for_ever_and_for_the_same_request_alone(world: World) -> None:
    quote, amount = (await world.quote())["id"], Money(Decimal(5), currency("USD"))
    place = partial(world.desk.execute, key="k")
    first = await place(QuoteId(quote), UserId(USER), amount, "program")
    assert (await place(QuoteId(quote), UserId(USER), amount, "program")).id == first.id
    other = QuoteId((await world.quote())["id"])
    for changed in (
        (other, UserId(USER), amount),
        (QuoteId(quote), UserId(OTHER_USER), amount),
        (QuoteId(quote), UserId(USER), Money(Decimal(6), amount.currency)),
    ):
        with pytest.raises(KeyReused) as reused:
            await place(*changed, "program")
        assert reused.value.order_id == first.id
    assert world.requests == 1


async def test_many_requests_under_one_key_at_once_are_one_order(world: World) -> None:
    amount = Money(Decimal(5), currency("USD"))
    quotes = [QuoteId((await world.quote())["id"]) for _ in range(3)]
    ended = await asyncio.gather(
        *(world.desk.execute(quote, UserId(USER), amount, "program", key="k") for quote in quotes * 4),
        return_exceptions=True,
    )
    placed = {one.id for one in ended if isinstance(one, Order)}
    assert len(placed) == 1
    assert {one.order_id for one in ended if isinstance(one, KeyReused)} == placed
    assert world.requests == 1


async def test_an_order_that_was_withdrawn_may_be_tried_again_under_its_key(world: World) -> None:
    quote = await world.quote()
    stop = world.gateway.place_order

    async def held_back(*_: object, **__: object) -> object:
        raise VenueUnavailable("No room.")

    world.gateway.place_order = held_back  # type: ignore[method-assign]
    first = await world.order(quote["id"], Idempotency_Key=KEY)
    assert (first.status, first.json["code"]) == (503, "order_withdrawn")
    world.gateway.place_order = stop
    second = await world.order(quote["id"], Idempotency_Key=KEY)
    assert second.status == 201
    (found,) = (await world.call("GET", f"/api/orders?idempotency_key={KEY}")).data
    assert found["id"] == second.data["id"] != first.json["order_id"]
