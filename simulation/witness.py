"""What really happened in a run: noted by the network, the disk and the people, never by the desk itself.

The desk's own record is judged against this and against the sandbox's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

EPOCH: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
"""The true time at which every run begins."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule was broken; `rule` is its name in docs/guarantees.md."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule} is broken: {self.words}"


@dataclass(slots=True)
class Departure:
    """An order request that left the desk."""

    at: float
    process: str
    quote_id: str
    user_id: str
    amount: str
    in_trouble: bool = False
    """Whether something is going to befall it or its answer."""
    order_id: str = ""
    refused: bool = False
    """Whether the desk was given an explicit refusal that leaves the quote usable."""
    answered: int = 0
    """The status that came back; 0 while none has."""
    made: str = ""
    """The order that it became at the venue."""


@dataclass(slots=True)
class ListShown:
    """A full list of a user's orders that reached the desk intact."""

    process: str
    user_id: str
    asked: float
    """When the request left the desk."""
    answered: float
    asked_venue: datetime
    """The same by the venue's clock."""
    statuses: dict[str, str]


@dataclass(slots=True)
class Witness:
    """The notes of one run. `time` is the true time in seconds since its start."""

    time: Callable[[], float]
    keep_story: bool = False
    departures: list[Departure] = field(default_factory=list[Departure])
    lists: list[ListShown] = field(default_factory=list[ListShown])
    venue_skews: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """(since, seconds): how far the venue's clock was ahead of the true time."""
    times_told: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Of answers that told the venue's time: when they were asked for, and how long they took."""
    minds_changed: dict[str, str] = field(default_factory=dict[str, str])
    """Orders that un-settled at the venue, and what they say now."""
    answers: dict[str, str] = field(default_factory=dict[str, str])
    """Order → the state that somebody was told last."""
    disk_failures: int = 0
    violations: list[Violation] = field(default_factory=list[Violation])
    story: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def tell(self, who: str, what: str) -> None:
        """A line of the story."""
        if self.keep_story:
            self.story.append(f"{self.time():9.3f}  {who:<9} {what}")

    def count(self, what: str) -> None:
        """One more of something that happened."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def broken(self, rule: str, words: str) -> None:
        """A rule was broken."""
        self.violations.append(Violation(rule, words))
        self.tell("CHECKER", f"{rule} is broken: {words}")

    def expect(self, holds: object, rule: str, words: str) -> None:
        """Note a violation of `rule` unless it holds."""
        if not holds:
            self.broken(rule, words)

    def skew_at(self, at: float) -> float:
        """How far the venue's clock was ahead at a moment."""
        skew = 0.0
        for since, seconds in self.venue_skews:
            if since <= at:
                skew = seconds
        return skew

    def venue_time(self, at: float) -> datetime:
        """The venue's clock at a moment."""
        return EPOCH + timedelta(seconds=at + self.skew_at(at))

    def jumped_between(self, begin: float, end: float) -> float:
        """By how many seconds in all the venue's clock was set in a span."""
        total, before = 0.0, None
        for since, seconds in self.venue_skews:
            if before is not None and begin <= since <= end:
                total += abs(seconds - before)
            before = seconds
        return total

    def unheard(self, at: float) -> float:
        """By how many seconds a desk may be wrong about the venue's clock because that was set: within three minutes by
        all of it; afterwards by what the quickest answer took that was asked for since, as none tells more exactly."""
        total, before = 0.0, None
        for since, seconds in self.venue_skews:
            if before is not None and since <= self.time():
                by = abs(seconds - before)
                if since < at - 180.0:
                    by = min([by, *(took for asked, took in self.times_told if asked > since)])
                total += by
            before = seconds
        return total

    @property
    def fingerprint(self) -> str:
        """What identifies the story: the same in every replay."""
        return sha256("\n".join(self.story).encode()).hexdigest()[:16]
