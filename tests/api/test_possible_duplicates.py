"""An order that may be the same one again: programs are told of the other, and may ask not to be given it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.api.support import OTHER_USER, World


async def test_the_answer_names_an_order_for_the_same_placed_a_moment_ago(world: World) -> None:
    first = await world.order()
    assert first.data["possible_duplicate_of"] is None
    second = await world.order()
    assert second.data["possible_duplicate_of"] == first.data["id"]
    assert "possible_duplicate_of" not in (await world.call("GET", second.headers["location"])).data
    assert (await world.order(amount="100.51")).data["possible_duplicate_of"] is None
    assert (await world.order(user=OTHER_USER)).data["possible_duplicate_of"] is None
    assert (await world.order(amount="100.5")).data["possible_duplicate_of"] == second.data["id"]


async def test_after_a_minute_only_an_undecided_order_is_named(world: World) -> None:
    await world.fault("close", on="order_create", when="before", times=1)
    unknown = await world.order(amount="1")
    assert unknown.status == 202
    await world.order(amount="2")
    today = world.clock.now
    world.clock.now = lambda: today() + timedelta(seconds=61)
    again = await world.order(amount="1")
    assert again.data["possible_duplicate_of"] == unknown.data["id"]
    assert (await world.order(amount="2")).data["possible_duplicate_of"] is None


async def test_with_unless_unknown_nothing_is_sent(world: World) -> None:
    await world.fault("close", on="order_create", when="before", times=1)
    unknown = await world.order()
    sent = world.requests
    refused = await world.order(unless_unknown=True)
    assert (refused.status, refused.json["code"]) == (409, "possible_duplicate")
    assert refused.json["order_id"] == unknown.data["id"]
    assert world.requests == sent
    assert (await world.order(amount="7", unless_unknown=True)).status == 201
    assert (await world.order(unless_unknown="yes")).status == 422


async def test_an_order_that_came_to_nothing_is_no_duplicate(world: World) -> None:
    accept = world.exchange.place_order
    world.refuse({"from_amount": ["is above your limit"]})
    assert (await world.order()).status == 422
    world.exchange.place_order = accept
    placed = await world.order(unless_unknown=True)
    assert (placed.status, placed.data["possible_duplicate_of"]) == (201, None)


async def test_of_two_at_once_one_is_placed(world: World) -> None:
    quotes = [(await world.quote())["id"] for _ in range(2)]
    got = await asyncio.gather(*(world.order(quote, unless_unknown=True) for quote in quotes))
    assert sorted(one.status for one in got) == [201, 409]
    assert world.requests == 1
