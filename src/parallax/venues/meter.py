"""What the venue's calls cost: calls by kind, purpose and outcome, calls that were avoided, waits and latencies.

The same numbers as plain data (`snapshot`, for the operations page) and as Prometheus metrics in the registry that
is handed in.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from parallax.ports.venue import Purpose

KEPT: Final = 512
"""Latencies kept of each kind of call: enough that a few outliers are not the 99th percentile."""

KEPT_SECONDS: Final = 900.0
"""Latencies older than this say nothing about now."""

MAX_REASONS: Final = 32
"""Different reasons for an avoided call that are told apart."""

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Kind(StrEnum):
    """The kinds of calls."""

    USERS = "users"
    QUOTE = "quote"
    QUOTES = "quotes"
    ORDERS = "orders"
    ORDER = "order"
    SEND = "send"


class Result(StrEnum):
    """How a call ended, as the meter counts it."""

    OK = "ok"  # a success that could be read
    REFUSED = "refused"  # an explicit no
    LIMITED = "limited"  # 429
    FAILED = "failed"  # 5xx
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    LOST = "lost"  # no connection, or lost on the way
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class CallCount:
    """How many calls of one kind, made for one purpose, ended in one way."""

    kind: str
    purpose: str
    result: str
    count: int


@dataclass(frozen=True, slots=True)
class Latency:
    """How long recent calls of one kind took, in seconds; None while there are none."""

    kind: str
    count: int
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """How long calls of one purpose waited for their turn: how many, and seconds in all and at worst."""

    purpose: str
    count: int
    seconds: float
    longest: float


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """Everything counted since the start."""

    calls: tuple[CallCount, ...]
    avoided: dict[str, int]
    waits: tuple[Wait, ...]
    latencies: tuple[Latency, ...]

    @property
    def total(self) -> int:
        """Calls of any kind."""
        return sum(call.count for call in self.calls)


class Latencies:
    """The recent latencies of one kind of call: bounded in number and in age."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []
        self.count = 0

    def add(self, now: float, seconds: float) -> None:
        """A call ended at `now` after `seconds`."""
        if len(self._samples) == KEPT:
            self._let_go()
        self._samples.append((now, seconds))
        insort(self._sorted, seconds)
        self.count += 1

    def recent(self, now: float) -> list[float]:
        """Those of the last `KEPT_SECONDS`, sorted. It is the very list: look, and do not keep it."""
        while self._samples and self._samples[0][0] < now - KEPT_SECONDS:
            self._let_go()
        return self._sorted

    def _let_go(self) -> None:
        _, seconds = self._samples.popleft()
        del self._sorted[bisect_left(self._sorted, seconds)]

    def quantile(self, now: float, q: float) -> float | None:
        """The latency that a share `q` of the recent ones did not exceed."""
        values = self.recent(now)
        return values[min(len(values) - 1, math.ceil(q * len(values)) - 1)] if values else None


class Meter:
    """Counts. `clock` gives the loop's seconds; without a registry, nothing is kept for Prometheus."""

    def __init__(self, clock: Callable[[], float], registry: CollectorRegistry | None = None) -> None:
        self._clock = clock
        self._calls: Tally[tuple[Kind, Purpose, Result]] = Tally()
        self._avoided: Tally[str] = Tally()
        self._waits: dict[Purpose, tuple[int, float, float]] = {}
        self.latencies = {kind: Latencies() for kind in Kind}
        self._metrics = _Metrics(registry or CollectorRegistry())

    def ended(self, kind: Kind, purpose: Purpose, result: Result, seconds: float) -> None:
        """A call left and came to an end."""
        self._calls[kind, purpose, result] += 1
        self._metrics.calls(kind, purpose, result).inc()
        if result is not Result.CANCELLED:
            self.latencies[kind].add(self._clock(), seconds)
            self._metrics.seconds[kind].observe(seconds)

    def waited(self, purpose: Purpose, seconds: float) -> None:
        """A call had its turn after `seconds` in the queue."""
        count, total, longest = self._waits.get(purpose, (0, 0.0, 0.0))
        self._waits[purpose] = (count + 1, total + seconds, max(longest, seconds))
        self._metrics.waits[purpose].observe(seconds)

    def avoided(self, reason: str, n: int = 1) -> None:
        """`n` calls were not made: `shared` with one under way, answered from a `cache`, refused by the `breaker`
        or for want of `room`, …"""
        if n <= 0:
            return
        known = reason in self._avoided or len(self._avoided) < MAX_REASONS
        reason = reason if known else "other"
        self._avoided[reason] += n
        self._metrics.avoided.labels(reason).inc(n)

    def snapshot(self) -> MeterSnapshot:
        """Everything counted so far."""
        now = self._clock()
        return MeterSnapshot(
            tuple(
                CallCount(kind.value, purpose.name.lower(), result.value, count)
                for (kind, purpose, result), count in sorted(self._calls.items())
            ),
            dict(self._avoided),
            tuple(Wait(p.name.lower(), *values) for p, values in sorted(self._waits.items())),
            tuple(
                Latency(kind.value, seen.count, seen.quantile(now, 0.5), seen.quantile(now, 0.99))
                for kind, seen in self.latencies.items()
            ),
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A metric that is read when it is scraped."""
        self._metrics.gauge(name, help_text, read)


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._calls = Counter(
            "parallax_venue_calls",
            "Calls to the exchange.",
            ("kind", "purpose", "result"),
            registry=registry,
        )
        self._children: dict[tuple[Kind, Purpose, Result], Counter] = {}
        self.avoided = Counter(
            "parallax_venue_calls_avoided",
            "Calls to the exchange that did not have to be made.",
            ("reason",),
            registry=registry,
        )
        seconds = Histogram(
            "parallax_venue_call_seconds",
            "Time from sending a call to the end of its answer.",
            ("kind",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.seconds = {kind: seconds.labels(kind.value) for kind in Kind}
        waits = Histogram(
            "parallax_venue_wait_seconds",
            "Time that calls waited for room in the budget.",
            ("purpose",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.waits = {purpose: waits.labels(purpose.name.lower()) for purpose in Purpose}

    def calls(self, kind: Kind, purpose: Purpose, result: Result) -> Counter:
        """The counter of one combination; looked up once, since finding it costs more than counting."""
        child = self._children.get((kind, purpose, result))
        if child is None:
            child = self._calls.labels(kind.value, purpose.name.lower(), result.value)
            self._children[kind, purpose, result] = child
        return child

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        Gauge(name, help_text, registry=self._registry).set_function(read)
