"""Upkeep: the lists are read at start, and compared with the venue at a low rate from then on.

At start users and quotes are read once; a user's orders when someone first needs them. Afterwards one list at a time is
read in turn, the oldest first, so that orders placed elsewhere and contradictions are found.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from parallax.desk.ledger import Ledger
from parallax.desk.readings import Readings
from parallax.domain.errors import JournalFailed, VenueUnavailable
from parallax.domain.identity import UserId
from parallax.ports.venue import Purpose, Venue

SWEEP_EVERY: Final = 60.0
"""Seconds between two lists read only to compare."""

LISTS_EVERY: Final = 10
"""Every so many sweeps the users and the quotes are read again instead of a user's orders."""

FIRST_RETRY: Final = 1.0
"""Seconds until lists that could not be read at start are tried again, at first."""

LONGEST_RETRY: Final = 30.0
"""… and at most."""

RETIRE_EVERY: Final = 300.0
"""Seconds between two looks at what has become history."""


class Upkeep:
    """Two duties: comparing with the venue, and letting go of history."""

    def __init__(self, ledger: Ledger, readings: Readings, venue: Venue, random: Random) -> None:
        self._ledger = ledger
        self._readings = readings
        self._venue = venue
        self._random = random
        self._swept: dict[UserId, float] = {}

    async def run(self) -> None:
        """Read the lists until they have been read once, then sweep. A duty: never returns."""
        await self._until_read(self._readings.read_users)
        await self._until_read(self._readings.read_quotes)
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP_EVERY * self._random.uniform(0.8, 1.2))
            sweeps += 1
            try:
                if sweeps % LISTS_EVERY == 0:
                    await self._readings.read_users()
                    await self._readings.read_quotes()
                else:
                    await self._sweep_one_user()
            except (VenueUnavailable, JournalFailed):
                continue  # noted with the list's age; the next turn comes

    async def retire(self) -> None:
        """Let go of history now and then. A duty: never returns."""
        while True:
            await asyncio.sleep(RETIRE_EVERY)
            self._ledger.retire(self._venue.clock.now())

    async def _until_read(self, read: Callable[[], Awaitable[None]]) -> None:
        delay = FIRST_RETRY
        while True:
            try:
                await read()
            except (VenueUnavailable, JournalFailed) as error:
                wait = max(delay, getattr(error, "retry_in", None) or 0.0)
                await asyncio.sleep(wait * self._random.uniform(0.9, 1.1))
                delay = min(delay * 2, LONGEST_RETRY)
            else:
                return

    async def _sweep_one_user(self) -> None:
        """Read the orders of the user whose list is oldest."""
        users = [user.id for user in self._ledger.books.users]
        if not users:
            return
        user_id = min(users, key=lambda user: self._swept.get(user, -math.inf))
        self._swept[user_id] = asyncio.get_running_loop().time()
        await self._readings.read_orders(user_id, Purpose.REFRESH)
