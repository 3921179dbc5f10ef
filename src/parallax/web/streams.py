"""Places for open streams, of pages and of programs alike: they end when the reader leaves, and can be cut off.

When all places are taken, a new reader gets that of the oldest stream of the address that has most of them: nobody can
have them all, and whoever is cut off connects again and misses nothing. A reader that takes nothing is cut off by the
server, as any client is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.types import Receive, Scope

from parallax.http_server import ABORT, Refusals, address_of

MAX_STREAMS: Final = 4_096
"""Streams open at one time, where there may be as many connections; each costs some 30 KB."""


class Streams:
    """The open streams of a desk."""

    def __init__(self, limit: int = MAX_STREAMS, refusals: Refusals | None = None) -> None:
        self.limit = limit
        self._refusals = refusals or Refusals()
        # Dicts and not sets: the oldest come first.
        self._open: dict[_Place, None] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, scope: Scope, receive: Receive, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a stream until it is done, its reader leaves, or it is cut off."""
        task = asyncio.create_task(work, name="stream")
        watch = asyncio.create_task(_left(receive), name="stream's reader")
        abort = scope.get("extensions", {}).get(ABORT)
        place = _Place(address_of(scope.get("client")), task.cancel if abort is None else abort)
        self._enter(place)
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave(place)
            finished = task.done()
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)
        if finished and not task.cancelled():
            task.result()

    def _enter(self, place: _Place) -> None:
        if len(self._open) >= self.limit:
            most, _ = self._by_address.most_common(1)[0]
            oldest = next(each for each in self._open if each.address == most)
            self._refusals.note("stream_displaced", oldest.address)
            self._leave(oldest)
            oldest.cut()
        self._open[place] = None
        self._by_address[place.address] += 1

    def _leave(self, place: _Place) -> None:
        if place in self._open:
            del self._open[place]
            self._by_address[place.address] -= 1
            if not self._by_address[place.address]:
                del self._by_address[place.address]


class _Place:
    """One open stream."""

    def __init__(self, address: str, cut: Callable[[], object]) -> None:
        self.address = address
        self.cut = cut


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
