"""The breaker: after repeated failures, stop asking; try again with single probes, ever less often; close at
the first success.

While it is open, new quotes and orders are refused at once. Whatever *read* wants to go next, once the time for
it has come, is the probe: one at a time, and never an order. Pure: the time and the chance are handed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

MAX_REMEMBERED: Final = 1_000
"""Calls of the window that are remembered at most: at any rate, the last thousand tell enough."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When it opens, and when it tries again.

    It opens after `failures` in a row, or when at least `share` of the calls of the last `window` seconds
    failed and these were at least `least_calls`. The first probe comes after about `first_delay` seconds;
    each that fails doubles the delay, up to `longest_delay`.
    """

    failures: int = 5
    share: float = 0.6
    window: float = 30.0
    least_calls: int = 20
    first_delay: float = 1.0
    longest_delay: float = 30.0


@dataclass(frozen=True, slots=True)
class Down:
    """Why and since when (loop seconds) the exchange is not asked, and when it is tried again."""

    since: float
    cause: str
    failures: int
    retry_at: float


class Breaker:
    """Counts successes and failures; says who may go."""

    def __init__(self, settings: BreakerSettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._in_a_row = 0
        self._recent: deque[tuple[float, bool]] = deque(maxlen=MAX_REMEMBERED)
        self._failed_recently = 0
        self._down: Down | None = None
        self._delay = settings.first_delay
        self._probing = False

    @property
    def down(self) -> Down | None:
        """What keeps it open, or None when it is closed."""
        return self._down

    @property
    def probing(self) -> bool:
        """Whether a probe is under way."""
        return self._probing

    def refuses(self, now: float, *, may_probe: bool) -> bool:
        """Whether a call would be turned away now."""
        if self._down is None:
            return False
        return not may_probe or self._probing or now < self._down.retry_at

    def begin(self) -> bool:
        """A call that was not refused leaves. Says whether it is the probe."""
        if self._down is None:
            return False
        self._probing = True
        return True

    def succeeded(self, now: float, *, probe: bool) -> None:
        """An answer came. Whoever asked, the exchange is there."""
        self._probing = self._probing and not probe
        self._in_a_row = 0
        self._remember(now, failed=False)
        if self._down is not None:
            self._down = None
            self._probing = False
            self._delay = self._settings.first_delay
            self._recent.clear()
            self._failed_recently = 0

    def failed(self, now: float, cause: str, *, probe: bool) -> None:
        """No answer came, or one that says that the exchange is broken."""
        self._in_a_row += 1
        self._remember(now, failed=True)
        if self._down is not None:
            # Calls that were under way when it opened fail late and tell nothing new; the probe does.
            if probe:
                self._probing = False
                self._delay = min(self._delay * 2, self._settings.longest_delay)
                self._down = Down(self._down.since, cause, self._in_a_row, self._retry_at(now))
        elif self._in_a_row >= self._settings.failures or self._too_many_failed():
            self._down = Down(now, cause, self._in_a_row, self._retry_at(now))

    def abandoned(self, *, probe: bool) -> None:
        """A call was cancelled: it tells nothing, and the next read may be the probe."""
        self._probing = self._probing and not probe

    def _retry_at(self, now: float) -> float:
        # Between 75 and 100 % of the delay, so that many desks do not come back as one.
        return now + self._delay * (0.75 + 0.25 * self._random.random())

    def _too_many_failed(self) -> bool:
        calls = len(self._recent)
        return calls >= self._settings.least_calls and self._failed_recently >= self._settings.share * calls

    def _remember(self, now: float, *, failed: bool) -> None:
        if len(self._recent) == MAX_REMEMBERED:
            self._failed_recently -= self._recent.popleft()[1]
        self._recent.append((now, failed))
        self._failed_recently += failed
        while self._recent[0][0] < now - self._settings.window:
            self._failed_recently -= self._recent.popleft()[1]
