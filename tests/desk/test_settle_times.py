"""The desk learns how long orders take at this venue, from looks alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from statistics import mean, median
from typing import Any

import pytest

from parallax.desk.settle_times import SettleTimes
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE


def follow(times: SettleTimes, settles_at: float) -> tuple[int, float]:
    """Look at one order until it has settled: how many looks, and how late the last one was."""
    age, looks = 0.0, 0
    while True:
        look = times.next_look(age)
        assert look > age
        looks += 1
        if look >= settles_at:
            times.observe(age, look)
            return looks, look - settles_at
        age = look


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.6), (1.0, 2.0), (5.0, 10.0), (20.0, 40.0)])
def test_looks_come_to_be_well_placed_whatever_the_venue_takes(low: float, high: float) -> None:
    random, times = Random(1), SettleTimes()
    seen = [follow(times, random.uniform(low, high)) for _ in range(800)][-300:]
    assert mean(looks for looks, _ in seen) <= 2.4
    assert median(late for _, late in seen) <= max(0.2 * high, 0.3)


def test_before_anything_is_learned_it_goes_by_what_the_exchange_documents() -> None:
    assert [round(age, 1) for age in SettleTimes().rungs] == [6.7, 8.3, 10.0]


def test_an_old_order_is_looked_at_ever_more_rarely_up_to_a_minute() -> None:
    times, age, gaps = SettleTimes(), 0.0, list[float]()
    for _ in range(60):
        look = times.next_look(age)
        gaps.append(look - age)
        age = look
    assert gaps[3:] == sorted(gaps[3:])
    assert max(gaps) == 60.0
    assert times.overdue(60)
    assert not times.overdue(10)


def test_after_a_restart_the_newest_orders_rule_as_they_did_before(play: Callable[[Any], Any]) -> None:
    """An exchange that has become slower is still known to be slow."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        for seconds in (6.0,) * 80 + (20.0,) * 120:
            quote = await world.quote(desk)
            order = await desk.execute(quote.id, ONE, usd(), "page")
            await asyncio.sleep(seconds)
            world.venue.settle(quote.id)
            while (await desk.order(order.id)).open:  # noqa: ASYNC110
                await asyncio.sleep(1)
        learned = desk.tracker.settle_times.rungs
        await desk.stop()
        again = await world.desk()
        assert again.tracker.settle_times.rungs == pytest.approx(learned, abs=1.0)

    play(scenario)
