"""Supervision: every background duty is restarted with back-off when it fails, and what is running is visible.

One-off tasks (carrying out one order, reading one list) are watched as well: their failure is logged and counted, and
touches nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Any, Final

import structlog

from parallax.ports.clock import Clock

FIRST_DELAY: Final = 0.5
"""Seconds before a failed duty runs again, at first; doubled at each failure in a row."""

LONGEST_DELAY: Final = 30.0
"""Seconds that a duty which keeps failing waits at most."""

CALM: Final = 60.0
"""Seconds after which a duty that has run without failing counts as well again."""

log = structlog.get_logger()


class DutyState(StrEnum):
    """Whether a duty is at work."""

    RUNNING = "running"
    WAITING = "waiting"  # failed, and will be tried again
    STOPPED = "stopped"


@dataclass(slots=True)
class DutyReport:
    """What is to be known of one duty: its state and since when, how often it was restarted, and why last."""

    name: str
    purpose: str
    state: DutyState
    since: datetime
    restarts: int = 0
    last_error: str = ""


class Supervisor:
    """Runs duties and tasks until it is stopped."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._duties: dict[str, tuple[DutyReport, asyncio.Task[None]]] = {}
        # A dict and not a set: ended in the order in which they began, the same in every run.
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def duty(self, name: str, purpose: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep `run` running under a name; `purpose` is a sentence for people."""
        assert name not in self._duties, f"the duty {name} runs already"
        report = DutyReport(name, purpose, DutyState.RUNNING, self._clock.now())
        self._duties[name] = (report, asyncio.create_task(self._keep(report, run), name=name))

    def task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run one piece of work. Its failure is logged; awaiting the task is optional."""
        task = asyncio.create_task(self._watch(name, work), name=name)
        self._tasks[task] = None
        task.add_done_callback(lambda task: self._tasks.pop(task, None))
        return task

    @property
    def reports(self) -> list[DutyReport]:
        """What is running, by name."""
        return [report for report, _ in self._duties.values()]

    async def stop(self, grace: float) -> None:
        """Stop the duties, give tasks `grace` seconds to end, then cancel them and wait."""
        for report, task in self._duties.values():
            task.cancel()
            report.state, report.since = DutyState.STOPPED, self._clock.now()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        leftover = [*self._tasks, *(task for _, task in self._duties.values())]
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)

    async def _keep(self, report: DutyReport, run: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            began = loop.time()
            try:
                await run()
            except Exception as error:
                log.exception("duty failed", duty=report.name)
                report.last_error = f"{type(error).__name__}: {error}"[:300]
            else:
                report.last_error = "ended by itself"
            if loop.time() - began >= CALM:
                delay = FIRST_DELAY
            report.state, report.since = DutyState.WAITING, self._clock.now()
            await asyncio.sleep(delay * self._random.uniform(0.8, 1.2))
            delay = min(delay * 2, LONGEST_DELAY)
            report.restarts += 1
            report.state, report.since = DutyState.RUNNING, self._clock.now()

    async def _watch(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("task failed", task=name)
