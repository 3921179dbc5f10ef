"""What the client shows: quotes, orders and news, as they were when they were read. Immutable, exact.

Users and incidents are the domain's own values; money, rates and states are the domain's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from parallax.domain.facts import Fact
from parallax.domain.identity import OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import Money, Rate
from parallax.domain.transitions import OrderState, QuoteStatus

FATE_OPEN: Final = frozenset({OrderState.CLAIMED, OrderState.SENT, OrderState.UNKNOWN})
"""An order in one of these states may or may not be at the exchange."""

NEVER_PLACED: Final = frozenset({OrderState.REFUSED, OrderState.NOT_PLACED, OrderState.WITHDRAWN})
"""An order in one of these states is not at the exchange and never will be: nothing was exchanged."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A firm rate, good until `expires_at` by the exchange's clock, usable once.

    `status` is what it was when it was read. `order_id` is the order that holds or used it.
    """

    id: QuoteId
    rate: Rate
    created_at: datetime
    expires_at: datetime
    status: QuoteStatus
    order_id: OrderId | None = None

    def __str__(self) -> str:
        until = f" until {self.expires_at:%H:%M:%S} UTC" if self.status is QuoteStatus.ACTIVE else ""
        return f"{self.rate.pair} {self.rate.wire}, {self.status}{until} ({self.id})"


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt to execute a quote for a user and an amount, as it was when it was read.

    `amount` is what was sent, `result` what it buys (None when its quote is not known here), rounded once.
    `venue_order_id` is its id at the exchange, `by` who placed it (empty: it was placed elsewhere), `reasons` why it
    was refused, withdrawn or has no answer. Instants are by the desk's clock.
    """

    id: OrderId
    state: OrderState
    quote_id: QuoteId
    user_id: UserId
    amount: Money
    result: Money | None
    rate: Rate | None
    venue_order_id: VenueOrderId | None
    by: str
    reasons: Sequence[str]
    created_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    possible_duplicate_of: OrderId | None = None
    """Of an order just placed: another for the same user and amount, undecided or a minute old at most."""
    contradicted: bool = False
    """Whether the exchange says otherwise now, in an incident that nobody has resolved."""

    @property
    def settled(self) -> bool:
        """Whether nothing can change it any more."""
        return self.state.settled

    @property
    def fate_open(self) -> bool:
        """Whether it may or may not be at the exchange."""
        return self.state in FATE_OPEN

    def __str__(self) -> str:
        bought = f" for {self.result}" if self.result else ""
        doubt = ", contradicted" if self.contradicted else ""
        return f"{self.amount}{bought}: {self.state}{doubt} ({self.id})"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of the desk's journal: its `position` there, its `kind` ("OrderCompleted"), its fields as they travel
    (`data`), and as a value of `parallax.facts` (`fact`; None for a kind that this version of the client does not
    know)."""

    position: int
    kind: str
    data: Mapping[str, Any]
    fact: Fact | None


@dataclass(frozen=True, slots=True)
class Duty:
    """One background duty of the desk: what it is for, how it does, and how often it was started again and why."""

    name: str
    purpose: str
    state: str
    since: datetime
    restarts: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to the exchange of one purpose since the desk started: how many were `made`, how many a cache or a shared
    read `saved`, how many `failed`."""

    purpose: str
    made: int
    saved: int
    failed: int


@dataclass(frozen=True, slots=True)
class Status:
    """How the desk and its exchange are doing.

    `position` is that of the newest fact: hand it to `watch` to see everything after this moment. `health` is
    "unknown" (no answer yet), "well", "slow", "limited", "refusing" (the desk's key) or "down", and `words` say more.
    `clock_offset` is what to add to the desk's clock to get the exchange's. `paused` is the reason why new orders are
    paused, `journal_failed` why nothing can be recorded; both are None on a good day.
    """

    position: int
    started_at: datetime | None
    venue: str
    sandbox: bool
    health: str
    words: str
    clock_offset: timedelta
    paused: str | None
    journal_failed: str | None
    stopping: bool
    open_orders: int
    open_incidents: int
    duties: Sequence[Duty]
    calls: Sequence[Calls] = ()
