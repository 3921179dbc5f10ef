"""Single flight: identical reads under way are one call.

Whoever asks for what is being read already rides along. A rider who gives up leaves the others alone; when the last
one leaves, the call is given up too.

A read from which conclusions are drawn (following orders, resolving an unknown one) must have *begun* after it was
asked for: an older one may have been answered before the order arrived, and would pass for evidence of its absence.
So such a rider boards only while the call waits for its turn, and pulls it forward to its own place in the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, Generic, TypeVar, cast

from msgspec import Struct

from parallax.domain.errors import VenueUnavailable
from parallax.ports.venue import Purpose
from parallax.venues.budget import Entry

T = TypeVar("T")

CONCLUSIVE: Final = frozenset({Purpose.RESOLVE, Purpose.FOLLOW})
"""Purposes that must not be served by a read that has left already."""


class Flight(Struct, Generic[T], eq=False):
    """One shared read: what it is for (the strongest of its riders' purposes), how long it may wait for its turn,
    its place in the queue while it waits, and whether it has left."""

    purpose: Purpose
    patience: float
    entry: Entry | None = None
    left: bool = False
    riders: int = 0
    task: asyncio.Task[T] | None = None

    def takes(self, purpose: Purpose) -> bool:
        """Whether someone with this purpose may ride along."""
        return not (self.left and purpose in CONCLUSIVE)

    def board(self, purpose: Purpose, patience: float) -> None:
        """Ride along, pulling the call forward where the rider's purpose is stronger."""
        self.purpose = min(self.purpose, purpose)
        self.patience = max(self.patience, patience)
        if self.entry is not None:
            self.entry.promote(self.purpose, patience)


class Flights:
    """The reads under way, by what they read. `shared` is called for each call that was avoided."""

    def __init__(self, shared: Callable[[], None]) -> None:
        self._shared = shared
        self._open: dict[Hashable, Flight[Any]] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order: a set's would differ from run to run
        self._closed = False

    async def ride(
        self,
        key: Hashable,
        purpose: Purpose,
        patience: float,
        fly: Callable[[Flight[T]], Awaitable[T]],
    ) -> T:
        """The outcome of the read `key`: of the one under way, or of a new one made by `fly`."""
        if self._closed:
            raise _stopping()
        flight = cast("Flight[T] | None", self._open.get(key))
        if flight is not None and flight.takes(purpose):
            self._shared()
            flight.board(purpose, patience)
        else:
            flight = self._begin(key, Flight(purpose, patience), fly)
        task = flight.task
        assert task is not None, "a flight is listed with its task"
        flight.riders += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if task.cancelled() and not (me and me.cancelling()):
                raise _stopping() from None  # the flight was called off, not this rider
            raise
        finally:
            flight.riders -= 1
            if flight.riders == 0 and not task.done():
                self._forget(key, flight)
                task.cancel()

    def _begin(self, key: Hashable, flight: Flight[T], fly: Callable[[Flight[T]], Awaitable[T]]) -> Flight[T]:
        async def whole() -> T:
            try:
                return await fly(flight)
            finally:
                self._forget(key, flight)

        flight.task = asyncio.create_task(whole(), name=f"venue read {key}")
        self._tasks[flight.task] = None
        flight.task.add_done_callback(self._landed)
        self._open[key] = flight
        return flight

    def _forget(self, key: Hashable, flight: Flight[Any]) -> None:
        # A newer read of the same may have taken its place.
        if self._open.get(key) is flight:
            del self._open[key]

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # its riders may all be gone; nobody needs to hear that it was never looked at

    async def close(self) -> None:
        """Call everything off and wait until it is over."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _stopping() -> VenueUnavailable:
    return VenueUnavailable("The desk is stopping; nothing more is asked of the exchange.")
