"""How long orders take to settle, learned from the looks that saw it: when are the next looks worth their call?

Each settled order tells an interval of ages: at the last look it was pending, at this one it was not. Mass is spread
over the interval by what is believed so far, and a little of it evenly, so that a belief that is wrong is found out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

BIN: Final = 0.25
"""Seconds of age in one bin."""

HORIZON: Final = 60.0
"""Ages beyond this are not told apart; a slower venue is followed with growing gaps anyway."""

FIRST_GUESS: Final = (5.0, 10.0)
"""What the exchange documents: orders usually resolve within 5 to 10 seconds."""

GUESS_WEIGHT: Final = 50.0
"""The first guess counts as much as this many orders."""

MEMORY: Final = 0.97
"""What an order counts for after each later one: the last few dozen orders rule."""

DOUBT: Final = 0.05
"""The share of an observation at the first look that is spread evenly over all ages before it, whatever is
believed: nobody has ever looked earlier, and someone should, now and then."""

TOO_EARLY: Final = 0.6
"""When a larger share than this has settled by the first look, which is meant for a third, the looks are too late."""

LATER_DOUBT: Final = 0.01
"""The same for intervals between two looks."""

RUNGS: Final = (1 / 3, 2 / 3, 0.99)
"""The looks at a lone order, as quantiles of the settle time: three well-placed ones cost two calls on average."""

LAST_RUNG_SLACK: Final = 0.05
"""Seconds added to the last rung: an order settling at the very edge is worth waiting for."""


class SettleTimes:
    """A decaying histogram of settle times."""

    def __init__(self, shares: tuple[float, ...] = RUNGS) -> None:
        self._shares = shares
        bins = int(HORIZON / BIN)
        low, high = (int(edge / BIN) for edge in FIRST_GUESS)
        self._mass = [GUESS_WEIGHT / (high - low) if low <= i < high else 0.0 for i in range(bins)]
        self._rungs: tuple[float, ...] | None = None
        self._early = RUNGS[0]
        self.seen = 0

    def learn(self, answered_at: datetime, pending_at: datetime | None, settled_at: datetime) -> None:
        """The same from instants: accepted, last seen pending (None: never looked at), seen settled."""
        since = (pending_at - answered_at).total_seconds() if pending_at else 0.0
        self.observe(since, (settled_at - answered_at).total_seconds())

    def observe(self, pending_at: float, settled_by: float) -> None:
        """An order was still pending at one age (seconds; 0 if never looked at) and settled by another."""
        low = min(int(max(pending_at, 0.0) / BIN), len(self._mass) - 1)
        high = min(max(int(settled_by / BIN), low), len(self._mass) - 1)
        inside = self._mass[low : high + 1]
        believed = sum(inside)
        count = len(inside)
        first = pending_at <= 0
        self._early = MEMORY * self._early + (1 - MEMORY) * first
        # Most orders settled before the first look: nearly nothing is known of when, so belief counts for little.
        doubt = (DOUBT + 2 * max(0.0, self._early - TOO_EARLY)) if first else LATER_DOUBT
        self._mass = [mass * MEMORY for mass in self._mass]
        for i, mass in enumerate(inside):
            share = mass / believed if believed > 0 else 1 / count
            self._mass[low + i] += (1 - doubt) * share + doubt / count
        self.seen += 1
        self._rungs = None

    def quantile(self, share: float) -> float:
        """The age in seconds by which this share of orders has settled."""
        wanted = share * sum(self._mass)
        before = 0.0
        for i, mass in enumerate(self._mass):
            if mass > 0 and before + mass >= wanted:
                return (i + (wanted - before) / mass) * BIN
            before += mass
        return HORIZON

    @property
    def rungs(self) -> tuple[float, ...]:
        """The ages, in seconds, at which an order is worth a look."""
        if self._rungs is None:
            ages = [self.quantile(share) for share in self._shares]
            ages[-1] += LAST_RUNG_SLACK
            self._rungs = tuple(ages)
        return self._rungs

    def next_look(self, age: float) -> float:
        """The age of the next look at an order that was seen pending at `age`: the next rung, then growing gaps
        of a quarter of how overdue it is, from one second up to a minute."""
        for rung in self.rungs:
            if rung > age + BIN:
                return rung
        overdue = age - self.rungs[0]
        return age + min(max(1.0, overdue / 4), 60.0)

    def overdue(self, age: float) -> bool:
        """Whether an order pending at this age is taking unusually long."""
        return age > 3 * self.rungs[-1]
