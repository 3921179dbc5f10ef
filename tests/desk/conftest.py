"""A desk on a scripted venue, under virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import pytest

from parallax.desk.desk import Desk
from parallax.domain.entities import Quote
from parallax.domain.money import Money, parse_amount
from parallax.journal.memory import MemoryDisk, MemoryJournal
from simulation.loop import SimulatedLoop
from tests.desk.scripted import RATE, LoopClock, ScriptedVenue


def usd(text: str = "100") -> Money:
    """An amount of dollars."""
    return parse_amount(text, RATE.from_currency)


@dataclass
class World:
    """A venue, a journal, and the desks that a test opens on them one after the other."""

    clock: LoopClock = field(default_factory=LoopClock)
    disk: MemoryDisk = field(default_factory=MemoryDisk)

    def __post_init__(self) -> None:
        self.venue = ScriptedVenue(self.clock)
        self._ids = count(1)

    def build(self) -> Desk:
        """A desk that is not started, on what is on disk."""
        self.journal = MemoryJournal(disk=self.disk)
        return Desk(
            journal=self.journal,
            venue=self.venue,
            clock=self.clock,
            random=Random(0),
            new_id=lambda: f"order-{next(self._ids)}",
            version="test",
        )

    async def desk(self) -> Desk:
        """A desk that has started and read users and quotes."""
        desk = self.build()
        await desk.start()
        await asyncio.sleep(0.1)  # each list takes the scripted venue a hundredth of a second
        return desk

    async def quote(self, desk: Desk) -> Quote:
        """A fresh quote, asked for at the desk."""
        return await desk.request_quote("test")

    def calls(self, name: str) -> int:
        """How often the venue was called for something."""
        return sum(call.startswith(name) for call in self.venue.calls)


Scenario = Callable[[World], Awaitable[Any]]


@pytest.fixture
def play() -> Callable[[Scenario], Any]:
    """Run a scenario to its end under virtual time."""

    def run(scenario: Scenario) -> Any:
        async def main() -> Any:
            return await scenario(World())

        loop = SimulatedLoop(Random(1))
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    return run
