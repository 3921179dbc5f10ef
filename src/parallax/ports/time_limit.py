"""A time-out for very many short waits of one length.

`asyncio.timeout` makes a timer for each wait and takes it down again, which costs more than most of the waits. Here one
timer serves them all: as they are of one length, they run out in the order in which they began.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class TimeLimit:
    """How long each of many waits may take. Lives in one event loop.

    Use it as `with limit():` around what is awaited, which then raises `TimeoutError` as in `asyncio.timeout`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running: dict[_Wait, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> _Wait:
        return _Wait(self)

    def close(self) -> None:
        """Leave no timer behind. A wait that is still running is not limited any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, wait: _Wait) -> None:
        """For `_Wait`: it has begun."""
        loop = asyncio.get_running_loop()
        wait.until = loop.time() + self.seconds
        self._running[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(wait.until, self._look)

    def end(self, wait: _Wait) -> None:
        """For `_Wait`: it is over. The timer stays, for those who come after."""
        self._running.pop(wait, None)

    def _look(self) -> None:
        """End what has taken too long, and come back for the next."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for wait in tuple(self._running):
            if wait.until > now:
                self._timer = loop.call_at(wait.until, self._look)
                break
            del self._running[wait]
            wait.expire()


class _Wait:
    """One wait: the task that is in it is cancelled when the time is over, and leaves with `TimeoutError`."""

    __slots__ = ("_cancelling", "_expired", "_limit", "_task", "until")

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._expired = False
        self.until = 0.0

    def __enter__(self) -> None:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None, "a wait is limited within a task"
        self._task, self._cancelling = task, task.cancelling()
        self._limit.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.end(self)
        # Cancelled by others too: then that is what it is.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()
