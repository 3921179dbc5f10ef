"""A scribe: folds facts as the ledger does and appends them, so that a test says only what happened."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from parallax.domain.facts import (
    Fact,
    OrderAccepted,
    OrderClaimed,
    OrderCompleted,
    OrderSent,
    QuoteIssued,
    UserListed,
)
from parallax.domain.identity import OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change, State, fold
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.codec import encode
from parallax.ports.journal import Journal, Recorded, Snapshot

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANN = UserId("ann")


class Scribe:
    """A journal that is open, what has been handed to it, and what it has told."""

    def __init__(self, journal: Any) -> None:
        self.journal = journal
        self.state = State()
        self.heard: list[Recorded] = []
        self.snapshot = Snapshot()

    async def open(self) -> Scribe:
        journal: Journal = self.journal
        self.snapshot = await journal.open(self.heard.extend)
        return self

    def changes(self, facts: Iterable[Fact]) -> list[Change]:
        found: list[Change] = []
        for fact in facts:
            change = fold(self.state, fact)
            self.state.put(change)
            found.append(change)
        return found

    def append(self, *facts: Fact) -> Future[Sequence[Recorded]]:
        return self.journal.append(self.changes(facts))

    def append_later(self, *facts: Fact) -> Future[Sequence[Recorded]]:
        return self.journal.append_later(self.changes(facts))


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def quote(name: str, seconds: float = 0) -> QuoteIssued:
    return QuoteIssued(at(seconds), QuoteId(name), "54.02", "USD", "PHP", at(seconds), "operator")


def claim(
    order: str, on: str, seconds: float = 0, amount: str = "1.08", by: str = "operator"
) -> OrderClaimed:
    return OrderClaimed(
        at(seconds), OrderId(order), QuoteId(on), ANN, amount, "USD", "58.34", at(seconds + 300), by
    )


def sent(order: str, on: str, seconds: float = 0) -> OrderSent:
    return OrderSent(at(seconds), OrderId(order), QuoteId(on), "{}")


def accepted(order: str, on: str, seconds: float = 0) -> OrderAccepted:
    return OrderAccepted(at(seconds), OrderId(order), QuoteId(on), VenueOrderId(f"venue-{order}"))


def completed(order: str, on: str, seconds: float = 0, not_before: float = 0) -> OrderCompleted:
    return OrderCompleted(at(seconds), OrderId(order), QuoteId(on), at(not_before))


def settled_order(order: str, on: str, seconds: float = 0, amount: str = "1.08") -> list[Fact]:
    """A whole life: quote, claim, sent, accepted, completed."""
    return [
        quote(on, seconds),
        claim(order, on, seconds, amount),
        sent(order, on, seconds + 1),
        accepted(order, on, seconds + 2),
        completed(order, on, seconds + 9, seconds + 8),
    ]


def some_facts(orders: int) -> list[Fact]:
    """A user and `orders` orders that have settled."""
    facts: list[Fact] = [UserListed(NOON, ANN, "Ann", "ann@example.com")]
    for n in range(orders):
        facts += settled_order(f"order-{n:03d}", f"quote-{n:03d}", n * 10, f"{n % 7 + 1}.50")
    return facts


def late_claim(scribe: Scribe, order: str, on: str, by: str = "late") -> Change:
    """A claim decided by someone who does not know of the first: the tables would not let us fold it."""
    held = scribe.state.quotes[QuoteId(on)]
    view = State(
        quotes={QuoteId(on): structs.replace(held, state=QuoteState.ACTIVE, order_id=None)}, orders={}
    )
    return fold(view, claim(order, on, by=by))


def impossible(scribe: Scribe, order: str) -> Change:
    """A change from a memory that has lost its mind: a settled order is sent once more."""
    known = scribe.state.orders[OrderId(order)]
    return Change(
        sent(order, known.quote_id, 99), order=structs.replace(known, state=OrderState.SENT, sent_at=at(99))
    )


def records(facts: Iterable[Fact]) -> list[bytes]:
    return [encode(fact) for fact in facts]
