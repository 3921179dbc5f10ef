"""The first moments of a desk that knows nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parallax.domain.errors import NotReadYet
from parallax.journal.disks import SimulatedDisk
from tests.desk.conftest import World
from tests.desk.scripted import ONE, TWO

Play = Callable[[Any], Any]


def test_a_user_asked_for_while_the_list_is_being_recorded_is_found(play: Play) -> None:
    """Two reads of one list: the second has nothing to record, and still waits for what the first recorded."""

    async def scenario(world: World) -> None:
        world.disk = SimulatedDisk(delay=lambda: 0.1)  # type: ignore[assignment]
        desk = world.build()
        await desk.start()
        await asyncio.sleep(0.05)  # the duty has read the users; they are on their way to the disk
        assert (await desk.user(ONE)).id == ONE
        await desk.stop()

    play(scenario)


def test_a_list_that_was_never_read_is_no_empty_list(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.venue.down = True
        desk = await world.desk()
        for know in (desk.know_users, desk.know_quotes, lambda: desk.know_orders(ONE)):
            with pytest.raises(NotReadYet, match=r"has not been read yet\. The exchange does not answer"):
                (await know()).check()
        world.venue.down = False
        for know in (desk.know_users, desk.know_quotes, lambda: desk.know_orders(ONE)):
            (await know()).check()
        await desk.stop()

    play(scenario)


def test_a_list_is_read_when_what_it_holds_can_be_shown_and_not_sooner(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.venue.place(world.venue.quote().id)
        disk = SimulatedDisk(delay=lambda: 0.5)
        world.disk = disk  # type: ignore[assignment]
        desk = world.build()
        await desk.start()
        ages = {
            "users": (desk.users_age, lambda: len(desk.books.users)),
            "quotes": (desk.quotes_age, lambda: len(desk.books.quotes)),
            "orders": (desk.orders_age(ONE), lambda: len(desk.books.orders)),
        }
        reading = asyncio.ensure_future(desk.know_orders(ONE))
        for _ in range(100):
            await asyncio.sleep(0.05)
            for what, (age, held) in ages.items():
                assert age.read_at is None or held(), f"{what} are called read, and none can be shown"
        assert all(age.read_at for age, _ in ages.values())
        await reading
        await desk.stop()

    play(scenario)


def test_a_restarted_desk_knows_what_it_has_and_since_when(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.venue.place(world.venue.quote().id)
        desk = await world.desk()
        await desk.know_orders(ONE)
        read_at = desk.orders_age(ONE).read_at
        await desk.stop()
        await asyncio.sleep(60)
        world.venue.down = True
        desk = await world.desk()
        for age in (await desk.know_users(), await desk.know_quotes(), await desk.know_orders(ONE)):
            age.check()
            assert age.read_at is None, "the exchange is down"
            assert age.error
            assert age.known_at is not None
            assert age.known_at <= world.clock.now()
        assert desk.orders_age(ONE).known_at == read_at
        with pytest.raises(NotReadYet):
            (await desk.know_orders(TWO)).check()  # nobody ever asked for this one's
        await desk.stop()

    play(scenario)
