"""Everything that can happen, as facts: named in the past tense, immutable, complete enough to be read in a year.

State is the fold of facts (`parallax.domain.state`); which fact may follow which state stands in
`parallax.domain.transitions`. Every instant is aware UTC: `at` by the desk's own clock, the others as named.
Amounts and rates are plain decimal strings, exactly as they crossed the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId

MAX_LISTED: Final = 100
"""Quotes in one fact at most: some 14 KB, so that a reader of facts never has to take much at once."""


class IncidentKind(StrEnum):
    """The contradictions that a person must see."""

    SETTLED_ORDER_CHANGED = "settled_order_changed"
    TWO_ORDERS_ON_ONE_QUOTE = "two_orders_on_one_quote"
    ORDER_UNDER_ANOTHER_USER = "order_under_another_user"
    AMOUNT_DIFFERS = "amount_differs"
    ORDER_AFTER_ABSENCE = "order_after_absence"
    ORDER_VANISHED = "order_vanished"
    QUOTE_CHANGED = "quote_changed"


@dataclass(frozen=True, slots=True)
class UserListed:
    """The venue named a user for the first time, or with a new name or address."""

    at: datetime
    user_id: UserId
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class QuoteIssued:
    """The venue gave a firm quote, which `by` asked for here."""

    at: datetime
    quote_id: QuoteId
    rate: str
    from_currency: str
    to_currency: str
    created_at: datetime
    by: str = ""


class ListedQuote(Struct, frozen=True, gc=False):
    """A quote as the venue listed it. A `Struct`, as a quote is: a list has very many."""

    quote_id: QuoteId
    rate: str
    from_currency: str
    to_currency: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class QuotesListed:
    """The venue's list named quotes that were not known here: made before this journal began, or asked for elsewhere.
    One fact for up to `MAX_LISTED` of them, as a list may be very long."""

    at: datetime
    quotes: tuple[ListedQuote, ...]


@dataclass(frozen=True, slots=True)
class OrderFact:
    """What every fact of an order carries."""

    at: datetime
    order_id: OrderId
    quote_id: QuoteId


@dataclass(frozen=True, slots=True)
class OrderClaimed(OrderFact):
    """The durable mark, made before anything is sent, that the quote belongs to this order."""

    user_id: UserId
    amount: str
    currency: str
    result: str
    expires_at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class OrderWithdrawn(OrderFact):
    """Nothing was sent: the last check said no, or the call budget had no room in time."""

    reason: str


@dataclass(frozen=True, slots=True)
class OrderSent(OrderFact):
    """The one request left the desk. `request` is its exact body."""

    request: str


@dataclass(frozen=True, slots=True)
class OrderAccepted(OrderFact):
    """The venue answered yes, and gave the order its id there."""

    venue_order_id: VenueOrderId


@dataclass(frozen=True, slots=True)
class OrderRefused(OrderFact):
    """The venue explicitly said no, in a way that leaves the quote usable (an amount, a key, a rate limit)."""

    status: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefusalDoubted(OrderFact):
    """The venue said no in a way that could mean that our own request had been carried out already (a proxy may
    have sent it twice), so the user's orders decide, not the words."""

    status: int
    reasons: tuple[str, ...]
    conclusive_after: datetime


@dataclass(frozen=True, slots=True)
class AnswerLost(OrderFact):
    """There was no clear answer. Reads begun after `conclusive_after` (the venue's clock) may prove absence."""

    cause: str
    detail: str
    conclusive_after: datetime


@dataclass(frozen=True, slots=True)
class OrderMissing(OrderFact):
    """A full, successful read of the user's orders did not show the order. By the venue's clock it began at
    `read_began_at` at the earliest and had ended by `read_ended_at`; it `counts` towards proof if it began late
    enough, and well after the one before had ended."""

    read_began_at: datetime
    read_ended_at: datetime
    listed: int
    counts: bool


@dataclass(frozen=True, slots=True)
class OrderFound(OrderFact):
    """The order is at the venue: the user's list showed it under its quote's id."""

    venue_order_id: VenueOrderId


@dataclass(frozen=True, slots=True)
class AbsenceProven(OrderFact):
    """The order is not at the venue and can no longer come to be: `evidence` says from what."""

    evidence: str


@dataclass(frozen=True, slots=True)
class RefusalConfirmed(OrderFact):
    """A doubted refusal was true: `evidence` says from what."""

    evidence: str


@dataclass(frozen=True, slots=True)
class OrderCompleted(OrderFact):
    """The venue shows the order as completed. `not_before` is the last look that still saw it pending."""

    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderFailed(OrderFact):
    """The venue shows the order as failed. `not_before` is the last look that still saw it pending."""

    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderAdopted(OrderFact):
    """An order that was placed elsewhere was found at the venue. `result` is empty when its quote is not known."""

    user_id: UserId
    venue_order_id: VenueOrderId
    amount: str
    currency: str
    result: str


@dataclass(frozen=True, slots=True)
class OrdersRead:
    """The venue was asked for a user's orders. `error` is empty when the full list came back."""

    at: datetime
    user_id: UserId
    began_at: datetime
    listed: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class IncidentRaised:
    """A contradiction was seen. Empty ids are not part of it."""

    at: datetime
    incident_id: IncidentId
    kind: IncidentKind
    words: str
    user_id: UserId | None = None
    quote_id: QuoteId | None = None
    order_id: OrderId | None = None


@dataclass(frozen=True, slots=True)
class IncidentResolved:
    """A person looked into an incident and closed it with a note."""

    at: datetime
    incident_id: IncidentId
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class DeskStarted:
    """The desk began to run; everything claimed and unanswered before this moment is unknown."""

    at: datetime
    version: str
    venue: str


@dataclass(frozen=True, slots=True)
class OrdersPaused:
    """An operator stopped new orders."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrdersResumed:
    """An operator allowed new orders again."""

    at: datetime
    by: str


Fact = (
    UserListed
    | QuoteIssued
    | QuotesListed
    | OrderClaimed
    | OrderWithdrawn
    | OrderSent
    | OrderAccepted
    | OrderRefused
    | RefusalDoubted
    | AnswerLost
    | OrderMissing
    | OrderFound
    | AbsenceProven
    | RefusalConfirmed
    | OrderCompleted
    | OrderFailed
    | OrderAdopted
    | OrdersRead
    | IncidentRaised
    | IncidentResolved
    | DeskStarted
    | OrdersPaused
    | OrdersResumed
)
"""Any fact; the journal holds nothing else."""

FACT_TYPES: Final[dict[str, type[Fact]]] = {
    t.__name__: t
    for t in (
        UserListed,
        QuoteIssued,
        QuotesListed,
        OrderClaimed,
        OrderWithdrawn,
        OrderSent,
        OrderAccepted,
        OrderRefused,
        RefusalDoubted,
        AnswerLost,
        OrderMissing,
        OrderFound,
        AbsenceProven,
        RefusalConfirmed,
        OrderCompleted,
        OrderFailed,
        OrderAdopted,
        OrdersRead,
        IncidentRaised,
        IncidentResolved,
        DeskStarted,
        OrdersPaused,
        OrdersResumed,
    )
}
"""The name that a fact has on disk and on the wire, and its type."""
