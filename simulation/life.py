"""The life of an order, written down a second time.

On purpose: a checker that read the desk's own tables would agree with their mistakes.
"""

from __future__ import annotations

from typing import Final

from parallax.domain.facts import (
    AbsenceProven,
    AnswerLost,
    Fact,
    OrderAccepted,
    OrderAdopted,
    OrderClaimed,
    OrderCompleted,
    OrderFailed,
    OrderFound,
    OrderMissing,
    OrderRefused,
    OrderSent,
    OrderWithdrawn,
    RefusalConfirmed,
    RefusalDoubted,
)
from parallax.domain.transitions import OrderState

S = OrderState
NEVER_PLACED: Final = (S.REFUSED, S.NOT_PLACED, S.WITHDRAWN)
AT_THE_VENUE: Final = (S.PENDING, S.COMPLETED, S.FAILED)
LATER: Final[dict[OrderState, frozenset[OrderState]]] = {
    S.CLAIMED: frozenset({S.SENT, S.UNKNOWN, *AT_THE_VENUE, *NEVER_PLACED}),
    S.SENT: frozenset({S.UNKNOWN, *AT_THE_VENUE, S.REFUSED, S.NOT_PLACED}),
    S.UNKNOWN: frozenset({*AT_THE_VENUE, S.REFUSED, S.NOT_PLACED}),
    S.PENDING: frozenset({S.COMPLETED, S.FAILED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset(),
    S.REFUSED: frozenset(),
    S.NOT_PLACED: frozenset(),
    S.WITHDRAWN: frozenset(),
}
"""What an order may be seen as later, however much happened unseen in between."""

BECOMES: Final[dict[type[Fact], OrderState]] = {
    OrderClaimed: S.CLAIMED,
    OrderAdopted: S.PENDING,
    OrderWithdrawn: S.WITHDRAWN,
    OrderSent: S.SENT,
    OrderAccepted: S.PENDING,
    OrderRefused: S.REFUSED,
    RefusalDoubted: S.UNKNOWN,
    AnswerLost: S.UNKNOWN,
    OrderMissing: S.UNKNOWN,
    OrderFound: S.PENDING,
    AbsenceProven: S.NOT_PLACED,
    RefusalConfirmed: S.REFUSED,
    OrderCompleted: S.COMPLETED,
    OrderFailed: S.FAILED,
}
"""What each fact says of its order."""
