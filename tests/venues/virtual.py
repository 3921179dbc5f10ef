"""An event loop whose time passes at once, for tests of waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.looks = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everyone waits, and for nothing")
        self.now += max(0.0, timeout)
        self.looks += 1
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now

    @property
    def looks(self) -> int:
        """How often the loop went round: a measure of idle work."""
        return self._virtual.looks


class VirtualClock:
    """The running loop's time as the desk's clock; `lead` moves the wall clock alone."""

    lead = timedelta()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic()) + self.lead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in a loop of its own, whose clock starts at 0 and jumps over every wait."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def turns() -> int:
    """How often the running virtual loop has gone round."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.looks


async def spin(turns: int = 10) -> None:
    """Let everything that is ready run, without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
