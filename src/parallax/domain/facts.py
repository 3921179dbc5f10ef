"""Everything that can happen, as facts: named in the past tense, immutable, complete enough to be read in a year.

State is the fold of facts (`parallax.domain.state`); which fact may follow which state stands in
`parallax.domain.transitions`. Every instant is aware UTC: `at` by the desk's own clock, the others as named.
Amounts and rates are plain decimal strings, exactly as they crossed the wire.
"""

from __future__ import annotations

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


class UserListed(Struct, frozen=True):
    """The venue named a user for the first time, or with a new name or address."""

    at: datetime
    user_id: UserId
    name: str
    email: str


class QuoteIssued(Struct, frozen=True):
    """The venue gave a firm quote, which `by` asked for here."""

    at: datetime
    quote_id: QuoteId
    rate: str
    from_currency: str
    to_currency: str
    created_at: datetime
    by: str = ""


class ListedQuote(Struct, frozen=True, gc=False):
    """A quote as the venue listed it. Out of the garbage collector's sight, as a quote is: a list has very many."""

    quote_id: QuoteId
    rate: str
    from_currency: str
    to_currency: str
    created_at: datetime


class QuotesListed(Struct, frozen=True):
    """The venue's list named quotes that were not known here: made before this journal began, or asked for elsewhere.
    One fact for up to `MAX_LISTED` of them, as a list may be very long."""

    at: datetime
    quotes: tuple[ListedQuote, ...]


class OrderFact(Struct, frozen=True):
    """What every fact of an order carries."""

    at: datetime
    order_id: OrderId
    quote_id: QuoteId


class OrderClaimed(OrderFact, frozen=True):
    """The durable mark, made before anything is sent, that the quote belongs to this order."""

    user_id: UserId
    amount: str
    currency: str
    result: str
    expires_at: datetime
    by: str


class OrderWithdrawn(OrderFact, frozen=True):
    """Nothing was sent: the last check said no, or the call budget had no room in time."""

    reason: str


class OrderSent(OrderFact, frozen=True):
    """The one request left the desk. `request` is its exact body."""

    request: str


class OrderAccepted(OrderFact, frozen=True):
    """The venue answered yes, and gave the order its id there."""

    venue_order_id: VenueOrderId


class OrderRefused(OrderFact, frozen=True):
    """The venue explicitly said no, in a way that leaves the quote usable (an amount, a key, a rate limit)."""

    status: int
    reasons: tuple[str, ...]


class RefusalDoubted(OrderFact, frozen=True):
    """The venue said no in a way that could mean that our own request had been carried out already (a proxy may
    have sent it twice), so the user's orders decide, not the words."""

    status: int
    reasons: tuple[str, ...]
    conclusive_after: datetime


class AnswerLost(OrderFact, frozen=True):
    """There was no clear answer. Reads begun after `conclusive_after` (the venue's clock) may prove absence."""

    cause: str
    detail: str
    conclusive_after: datetime


class OrderMissing(OrderFact, frozen=True):
    """A full, successful read of the user's orders did not show the order. By the venue's clock it began at
    `read_began_at` at the earliest and had ended by `read_ended_at`; it `counts` towards proof if it began late
    enough, and well after the one before had ended."""

    read_began_at: datetime
    read_ended_at: datetime
    listed: int
    counts: bool


class OrderFound(OrderFact, frozen=True):
    """The order is at the venue: the user's list showed it under its quote's id."""

    venue_order_id: VenueOrderId


class AbsenceProven(OrderFact, frozen=True):
    """The order is not at the venue and can no longer come to be: `evidence` says from what."""

    evidence: str


class RefusalConfirmed(OrderFact, frozen=True):
    """A doubted refusal was true: `evidence` says from what."""

    evidence: str


class OrderCompleted(OrderFact, frozen=True):
    """The venue shows the order as completed. `not_before` is the last look that still saw it pending."""

    not_before: datetime | None = None


class OrderFailed(OrderFact, frozen=True):
    """The venue shows the order as failed. `not_before` is the last look that still saw it pending."""

    not_before: datetime | None = None


class OrderAdopted(OrderFact, frozen=True):
    """An order that was placed elsewhere was found at the venue. `result` is empty when its quote is not known."""

    user_id: UserId
    venue_order_id: VenueOrderId
    amount: str
    currency: str
    result: str


class OrdersRead(Struct, frozen=True):
    """The venue was asked for a user's orders. `error` is empty when the full list came back."""

    at: datetime
    user_id: UserId
    began_at: datetime
    listed: int
    error: str = ""


class IncidentRaised(Struct, frozen=True):
    """A contradiction was seen. Empty ids are not part of it."""

    at: datetime
    incident_id: IncidentId
    kind: IncidentKind
    words: str
    user_id: UserId | None = None
    quote_id: QuoteId | None = None
    order_id: OrderId | None = None


class IncidentResolved(Struct, frozen=True):
    """A person looked into an incident and closed it with a note."""

    at: datetime
    incident_id: IncidentId
    by: str
    note: str


class DeskStarted(Struct, frozen=True):
    """The desk began to run; everything claimed and unanswered before this moment is unknown."""

    at: datetime
    version: str
    venue: str


class OrdersPaused(Struct, frozen=True):
    """An operator stopped new orders."""

    at: datetime
    by: str
    reason: str


class OrdersResumed(Struct, frozen=True):
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
