"""What the simulation found, as small as it gets: one test for each mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from parallax.desk.reconciliation import READ_SPACING
from parallax.domain.errors import VenueUnavailable
from parallax.domain.facts import OrderMissing
from parallax.domain.identity import OrderId
from parallax.domain.transitions import OrderState
from parallax.ports.venue import OrderRequest, Outcome, Purpose, Refused, Unknown, VenueOrder, VenueQuote
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE

Play = Callable[[Any], Any]


async def lost(_: OrderRequest) -> Outcome:
    return Unknown("timeout", "no answer")


async def used_already(_: OrderRequest) -> Outcome:
    return Refused(422, ("has already been executed",), leaves_quote_usable=False)


def test_nothing_is_sent_before_the_venue_has_told_its_time(play: Play) -> None:
    """Rule 8: a desk that was just started knows its quotes, and only its own machine's clock."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        await desk.stop()
        world.venue.down = True
        desk = await world.desk()
        with pytest.raises(VenueUnavailable):
            await desk.execute(quote.id, ONE, usd(), "page")
        assert world.venue.sent == []
        world.venue.down = False
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.PENDING
        await desk.stop()

    play(scenario)


def test_a_clock_that_was_set_is_not_trusted_until_the_venue_answers(play: Play) -> None:
    """Rule 8: neither is a good quote called expired, nor is an order sent on a guess."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.clock.uncertainty = timedelta(minutes=4)
        asked = world.calls("users")
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert world.calls("users") == asked + 1
        assert order.state is OrderState.WITHDRAWN  # this venue's answers do not tell the time
        assert world.venue.sent == []
        await desk.stop()

    play(scenario)


def test_a_stop_while_a_refusal_is_in_doubt_tells_that_the_order_is_unknown(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.answer = used_already
        waiting = asyncio.ensure_future(desk.execute(quote.id, ONE, usd(), "page"))
        await asyncio.sleep(0.2)
        desk.drain()
        assert (await waiting).state is OrderState.UNKNOWN
        await desk.stop()

    play(scenario)


def test_counting_reads_are_apart_from_the_end_of_one_to_the_beginning_of_the_next(play: Play) -> None:
    """Rule 3: three lists that were under way together are one piece of evidence."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.answer = lost
        order = await desk.execute(quote.id, ONE, usd(), "page")

        async def slow() -> None:
            await asyncio.sleep(8)

        world.venue.before_reply = slow
        while (known := await desk.order(order.id, ONE)).state is OrderState.UNKNOWN:
            await asyncio.sleep(3.5)
            asyncio.ensure_future(looked(desk))  # noqa: RUF006 - people who look meanwhile
        assert known.state is OrderState.NOT_PLACED
        facts = [stored.fact for stored in await desk.order_facts(order.id)]
        counted = [fact for fact in facts if isinstance(fact, OrderMissing) and fact.counts]
        assert len(counted) == 3
        for one, following in pairwise(counted):
            assert following.read_began_at >= one.read_ended_at + READ_SPACING
        await desk.stop()

    async def looked(desk: Any) -> None:
        with suppress(VenueUnavailable):
            await desk.refresh("orders", ONE)

    play(scenario)


def test_who_only_looks_shares_the_read_under_way_with_its_conclusions(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        reads = [desk._readings.read_orders(ONE, Purpose.REFRESH) for _ in range(5)]
        before = world.calls("orders")
        await asyncio.gather(*reads)
        assert world.calls("orders") == before + 1
        await desk.stop()

    play(scenario)


def test_a_late_list_that_shows_a_settled_order_as_pending_is_no_contradiction(play: Play) -> None:
    """Rule 4: late news changes nothing, however this machine's clock was set meanwhile."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        pending: list[VenueOrder] = list(world.venue.order_list)
        held = asyncio.Event()

        listed = world.venue.orders

        async def late(*_: Any) -> list[VenueOrder]:
            await held.wait()
            return pending

        world.venue.orders = late  # type: ignore[method-assign]
        behind = asyncio.ensure_future(desk._readings.read_orders(ONE, Purpose.FOLLOW))
        await asyncio.sleep(0.1)
        world.venue.orders = listed
        world.venue.settle(quote.id)
        await desk._readings.read_orders(ONE, Purpose.FOLLOW)
        assert (await desk.order(order.id)).state is OrderState.COMPLETED
        world.clock.shift = timedelta(seconds=-500)
        held.set()
        await behind
        assert (await desk.order(order.id)).state is OrderState.COMPLETED
        assert desk.books.open_incidents() == []
        await desk.stop()

    play(scenario)


def test_the_quote_of_an_order_placed_elsewhere_is_looked_up_in_a_list_that_is_new_enough(play: Play) -> None:
    """A list of quotes that was under way already may be older than the quote: the order had no rate for ever."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        purposes: list[Purpose] = []
        quotes = world.venue.quotes

        async def noted(purpose: Purpose = Purpose.REFRESH) -> Sequence[VenueQuote]:
            purposes.append(purpose)
            return await quotes(purpose)

        world.venue.quotes = noted
        placed = world.venue.place(world.venue.quote().id)
        await desk.refresh("orders", ONE)
        assert purposes == [Purpose.FOLLOW]  # which the gateway never serves with a read that has left
        assert (await desk.order(OrderId(placed.id), ONE)).rate is not None
        await desk.stop()

    play(scenario)


def test_our_order_is_found_also_behind_another_on_its_quote(play: Play) -> None:
    """A venue that lets two orders on one quote is shown, and ours is not taken for refused because of the other."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def answer(request: OrderRequest) -> Outcome:
            world.venue.place(request.quote_id, request.user_id, "7")
            world.venue.place(request.quote_id, request.user_id, request.amount)
            return await used_already(request)

        world.venue.answer = answer
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.PENDING
        assert len(desk.books.open_incidents()) == 1
        await desk.stop()

    play(scenario)


def test_an_order_does_not_vanish_because_this_machines_clock_was_set(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.order_list = []  # it shows in the list only later
        world.clock.shift = timedelta(minutes=10)
        await desk.refresh("orders", ONE)
        assert desk.books.open_incidents() == []
        await asyncio.sleep(500)
        assert len(desk.books.open_incidents()) == 1
        await desk.stop()

    play(scenario)
