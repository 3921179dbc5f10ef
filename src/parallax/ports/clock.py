"""Time, handed in: so that the whole desk runs under a virtual clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The desk's own clock. Waiting is asyncio's business: the loop's time is this clock's `monotonic`."""

    def now(self) -> datetime:
        """The wall clock, aware UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    # Read many times for every call: so it takes no step of its own.
    monotonic = staticmethod(time.monotonic)
