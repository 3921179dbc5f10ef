"""One limiter in front of every call: a rate, a number of calls at once, priorities, and a pause for everyone.

A call enters with its purpose and its patience; smaller purposes go first, calls of one purpose in the order they
came. Whoever cannot be served in time is told so at once, in words, rather than left waiting.

Calls at once are bounded too, with room kept that hanging reads cannot take: some for sending orders, some for
resolving unknown ones.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from parallax.domain.errors import VenueBusy, VenueUnavailable
from parallax.ports.venue import Purpose

_LEAST_DELAY: Final = 0.001
"""Seconds between two looks at the bucket: a timer set for less might not move the clock at all."""

_ENOUGH: Final = 1 - 1e-6
"""What counts as one whole call in the bucket, arithmetic on seconds being what it is."""

WORDS: Final = {
    Purpose.RESOLVE: "looking for an unknown order",
    Purpose.SEND: "sending an order",
    Purpose.QUOTE: "a new quote",
    Purpose.FOLLOW: "following orders",
    Purpose.REFRESH: "refreshing a list",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be asked of the venue.

    `calls_per_second` in the long run, up to `burst` of them together after a quiet time; `concurrency` calls
    under way at once, of which `kept_for_sends` and `kept_for_resolves` are left free by everything else;
    `queue` calls of one purpose may wait.
    """

    calls_per_second: float = 20.0
    burst: int = 40
    concurrency: int = 32
    kept_for_sends: int = 8
    kept_for_resolves: int = 2
    queue: int = 1_000

    def __post_init__(self) -> None:
        if not (self.calls_per_second > 0 and self.burst >= 1 and self.queue >= 1):
            raise ValueError("the call budget needs a rate above zero, a burst and a queue of at least one")
        if self.concurrency - self.kept_for_sends - self.kept_for_resolves < 1:
            raise ValueError("the calls at once must leave one over for ordinary reads")
        if min(self.kept_for_sends, self.kept_for_resolves) < 1:
            raise ValueError("sends and resolves each need room of their own")


@dataclass(frozen=True, slots=True)
class LimiterState:
    """The limiter at a moment, as data: calls waiting and under way by purpose, calls that could leave at once,
    and for how many more seconds everyone is paused."""

    waiting: dict[str, int]
    running: dict[str, int]
    tokens: float
    paused_for: float


class Entry(Struct, eq=False):
    """One call's place: first in the queue, then under way. `leave()` must follow, whatever happens.

    Its fields are the limiter's; callers use the methods, and read `waited` once admitted.
    """

    limiter: Limiter
    purpose: Purpose
    deadline: float
    future: asyncio.Future[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    running: bool = False
    used: bool = False
    waited: float = 0.0
    """Seconds in the queue."""

    async def admitted(self) -> None:
        """Wait for the turn. Raises `VenueBusy` when it does not come in time."""
        if self.future is None:
            return
        clock = asyncio.get_running_loop().time
        began = clock()
        await self.future
        self.waited = clock() - began

    def use(self) -> None:
        """The call leaves now; until then `leave()` gives its share of the rate back."""
        self.used = True

    def promote(self, purpose: Purpose, patience: float) -> None:
        """A stronger purpose, or more patience, has joined this waiting call."""
        self.limiter.promote(self, purpose, patience)

    def leave(self) -> None:
        """The call is over, or given up while waiting."""
        self.limiter.leave(self)


class Limiter:
    """The call budget. All of it runs in one event loop, on that loop's clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: dict[Purpose, dict[Entry, None]] = {purpose: {} for purpose in Purpose}
        self._running = dict.fromkeys(Purpose, 0)
        self._kept = {
            Purpose.SEND: limits.kept_for_sends,
            Purpose.RESOLVE: limits.kept_for_resolves,
        }
        self._shared = limits.concurrency - limits.kept_for_sends - limits.kept_for_resolves
        self._burst: float = limits.burst
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._paused_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    def enter(self, purpose: Purpose, patience: float) -> Entry:
        """Take a place in the queue for at most `patience` seconds. Raises `VenueBusy` at once when waiting
        that long would be in vain."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._fill(now)
        if self._closed:
            raise VenueUnavailable("The desk is stopping; nothing was sent to the exchange.")
        entry = Entry(self, purpose, now + patience)
        if not any(self._queues.values()) and self._open(now) and self._has_room(purpose):
            self._start(entry)
            return entry
        queue = self._queues[purpose]
        if len(queue) >= self._limits.queue:
            raise self._busy(purpose, self._least_wait(purpose, now))
        least = self._least_wait(purpose, now)
        if least > patience:
            raise self._busy(purpose, least)
        entry.future = loop.create_future()
        queue[entry] = None
        self._expire_at(entry, now + patience)
        self._pump()
        return entry

    def promote(self, entry: Entry, purpose: Purpose, patience: float) -> None:
        """Move a waiting entry up to a stronger purpose, and let it wait as long as the newcomer would."""
        queue = self._queues[entry.purpose]
        if entry not in queue:
            return
        if purpose < entry.purpose:
            del queue[entry]
            entry.purpose = purpose
            self._queues[purpose][entry] = None
        deadline = asyncio.get_running_loop().time() + patience
        if deadline > entry.deadline:
            self._expire_at(entry, deadline)
        self._pump()

    def leave(self, entry: Entry) -> None:
        """Give a place back. Leaving twice changes nothing."""
        self._queues[entry.purpose].pop(entry, None)
        if entry.expiry is not None:
            entry.expiry.cancel()
            entry.expiry = None
        if entry.running:
            entry.running = False
            self._running[entry.purpose] -= 1
            if not entry.used:
                self._tokens = min(self._tokens + 1, self._burst)
        self._pump()

    def pause(self, seconds: float) -> None:
        """Nobody's call leaves before `seconds` have passed. Whoever cannot wait that long is told now."""
        now = asyncio.get_running_loop().time()
        self._fill(now)
        self._paused_until = max(self._paused_until, now + seconds)
        # What was saved up is gone: the venue has just said that it was too much.
        self._tokens = min(self._tokens, 1.0)
        for purpose, queue in self._queues.items():
            for entry in [e for e in queue if e.deadline < self._paused_until]:
                self._refuse(entry, self._busy(purpose, self._paused_until - now))
        self._pump()

    @property
    def paused_until(self) -> float:
        """When calls may leave again (loop seconds); in the past when they may now."""
        return self._paused_until

    def state(self) -> LimiterState:
        """How things stand."""
        now = asyncio.get_running_loop().time()
        self._fill(now)
        return LimiterState(
            {purpose.name.lower(): len(queue) for purpose, queue in self._queues.items()},
            {purpose.name.lower(): count for purpose, count in self._running.items()},
            self._tokens,
            max(0.0, self._paused_until - now),
        )

    def waiting(self) -> int:
        """Calls that wait."""
        return sum(len(queue) for queue in self._queues.values())

    def running(self) -> int:
        """Calls under way."""
        return sum(self._running.values())

    def close(self) -> None:
        """Send everyone who waits away and let nobody in."""
        self._closed = True
        for queue in self._queues.values():
            for entry in list(queue):
                self._refuse(
                    entry, VenueUnavailable("The desk is stopping; nothing was sent to the exchange.")
                )
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What follows runs between awaits only, so nothing can change under it.

    def _fill(self, now: float) -> None:
        since = self._filled_at if self._filled_at is not None else now
        gained = max(0.0, now - max(since, self._paused_until)) * self._limits.calls_per_second
        self._tokens = min(self._tokens + gained, self._burst)
        self._filled_at = now

    def _open(self, now: float) -> bool:
        return now >= self._paused_until and self._tokens >= _ENOUGH

    def _has_room(self, purpose: Purpose) -> bool:
        if self._running[purpose] < self._kept.get(purpose, 0) or self.running() < self._shared:
            return True
        shared = sum(max(0, n - self._kept.get(p, 0)) for p, n in self._running.items())
        return shared < self._shared

    def _start(self, entry: Entry) -> None:
        entry.running = True
        self._running[entry.purpose] += 1
        self._tokens -= 1

    def _pump(self) -> None:
        """Let in whoever may go, strongest first, and come back when the next one may."""
        if self._closed or not any(self._queues.values()):
            return
        now = asyncio.get_running_loop().time()
        self._fill(now)
        for purpose, queue in self._queues.items():
            while queue and self._open(now) and self._has_room(purpose):
                entry = next(iter(queue))
                del queue[entry]
                if entry.expiry is not None:
                    entry.expiry.cancel()
                future = entry.future
                if future is not None and not future.done():
                    self._start(entry)
                    future.set_result(None)
        if any(self._queues.values()) and not self._open(now):
            self._look_again(now)

    def _look_again(self, now: float) -> None:
        missing = max(0.0, 1 - self._tokens) / self._limits.calls_per_second
        at = max(now, self._paused_until) + max(missing, _LEAST_DELAY)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._timer_rang)

    def _timer_rang(self) -> None:
        self._timer = None
        self._pump()

    def _least_wait(self, purpose: Purpose, now: float) -> float:
        """Seconds that a newcomer waits if nobody ahead gives up and every call ends at once."""
        ahead = sum(len(queue) for p, queue in self._queues.items() if p <= purpose)
        missing = max(0.0, ahead + 1 - self._tokens) / self._limits.calls_per_second
        return max(0.0, self._paused_until - now) + missing

    def _expire_at(self, entry: Entry, deadline: float) -> None:
        if entry.expiry is not None:
            entry.expiry.cancel()
        entry.deadline = deadline
        entry.expiry = asyncio.get_running_loop().call_at(deadline, self._expire, entry)

    def _expire(self, entry: Entry) -> None:
        now = asyncio.get_running_loop().time()
        purpose = entry.purpose
        if entry in self._queues[purpose]:
            self._refuse(entry, self._busy(purpose, max(self._least_wait(purpose, now), 1.0)))

    def _refuse(self, entry: Entry, error: VenueUnavailable) -> None:
        self._queues[entry.purpose].pop(entry, None)
        if entry.expiry is not None:
            entry.expiry.cancel()
        future = entry.future
        if future is not None and not future.done():
            future.set_exception(error)
            future.exception()  # it may have nobody left to hear it

    def _busy(self, purpose: Purpose, wait: float) -> VenueBusy:
        now = asyncio.get_running_loop().time()
        limited = self._paused_until > now
        why = "The exchange has asked for a pause" if limited else "Calls to the exchange are rationed"
        return VenueBusy(
            f"{why}, and there is no room in time for {WORDS[purpose]}; nothing was sent. "
            f"Try again in {max(1, math.ceil(wait))} s.",
            wait,
        )
