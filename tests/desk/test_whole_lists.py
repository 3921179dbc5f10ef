"""Absence is concluded from a list that is known to be whole, and from no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from parallax.desk.desk import Desk
from parallax.domain.entities import Order
from parallax.domain.identity import OrderId, UserId
from parallax.domain.transitions import OrderState
from parallax.ports.venue import (
    Listing,
    OrderRequest,
    Outcome,
    Purpose,
    Unknown,
    VenueOrder,
    VenueOrderStatus,
)
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE

Play = Callable[[Any], Any]
Shown = Callable[[Sequence[VenueOrder]], Sequence[VenueOrder]]
LONG = 700
"""Seconds after which an order without an answer is proven absent, where that can be proven at all."""


def show(world: World, shown: Shown) -> None:
    """Have the venue list orders otherwise."""
    usual = world.venue.orders

    async def orders(user_id: UserId, purpose: Purpose) -> Sequence[VenueOrder]:
        return shown(await usual(user_id, purpose))

    world.venue.orders = orders


async def settled(world: World, desk: Desk, count: int) -> None:
    """Place orders and have them settle."""
    for n in range(count):
        quote = await world.quote(desk)
        await desk.execute(quote.id, ONE, usd(str(n + 1)), "page")
        world.venue.settle(quote.id)
    await asyncio.sleep(60)


async def lost(world: World, desk: Desk) -> Order:
    """An order of which nothing is heard."""

    async def answer(_: OrderRequest) -> Outcome:
        return Unknown("timeout", "no answer")

    quote = await world.quote(desk)
    usual, world.venue.answer = world.venue.answer, answer
    order = await desk.execute(quote.id, ONE, usd("77"), "page")
    world.venue.answer = usual
    return order


@pytest.mark.parametrize(
    ("count", "shown", "why"),
    [
        (0, lambda rows: Listing(rows, "it says that it goes on"), "goes on"),
        (3, lambda rows: rows[:2], "which has settled"),
        (3, lambda rows: rows[1:], "which has settled"),
        (3, lambda rows: [], "which has settled"),
        (10, list, "10 rows may be a full page"),
        (25, list, "25 rows may be a full page"),
        (9, lambda rows: [*rows, rows[0]], "10 rows may be a full page"),
    ],
)
def test_a_list_that_may_not_be_whole_proves_no_absence_and_says_why(
    play: Play, count: int, shown: Shown, why: str
) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        await settled(world, desk, count)
        show(world, shown)
        order = await lost(world, desk)
        await asyncio.sleep(LONG)
        assert (await desk.order(order.id)).state is OrderState.UNKNOWN
        assert why in desk.orders_age(ONE).doubt
        assert [incident.kind for incident in desk.books.open_incidents()] == []

    play(scenario)


@pytest.mark.parametrize("count", [0, 3, 9, 11])
def test_a_list_without_a_doubt_proves_it(play: Play, count: int) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        await settled(world, desk, count)
        order = await lost(world, desk)
        await asyncio.sleep(LONG)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED
        assert desk.orders_age(ONE).doubt == ""

    play(scenario)


def test_a_full_page_is_none_once_a_longer_list_was_seen(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        await settled(world, desk, 10)
        order = await lost(world, desk)
        await asyncio.sleep(LONG)
        assert (await desk.order(order.id)).state is OrderState.UNKNOWN
        await settled(world, desk, 1)
        await asyncio.sleep(LONG)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED

    play(scenario)


def test_what_a_doubtful_list_shows_is_believed(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        show(world, lambda rows: Listing(rows, "it says that it goes on"))
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id)
        await asyncio.sleep(60)
        assert (await desk.order(order.id)).state is OrderState.COMPLETED

    play(scenario)


@pytest.mark.parametrize("stale_first", [True, False])
def test_an_order_listed_twice_counts_by_its_furthest_state(play: Play, *, stale_first: bool) -> None:
    def twice(rows: Sequence[VenueOrder]) -> Sequence[VenueOrder]:
        stale = [VenueOrder(o.id, o.quote_id, o.user_id, o.amount, VenueOrderStatus.PENDING) for o in rows]
        return [*stale, *rows] if stale_first else [*rows, *stale]

    async def scenario(world: World) -> None:
        desk = await world.desk()
        show(world, twice)
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id)
        await asyncio.sleep(60)
        assert (await desk.order(order.id)).state is OrderState.COMPLETED
        await asyncio.sleep(60)
        assert desk.books.open_incidents() == []

    play(scenario)


def test_an_order_listed_as_completed_and_as_failed_stays_open(play: Play) -> None:
    def torn(rows: Sequence[VenueOrder]) -> Sequence[VenueOrder]:
        return [
            *rows,
            *(VenueOrder(o.id, o.quote_id, o.user_id, o.amount, VenueOrderStatus.FAILED) for o in rows),
        ]

    async def scenario(world: World) -> None:
        desk = await world.desk()
        show(world, torn)
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id)
        await asyncio.sleep(60)
        assert (await desk.order(OrderId(order.id))).state is OrderState.PENDING
        assert "not the same" in desk.orders_age(ONE).doubt

    play(scenario)
