"""The tracker: follows unsettled orders, one list a user however many there are, until each is settled.

Pending orders are looked at when they have probably settled (`SettleTimes`), unknown ones soon and then when a look can
prove something. It never gives up, and one user's trouble does not touch another's.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final

import structlog

from parallax.desk.ledger import Ledger
from parallax.desk.readings import Readings
from parallax.desk.reconciliation import READ_SPACING
from parallax.desk.settle_times import SettleTimes
from parallax.desk.supervision import Supervisor
from parallax.domain.entities import Order
from parallax.domain.errors import JournalFailed, VenueUnavailable
from parallax.domain.facts import OrderCompleted, OrderFailed
from parallax.domain.identity import OrderId, UserId
from parallax.domain.transitions import OrderState
from parallax.ports.clock import Clock
from parallax.ports.journal import Recorded
from parallax.ports.venue import Purpose, Venue

GAP: Final = 1.6
"""Seconds between two looks at one user: many orders share a look, and none waits longer for being one of many."""

FIRST_UNKNOWN_LOOK: Final = 0.5
"""Seconds until an order without an answer is looked for: most are there."""

LONGEST_UNKNOWN_GAP: Final = 30.0
"""Seconds between looks for an unknown order while nothing can be proven yet."""

LONGEST_RETRY: Final = 60.0
"""Seconds between looks that keep failing, at most."""

MOST_FAILURES: Final = 30
"""Failures in a row that are counted: the retries are at their longest well before."""

JITTER: Final = 0.03
"""Looks are moved by up to this share, so that they do not come in bursts and learn more."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Watch:
    """One user being followed. Times are the loop's."""

    due: float = 0.0
    last_began: float = -math.inf
    ended: float = -math.inf
    reading: bool = False
    failures: int = 0


class Tracker:
    """Follows every open order in the books."""

    def __init__(
        self,
        ledger: Ledger,
        readings: Readings,
        venue: Venue,
        supervisor: Supervisor,
        clock: Clock,
        random: Random,
    ) -> None:
        self._ledger = ledger
        self._readings = readings
        self._venue = venue
        self._supervisor = supervisor
        self._clock = clock
        self._random = random
        self.settle_times = SettleTimes()
        self.gap = GAP
        self._watches: dict[UserId, _Watch] = {}
        self._heap: list[tuple[float, UserId]] = []
        self._since: dict[OrderId, float] = {}
        self._misses: dict[OrderId, int] = {}
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """Follow what is open in the books now, and whatever opens later."""
        for user_id in list(self._ledger.books.users_with_open_orders()):
            for order in self._ledger.books.open_orders(user_id):
                self._since[order.id] = self._loop_time(order.answered_at or order.created_at)
            self._plan(user_id)
        self._ledger.feed.hook(self._heard)

    async def run(self) -> None:
        """Look whenever a look is due. A duty: never returns."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = loop.time()
            while self._heap and self._heap[0][0] <= now:
                due, user_id = heapq.heappop(self._heap)
                watch = self._watches.get(user_id)
                if watch is not None and watch.due == due and not watch.reading:
                    watch.reading = True
                    self._supervisor.task(f"look at {user_id}", self._look(user_id, watch))
            timer = loop.call_at(self._heap[0][0], self._wake.set) if self._heap else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def overdue(self, order: Order) -> bool:
        """Whether a pending order is taking unusually long."""
        since = self._since.get(order.id)
        return (
            order.state is OrderState.PENDING
            and since is not None
            and self.settle_times.overdue(asyncio.get_running_loop().time() - since)
        )

    def next_look(self, user_id: UserId) -> float | None:
        """Seconds until the next look at a user's orders, or None when none is planned."""
        watch = self._watches.get(user_id)
        return max(0.0, watch.due - asyncio.get_running_loop().time()) if watch else None

    def _heard(self, records: Sequence[Recorded]) -> None:
        """A batch of facts is durable: follow what has opened, forget and learn from what has settled."""
        # In order: a set's would differ from run to run.
        opened: dict[OrderId, Order] = {}
        moved: dict[UserId, None] = {}
        now = asyncio.get_running_loop().time()
        for record in records:
            order = record.change.order
            if order is None:
                continue
            if order.open and order.id not in self._since:
                self._since[order.id] = now
                opened[order.id] = order
            elif order.open:
                moved[order.user_id] = None
            elif order.id in self._since:
                self._learn(order, record)
                self._since.pop(order.id, None)
                self._misses.pop(order.id, None)
                opened.pop(order.id, None)
                moved[order.user_id] = None
        for user_id in moved:
            self._plan(user_id)
        for order in opened.values():
            self._expect(order, now)

    def _expect(self, order: Order, now: float) -> None:
        """An order has opened: the look that is planned will do unless this one wants an earlier look. (Planning anew
        goes through all of a user's open orders, and a busy user has thousands.)"""
        watch = self._watches.get(order.user_id)
        if watch is None:
            self._plan(order.user_id)
        elif not watch.reading and not watch.failures:
            wanted = max(self._next_look(order, now, watch), watch.last_began + self.gap)
            if wanted < watch.due:
                self._look_at(order.user_id, watch, wanted, now)

    def _learn(self, order: Order, record: Recorded) -> None:
        fact = record.fact
        if not isinstance(fact, OrderCompleted | OrderFailed) or order.answered_at is None:
            return
        self.settle_times.learn(order.answered_at, fact.not_before, fact.at)

    def _plan(self, user_id: UserId) -> None:
        """Set when the user's orders are next worth a call."""
        if (watch := self._watches.get(user_id)) is None:
            watch = self._watches[user_id] = _Watch()
        if watch.reading:
            return  # planned when the look is over
        orders = self._ledger.books.open_orders(user_id)
        if not orders:
            del self._watches[user_id]
            return
        now = asyncio.get_running_loop().time()
        if watch.failures:
            wanted = watch.ended + min(2.0 ** (watch.failures - 1), LONGEST_RETRY)
        else:
            wanted = min(self._next_look(order, now, watch) for order in orders)
        self._look_at(user_id, watch, max(wanted, watch.last_began + self.gap), now)

    def _look_at(self, user_id: UserId, watch: _Watch, wanted: float, now: float) -> None:
        watch.due = now + max(0.0, wanted - now) * self._random.uniform(1 - JITTER, 1 + JITTER)
        planned = (watch.due, user_id)
        heapq.heappush(self._heap, planned)
        if self._heap[0] is planned:
            self._wake.set()

    def _next_look(self, order: Order, now: float, watch: _Watch) -> float:
        since = self._since[order.id]
        if order.state is OrderState.UNKNOWN:
            return self._next_unknown_look(order, max(since, watch.last_began), max(since, watch.ended), now)
        looked_at = max(watch.last_began - since, 0.0)
        return since + self.settle_times.next_look(looked_at)

    def _next_unknown_look(self, order: Order, last: float, ended: float, now: float) -> float:
        """Soon after the loss, then ever later; from the moment absence counts, as often as counting reads may be.

        `last` is when it was last looked for, or was lost; `ended` is when that look was over."""
        misses = self._misses.get(order.id, 0)
        if misses == 0:
            return last + FIRST_UNKNOWN_LOOK
        assert order.conclusive_after is not None, "an unknown order says from when absence counts"
        time = self._venue.clock.read()
        uncertainty = time.uncertainty.total_seconds()
        until_proof = (order.conclusive_after - time.now).total_seconds() + uncertainty
        if until_proof <= 0:
            return ended + READ_SPACING.total_seconds() + 2 * uncertainty if order.absences else last
        return min(last + min(2.0**misses, LONGEST_UNKNOWN_GAP), now + until_proof + 0.1)

    async def _look(self, user_id: UserId, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        watch.last_began = loop.time()
        orders = self._ledger.books.open_orders(user_id)
        unknown = [order for order in orders if order.state is OrderState.UNKNOWN]
        try:
            await self._readings.read_orders(user_id, Purpose.RESOLVE if unknown else Purpose.FOLLOW)
        except (VenueUnavailable, JournalFailed) as error:
            watch.failures = min(watch.failures + 1, MOST_FAILURES)
            log.info("look failed", user_id=user_id, failures=watch.failures, error=error.words)
        except Exception:
            watch.failures = min(
                watch.failures + 1, MOST_FAILURES
            )  # a mistake of ours: told by the supervisor
            raise
        else:
            watch.failures = 0
            self._venue.avoided("one_list", len(orders) - 1)
            for order in unknown:
                self._misses[order.id] = self._misses.get(order.id, 0) + 1
        finally:
            watch.reading = False
            watch.ended = loop.time()
            self._plan(user_id)

    def _loop_time(self, instant: datetime) -> float:
        age = (self._clock.now() - instant).total_seconds()
        return asyncio.get_running_loop().time() - max(0.0, age)
