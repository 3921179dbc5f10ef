"""What the venue's calls cost: calls by kind, purpose and outcome, calls that were avoided, waits and latencies.

The same numbers as plain data (`snapshot`, for the operations page) and as Prometheus metrics in the registry that
is handed in.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from parallax.ports.venue import Purpose

KEPT: Final = 512
"""Latencies kept of each kind of call: enough that a few outliers are not the 99th percentile."""

KEPT_SECONDS: Final = 900.0
"""Latencies older than this say nothing about now."""

MAX_REASONS: Final = 32
"""Different reasons for an avoided call that are told apart."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds, for Prometheus's histograms."""


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


class Spread:
    """How long something took, over all: how often, in sum, at worst, and how often within each of `BUCKETS`."""

    def __init__(self) -> None:
        self.within = [0] * (len(BUCKETS) + 1)
        """Each bucket's own, and last those that took longer than all."""
        self.seconds = 0.0
        self.longest = 0.0

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.within)

    def add(self, seconds: float) -> None:
        """It took `seconds` once more."""
        self.within[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


class Meter:
    """Counts. `clock` gives the loop's seconds; in a registry, Prometheus finds the counts when it asks for them."""

    def __init__(self, clock: Callable[[], float], registry: CollectorRegistry | None = None) -> None:
        self._clock = clock
        self.calls: Tally[tuple[Kind, Purpose, Result]] = Tally()
        self.unmade: Tally[str] = Tally()
        """Calls that were avoided, by reason."""
        self.took = {kind: Spread() for kind in Kind}
        self.waits = {purpose: Spread() for purpose in Purpose}
        self.latencies = {kind: Latencies() for kind in Kind}
        self.gauges: list[tuple[str, str, Callable[[], float]]] = []
        if registry is not None:
            registry.register(_MeterCollector(self))

    def ended(self, kind: Kind, purpose: Purpose, result: Result, seconds: float) -> None:
        """A call left and came to an end."""
        self.calls[kind, purpose, result] += 1
        if result is not Result.CANCELLED:
            self.latencies[kind].add(self._clock(), seconds)
            self.took[kind].add(seconds)

    def waited(self, purpose: Purpose, seconds: float) -> None:
        """A call had its turn after `seconds` in the queue."""
        self.waits[purpose].add(seconds)

    def avoided(self, reason: str, n: int = 1) -> None:
        """`n` calls were not made: `shared` with one under way, answered from a `cache`, refused by the `breaker`
        or for want of `room`, …"""
        if n <= 0:
            return
        known = reason in self.unmade or len(self.unmade) < MAX_REASONS
        self.unmade[reason if known else "other"] += n

    def snapshot(self) -> MeterSnapshot:
        """Everything counted so far."""
        now = self._clock()
        return MeterSnapshot(
            tuple(
                CallCount(kind.value, purpose.name.lower(), result.value, count)
                for (kind, purpose, result), count in sorted(self.calls.items())
            ),
            dict(self.unmade),
            tuple(
                Wait(purpose.name.lower(), waits.count, waits.seconds, waits.longest)
                for purpose, waits in sorted(self.waits.items())
                if waits.count
            ),
            tuple(
                Latency(kind.value, seen.count, seen.quantile(now, 0.5), seen.quantile(now, 0.99))
                for kind, seen in self.latencies.items()
            ),
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A metric that is read when it is scraped."""
        self.gauges.append((name, help_text, read))


class _MeterCollector(Collector):
    """Reads a meter when Prometheus asks: to count twice would be a good part of what a call costs."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        meter = self._meter
        calls = CounterMetricFamily(
            "parallax_venue_calls", "Calls to the exchange.", labels=("kind", "purpose", "result")
        )
        for (kind, purpose, result), count in sorted(meter.calls.items()):
            calls.add_metric((kind.value, purpose.name.lower(), result.value), count)
        yield calls
        avoided = CounterMetricFamily(
            "parallax_venue_calls_avoided",
            "Calls to the exchange that did not have to be made.",
            labels=("reason",),
        )
        for reason, count in sorted(meter.unmade.items()):
            avoided.add_metric((reason,), count)
        yield avoided
        yield _histogram(
            "parallax_venue_call_seconds",
            "Time from sending a call to the end of its answer.",
            "kind",
            {kind.value: took for kind, took in meter.took.items()},
        )
        yield _histogram(
            "parallax_venue_wait_seconds",
            "Time that calls waited for room in the budget.",
            "purpose",
            {purpose.name.lower(): waits for purpose, waits in meter.waits.items()},
        )
        for name, words, read in meter.gauges:
            yield GaugeMetricFamily(name, words, value=read())


def _histogram(name: str, words: str, label: str, spreads: dict[str, Spread]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, words, labels=(label,))
    for value, spread in spreads.items():
        bounds = [*map(str, BUCKETS), "+Inf"]
        family.add_metric((value,), list(zip(bounds, accumulate(spread.within), strict=True)), spread.seconds)
    return family
