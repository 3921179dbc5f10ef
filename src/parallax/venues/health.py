"""How the exchange is doing, in one word with reasons: what the pages show at once when it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from parallax.ports.clock import Clock
from parallax.ports.venue import VenueHealth, VenueStatus
from parallax.venues.breaker import Breaker, Down
from parallax.venues.budget import Limiter

SLOW_CALLS: Final = 8
"""The last calls by whose median the exchange is called slow; half as many are enough to tell."""

SLOW_MEMORY: Final = 60.0
"""Seconds after which a slow call is forgotten."""


class Health:
    """The venue's status, from the breaker, the limiter and the latencies; listeners hear of each change."""

    def __init__(self, clock: Clock, breaker: Breaker, limiter: Limiter, slow_after: float) -> None:
        self._clock = clock
        self._breaker = breaker
        self._limiter = limiter
        self._slow_after = slow_after
        self._recent: deque[tuple[float, float]] = deque(maxlen=SLOW_CALLS)
        self._answered = False
        self._key_refused = False
        self._listeners: list[Callable[[VenueStatus], None]] = []
        self.status = VenueStatus(VenueHealth.UNKNOWN, clock.now())

    def listen(self, callback: Callable[[VenueStatus], None]) -> Callable[[], None]:
        """Call `callback` with each new status, from now on. Gives back what ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def took(self, seconds: float) -> None:
        """A call, answered or not, took this long."""
        self._recent.append((self._clock.monotonic(), seconds))

    def answered(self) -> None:
        """The exchange has answered: until then nothing is known of how it does."""
        self._answered = True

    def heard_of_key(self, *, refused: bool) -> None:
        """An answer has shown whether the exchange accepts the key."""
        self._key_refused = refused

    def review(self) -> None:
        """Form the status anew, and tell when it is another."""
        now = self._clock.monotonic()
        if self.status.health is VenueHealth.WELL and self._is_well(now):
            return  # as after nearly every call
        status = self._assess(now, self._clock.now())
        if status != self.status:
            self.status = status
            for listener in tuple(self._listeners):
                listener(status)

    def next_review(self) -> float | None:
        """When (monotonic seconds) the status changes by time alone, or None."""
        if self.status.health is VenueHealth.LIMITED:
            return self._limiter.paused_until
        if self.status.health is VenueHealth.SLOW and self._recent:
            ends = (at + SLOW_MEMORY for at, _ in self._recent)
            return min((end for end in ends if end > self._clock.monotonic()), default=None)
        return None

    def _assess(self, now: float, wall: datetime) -> VenueStatus:
        down = self._breaker.down
        if down is not None:
            since = self.status.since
            if self.status.health is not VenueHealth.DOWN:
                since = wall - timedelta(seconds=now - down.since)
            retry_at = _whole_seconds(wall + timedelta(seconds=down.retry_at - now))
            return VenueStatus(VenueHealth.DOWN, since, down_words(down), retry_at)
        if self._limiter.paused_until > now:
            retry_at = _whole_seconds(wall + timedelta(seconds=self._limiter.paused_until - now))
            words = "The exchange has asked for a pause; no call leaves before it is over."
            return VenueStatus(VenueHealth.LIMITED, self._since(VenueHealth.LIMITED, wall), words, retry_at)
        if self._key_refused:
            words = "The exchange refuses the API key of this desk: an administrator has to set a valid one."
            return VenueStatus(VenueHealth.REFUSING, self._since(VenueHealth.REFUSING, wall), words)
        if self._is_slow(now):
            words = f"Half of the last calls took {self._slow_after:g} s or longer."
            return VenueStatus(VenueHealth.SLOW, self._since(VenueHealth.SLOW, wall), words)
        health = VenueHealth.WELL if self._answered else VenueHealth.UNKNOWN
        return VenueStatus(health, self._since(health, wall))

    def _is_well(self, now: float) -> bool:
        return not (
            self._breaker.down is not None
            or self._limiter.paused_until > now
            or self._key_refused
            or self._is_slow(now)
        )

    def _since(self, health: VenueHealth, wall: datetime) -> datetime:
        return self.status.since if self.status.health is health else wall

    def _is_slow(self, now: float) -> bool:
        recent = sorted([seconds for at, seconds in self._recent if at > now - SLOW_MEMORY])
        return len(recent) >= SLOW_CALLS // 2 and recent[len(recent) // 2] >= self._slow_after


def down_words(down: Down) -> str:
    """Why the exchange is not asked, as a sentence."""
    return f"The exchange does not answer properly; the last of its failures: {down.cause}"


def _whole_seconds(instant: datetime) -> datetime:
    """Rounded up: two looks at one moment, microseconds apart, are no change of status."""
    return (instant + timedelta(microseconds=999_999)).replace(microsecond=0)
