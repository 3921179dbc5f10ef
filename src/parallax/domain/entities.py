"""What the facts are about: users, quotes, orders and incidents, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from parallax.domain.facts import IncidentKind
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import Money, Rate
from parallax.domain.transitions import OrderState, QuoteState, QuoteStatus

QUOTE_VALIDITY: Final = timedelta(minutes=5)
"""How long a quote is good for, from its creation by the venue's clock (documented by the exchange)."""

_STATUS_OF: Final = {state: QuoteStatus(state) for state in QuoteState}

ABSENCE_READS: Final = 3
"""Full reads without the order, each begun late enough, that prove that it is not there (rule 3)."""


@dataclass(frozen=True, slots=True)
class User:
    """A customer of the venue, on whose behalf orders are placed."""

    id: UserId
    name: str
    email: str


class Quote(Struct, frozen=True, gc=False):
    """A firm rate, good until `expires_at` by the venue's clock, usable once. `order_id` is who holds or used it.

    A `Struct`, where its like are dataclasses: there are very many of them, they are made eight times as fast, and they
    stay out of the search for circular garbage.
    """

    id: QuoteId
    rate: Rate
    created_at: datetime
    state: QuoteState = QuoteState.ACTIVE
    order_id: OrderId | None = None
    by: str = ""

    @property
    def expires_at(self) -> datetime:
        """The first moment, by the venue's clock, at which the quote is no longer good."""
        return self.created_at + QUOTE_VALIDITY

    def status(self, venue_now: datetime) -> QuoteStatus:
        """What the quote is at a moment of the venue's clock. A claim outlives the quote's time until its order's
        fate is known."""
        if self.state is QuoteState.ACTIVE and venue_now >= self.expires_at:
            return QuoteStatus.EXPIRED
        return _STATUS_OF[self.state]


class Order(Struct, frozen=True, gc=False):
    """One attempt to execute a quote for a user and an amount. A `Struct`, as a quote is.

    Instants are by the desk's clock. `rate` is None only for an order adopted without its quote. `by` is who
    placed it, empty for an adopted one. `result` is what `amount` buys, rounded once. `reasons` are the
    venue's words of refusal or the cause of a lost answer.
    """

    id: OrderId
    quote_id: QuoteId
    user_id: UserId
    amount: Money
    rate: Rate | None
    result: Money | None
    state: OrderState
    created_at: datetime
    by: str = ""
    venue_order_id: VenueOrderId | None = None
    sent_at: datetime | None = None
    answered_at: datetime | None = None
    settled_at: datetime | None = None
    reasons: tuple[str, ...] = ()
    refusal: int | None = None
    """The HTTP status of a refusal that is doubted or was believed."""
    conclusive_after: datetime | None = None
    """Unknown orders: a read begun after this moment of the venue's clock counts towards the proof of absence."""
    absences: int = 0
    """Unknown orders: reads so far that count and did not show the order."""
    last_look: datetime | None = None
    """When the last read that was looked through for it had ended, by the venue's clock."""

    @property
    def adopted(self) -> bool:
        """Whether it was placed elsewhere and found at the venue."""
        return not self.by

    @property
    def open(self) -> bool:
        """Whether the tracker must follow it: it is at the venue or may be, and has not settled."""
        return self.state in (OrderState.PENDING, OrderState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Incident:
    """A contradiction that a person must see, open until someone resolves it with a note."""

    id: IncidentId
    kind: IncidentKind
    words: str
    raised_at: datetime
    user_id: UserId | None = None
    quote_id: QuoteId | None = None
    order_id: OrderId | None = None
    resolved_at: datetime | None = None
    resolved_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """New orders are stopped: since when, by whom and why."""

    since: datetime
    by: str
    reason: str
