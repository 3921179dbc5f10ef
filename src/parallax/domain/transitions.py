"""The life of an order and of a quote, as two tables: (state, fact) → next state. What is not here raises.

The diagrams in `docs/architecture.md` are compared with these tables by a test.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from parallax.domain.facts import (
    AbsenceProven,
    AnswerLost,
    OrderAccepted,
    OrderAdopted,
    OrderClaimed,
    OrderCompleted,
    OrderFact,
    OrderFailed,
    OrderFound,
    OrderMissing,
    OrderRefused,
    OrderSent,
    OrderWithdrawn,
    QuoteIssued,
    QuotesListed,
    RefusalConfirmed,
    RefusalDoubted,
)


class OrderState(StrEnum):
    """Where an order is in its life."""

    CLAIMED = "claimed"  # durable, nothing sent yet
    SENT = "sent"  # the request may have left; no answer yet
    UNKNOWN = "unknown"  # no clear answer; only evidence may move it
    PENDING = "pending"  # at the venue, not settled
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"  # the venue said no and did nothing
    NOT_PLACED = "not_placed"  # proven absent at the venue
    WITHDRAWN = "withdrawn"  # never sent

    @property
    def settled(self) -> bool:
        """Whether nothing can change it any more (rule 4)."""
        return self in SETTLED


SETTLED: Final = frozenset(
    {
        OrderState.COMPLETED,
        OrderState.FAILED,
        OrderState.REFUSED,
        OrderState.NOT_PLACED,
        OrderState.WITHDRAWN,
    }
)


class QuoteState(StrEnum):
    """What facts have made of a quote. That time has run out is not a fact: see `Quote.status`."""

    ACTIVE = "active"  # nobody has claimed it
    CLAIMED = "claimed"  # it belongs to one order here, also past its time
    EXECUTED = "executed"  # an order on it is at the venue
    EXPIRED = "expired"  # proven unused, and past its time


class QuoteStatus(StrEnum):
    """What a reader is told of a quote at a moment."""

    ACTIVE = "active"
    CLAIMED = "claimed"
    EXECUTED = "executed"
    EXPIRED = "expired"


ORDER_STEPS: Final[dict[tuple[OrderState | None, type[OrderFact]], OrderState]] = {
    (None, OrderClaimed): OrderState.CLAIMED,
    (
        None,
        OrderAdopted,
    ): OrderState.PENDING,  # placed elsewhere; a settling fact follows in the same breath
    (OrderState.CLAIMED, OrderWithdrawn): OrderState.WITHDRAWN,
    (OrderState.CLAIMED, OrderSent): OrderState.SENT,
    (
        OrderState.CLAIMED,
        AnswerLost,
    ): OrderState.UNKNOWN,  # after a crash: whether it left is not known
    (OrderState.SENT, OrderAccepted): OrderState.PENDING,
    (
        OrderState.SENT,
        OrderRefused,
    ): OrderState.REFUSED,  # an explicit no, never a time-out
    (
        OrderState.SENT,
        RefusalDoubted,
    ): OrderState.UNKNOWN,  # a no that our own twin may have caused
    (OrderState.SENT, AnswerLost): OrderState.UNKNOWN,
    (OrderState.UNKNOWN, OrderMissing): OrderState.UNKNOWN,  # evidence, not yet proof
    (OrderState.UNKNOWN, OrderFound): OrderState.PENDING,
    (OrderState.UNKNOWN, AbsenceProven): OrderState.NOT_PLACED,
    (OrderState.UNKNOWN, RefusalConfirmed): OrderState.REFUSED,
    (OrderState.PENDING, OrderCompleted): OrderState.COMPLETED,
    (OrderState.PENDING, OrderFailed): OrderState.FAILED,
}

QUOTE_STEPS: Final[
    dict[tuple[QuoteState | None, type[OrderFact | QuoteIssued | QuotesListed]], QuoteState]
] = {
    (None, QuoteIssued): QuoteState.ACTIVE,
    (None, QuotesListed): QuoteState.ACTIVE,
    (QuoteState.ACTIVE, OrderClaimed): QuoteState.CLAIMED,
    (QuoteState.CLAIMED, OrderWithdrawn): QuoteState.ACTIVE,
    (QuoteState.CLAIMED, OrderRefused): QuoteState.ACTIVE,
    (QuoteState.CLAIMED, OrderAccepted): QuoteState.EXECUTED,
    (QuoteState.CLAIMED, OrderFound): QuoteState.EXECUTED,
    (QuoteState.CLAIMED, AbsenceProven): QuoteState.EXPIRED,
    (QuoteState.CLAIMED, RefusalConfirmed): QuoteState.EXPIRED,
    (QuoteState.ACTIVE, OrderAdopted): QuoteState.EXECUTED,
    (
        QuoteState.CLAIMED,
        OrderAdopted,
    ): QuoteState.EXECUTED,  # someone else's order won the quote
    (QuoteState.EXPIRED, OrderAdopted): QuoteState.EXECUTED,  # an incident goes with it
    (
        QuoteState.EXECUTED,
        OrderAdopted,
    ): QuoteState.EXECUTED,  # two orders on one quote: likewise
    # An unknown order here, on a quote that another order has used meanwhile, ends without touching the quote.
    (QuoteState.EXECUTED, OrderFound): QuoteState.EXECUTED,
    (QuoteState.EXECUTED, AbsenceProven): QuoteState.EXECUTED,
    (QuoteState.EXECUTED, RefusalConfirmed): QuoteState.EXECUTED,
}

QUOTE_FACTS: Final = frozenset(fact for _, fact in QUOTE_STEPS)
"""Facts that move a quote; the other facts of an order leave its quote as it is."""
