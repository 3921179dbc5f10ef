"""The first moments of a desk that knows nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from parallax.journal.disks import SimulatedDisk
from tests.desk.conftest import World
from tests.desk.scripted import ONE

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
