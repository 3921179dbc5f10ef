"""The disk under the journal: slow when it likes, torn by a crash, full when the seed says so, and read by the checker.

What the checker knows of facts it takes from here, never from the desk: a fact counts as durable when it would survive
a crash at this instant.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from random import Random

from parallax.domain.facts import (
    Fact,
    OrderAdopted,
    OrderClaimed,
    OrderFact,
    OrderRefused,
    OrderSent,
    OrderWithdrawn,
    QuoteIssued,
    QuotesListed,
)
from parallax.domain.transitions import OrderState
from parallax.journal.disks import Entry
from parallax.ports.codec import decode
from parallax.ports.journal import Remembered
from simulation.life import BECOMES
from simulation.loop import SimulatedLoop
from simulation.plan import Plan
from simulation.witness import Witness

SLOWEST_SYNC = 2.0
"""Seconds that an fsync takes at worst."""


class Disk:
    """What survives. One disk serves all lives of a desk, one after the other."""

    def __init__(self, loop: SimulatedLoop, plan: Plan, witness: Witness) -> None:
        self.facts: list[Fact] = []
        """Every durable fact, in order."""
        self.times: list[float] = []
        """When each became durable (true time)."""
        self.claims: dict[str, list[OrderClaimed]] = {}
        """Durable claims by quote."""
        self.states: dict[str, OrderState] = {}
        """Every order that has begun by a durable fact, and where the facts have led it."""
        self.given_up: set[str] = set()
        """Orders whose claim has been given up by a durable fact: withdrawn or refused."""
        self.fail_next = False
        """When set, the next sync fails."""
        self._entries: list[Entry] = []
        self._loop = loop
        self._slow = plan.slow_disk
        self._witness = witness
        self._random = Random(f"{plan.seed}:disk")
        self._under_way: Sequence[Entry] | None = None
        self._crashes = 0

    def load(self) -> Sequence[Entry]:
        """What a start finds."""
        return tuple(self._entries)

    def sync(self, entries: Sequence[Entry], durable: Callable[[], None]) -> None:
        """Keep entries and say so a while later. Raises `OSError` when the disk fails; they may be on it then."""
        assert self._under_way is None, "the journal writes one group at a time"
        if self.fail_next:
            self.fail_next = False
            self._witness.disk_failures += 1
            kept = self._random.random() < 0.5
            self._witness.tell("disk", f"fails; the facts are {'on it all the same' if kept else 'lost'}")
            if kept:
                self._keep(entries)
            raise OSError(errno.EIO, "Input/output error")
        self._under_way = entries
        self._loop.call_later(self._delay(), self._synced, self._crashes, durable)

    def crash(self) -> None:
        """Power off: the sync under way was done, though nobody was told, or was not done at all."""
        if self._under_way is not None:
            kept = self._random.random() < 0.5
            self._witness.tell("disk", f"{'keeps' if kept else 'loses'} what was being written")
            if kept:
                self._keep(self._under_way)
        self._under_way = None
        self._crashes += 1

    def _delay(self) -> float:
        if self._random.random() < self._slow:
            return SLOWEST_SYNC * self._random.random()
        return 0.0005 + 0.0025 * self._random.random()

    def _synced(self, crashes: int, durable: Callable[[], None]) -> None:
        if crashes != self._crashes or self._under_way is None:
            return
        entries, self._under_way = self._under_way, None
        self._keep(entries)
        durable()

    def _keep(self, entries: Sequence[Entry]) -> None:
        self._entries += entries
        for entry in entries:
            if isinstance(entry, Remembered):
                continue
            fact = decode(entry) if isinstance(entry, bytes) else entry
            self.facts.append(fact)
            self.times.append(self._loop.time())
            if isinstance(fact, OrderFact):
                self.states[fact.order_id] = BECOMES[type(fact)]
                if isinstance(fact, OrderClaimed):
                    self.claims.setdefault(fact.quote_id, []).append(fact)
                elif isinstance(fact, OrderWithdrawn | OrderRefused):
                    self.given_up.add(fact.order_id)
            if self._witness.keep_story:
                self._witness.tell("journal", f"{len(self.facts)} {told(fact)}")


def told(fact: Fact) -> str:
    """A fact as a line of the story."""
    name = type(fact).__name__
    match fact:
        case QuoteIssued():
            return f"{name} {fact.quote_id} at {fact.rate} {fact.from_currency}/{fact.to_currency}"
        case QuotesListed():
            return f"{name} {', '.join(quote.quote_id for quote in fact.quotes)}"
        case OrderClaimed():
            return (
                f"{name} {fact.order_id} on {fact.quote_id} for {fact.user_id}: {fact.amount} {fact.currency}"
            )
        case OrderAdopted():
            return f"{name} {fact.order_id} on {fact.quote_id} for {fact.user_id}: {fact.amount}"
        case OrderSent():
            return f"{name} {fact.order_id}"
        case OrderFact():
            shown = {
                field: getattr(fact, field)
                for field in ("status", "reasons", "cause", "counts", "venue_order_id", "evidence", "reason")
                if hasattr(fact, field)
            }
            return f"{name} {fact.order_id} {shown or ''}"
        case _:
            fields = (f"{f}={getattr(fact, f)}" for f in fact.__struct_fields__ if f != "at")
            return f"{name} {', '.join(map(str, fields))}"
