"""An event loop without threads, sockets or waiting: time jumps, and callbacks that are ready run in a seeded order.

asyncio promises no order between tasks that are ready at the same instant, and a program must not need one. Shuffling
them finds the races that first-in-first-out hides. A `Process` is everything that one desk has set going; killing it
is `kill -9`: no handler runs, no task is cancelled, nothing of it ever takes another step.
"""

# ruff: noqa: SLF001 - a loop runs asyncio's own handles and tasks
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import warnings
from asyncio import Handle, TimerHandle
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, TypeVar, cast

from msgspec import Struct

T = TypeVar("T")

MAX_STEPS: Final = 60_000
"""Callbacks of one run at most: a run takes about 1,500, so one that reaches this is going in circles."""


class Stuck(Exception):
    """Nothing is left to run, or the run never ends."""


class Process:
    """One life of the desk: every callback that descends from it carries it in its context."""

    __slots__ = ("alive", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True

    def context(self) -> Context:
        """A context whose tasks and callbacks belong to this process."""
        context = Context()
        context.run(_PROCESS.set, self)
        return context


_PROCESS: ContextVar[Process] = ContextVar("process")


class _Handle(Struct, eq=False, gc=False):
    """What asyncio's own handles are, without what debugging and other loops need: half a million are made a minute."""

    _when: float
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _cancelled: bool = False

    def cancel(self) -> None:
        """It will not run: it is dropped when its time comes."""
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when


class SimulatedLoop(asyncio.BaseEventLoop):
    """A loop whose clock stands still while callbacks run, and then jumps to the next one."""

    def __init__(self, random: Random, max_steps: int = MAX_STEPS) -> None:
        super().__init__()
        self._max_steps = max_steps
        self._draw = random.random
        self.now = 0.0
        """What `time` tells."""
        self.create_future = partial(asyncio.Future, loop=self)
        self._queue: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._made = 0
        self._killed = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._stop_step = -1
        self._at_step: Callable[[], None] | None = None
        self.steps = 0
        """Callbacks run so far."""
        self.troubles: list[str] = []
        """What callbacks raised and nobody looked at."""

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = _Handle(self.now, callback, args, copy_context() if context is None else context)
        self._queue.append(handle)
        return handle  # pyright: ignore[reportReturnType]

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        handle = _Handle(when, callback, args, copy_context() if context is None else context)
        self._made += 1
        heappush(self._timers, (when, self._made, handle))
        return handle  # pyright: ignore[reportReturnType]

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name="task" if name is None else str(name), context=context)
        # Kept until the run is over: freeing a killed one would run its `finally` blocks, and the dead run nothing.
        self._tasks.append(task)
        return task

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    # False, and asked for with every callback: a builtin says so fastest.
    get_debug = staticmethod(bool)  # pyright: ignore[reportAssignmentType]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._killed and "never retrieved" in str(context.get("message")):
            return  # whoever would have looked is dead
        error = context.get("exception")
        self.troubles.append(f"{context.get('message')}: {error!r}")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        del executor, func, args
        raise AssertionError("there are no threads in a simulation")

    # Running

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until `future` is done. Raises `Stuck`."""
        with self._running():
            task: asyncio.Future[T] = asyncio.ensure_future(cast("Awaitable[T]", future), loop=self)
            while not task.done():
                self._turn()
            return task.result()

    def at_step(self, step: int, call: Callable[[], None]) -> None:
        """Have `call` run between two callbacks, before the one of number `step`. One at a time."""
        self._stop_step, self._at_step = step, call

    def kill(self, process: Process) -> None:
        """`kill -9`: nothing of the process takes another step."""
        process.alive = False
        self._killed = True

    def close(self) -> None:
        """End the run: whatever is still there is freed without being heard of."""
        with self._running(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that never ran will not any more
            for task in self._tasks:
                if task.done():
                    continue
                task._log_destroy_pending = False
                coro = task.get_coro()
                if isinstance(coro, Coroutine):
                    try:
                        coro.close()
                    except (RuntimeError, ValueError):
                        continue  # it awaited on its way out, or is the one that is running
            self._queue.clear()
            self._timers.clear()
            self._tasks.clear()
        super().close()

    @contextmanager
    def _running(self) -> Generator[None]:
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def _turn(self) -> None:
        """Run what is ready, in a random order; what that makes ready is of the next turn."""
        ready, self._queue = self._queue, []
        if not ready:
            self._jump()
        timers, clock = self._timers, self.now
        while timers and timers[0][0] <= clock:
            ready.append(heappop(timers)[2])
        if len(ready) > 1:
            self._shuffle(ready)
        for handle in ready:
            if self.steps == self._stop_step and self._at_step is not None:
                call, self._at_step = self._at_step, None
                call()
            self.steps += 1
            if handle._cancelled:
                continue
            context = handle._context
            if self._killed and (process := context.get(_PROCESS)) is not None and not process.alive:
                continue
            try:
                context.run(handle._callback, *handle._args)
            except Exception as error:  # noqa: BLE001 - as every loop does: noted, and on it goes
                self.troubles.append(f"{handle._callback} raised {error!r}")
        if self.steps > self._max_steps:
            raise Stuck(f"more than {self._max_steps} steps")

    def _jump(self) -> None:
        """Let time pass until something is ready."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not timers:
            raise Stuck("nothing is left to wait for")
        if timers[0][0] > self.now:
            self.now = timers[0][0]

    def _shuffle(self, ready: list[_Handle]) -> None:
        draw = self._draw
        for last in range(len(ready) - 1, 0, -1):
            chosen = int(draw() * (last + 1))
            ready[last], ready[chosen] = ready[chosen], ready[last]
