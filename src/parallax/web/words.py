"""What states, sources and contradictions are called, and what to do about them, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parallax.domain.entities import Order
from parallax.domain.facts import IncidentKind
from parallax.domain.transitions import OrderState, QuoteStatus
from parallax.ports.venue import VenueHealth


@dataclass(frozen=True, slots=True)
class StateWords:
    """A state's `name`, its `tone` (the colour it is shown in), and a sentence that says what it means."""

    name: str
    tone: str
    meaning: str


ORDERS: Final[dict[OrderState, StateWords]] = {
    OrderState.CLAIMED: StateWords(
        "Claimed", "busy", "The quote is reserved for this order; it is about to be sent."
    ),
    OrderState.SENT: StateWords(
        "Sent", "busy", "The request has left the desk. The exchange has not answered yet."
    ),
    OrderState.UNKNOWN: StateWords(
        "Unknown",
        "warn",
        "Outcome unknown: do not order again. The exchange gave no clear answer, and the order may have been carried"
        " out. The desk does not send it again; it looks for it until it is certain.",
    ),
    OrderState.PENDING: StateWords("Pending", "busy", "The exchange has the order and is carrying it out."),
    OrderState.COMPLETED: StateWords("Completed", "good", "The exchange has carried out the order."),
    OrderState.FAILED: StateWords("Failed", "bad", "The exchange took the order and could not carry it out."),
    OrderState.REFUSED: StateWords("Refused", "bad", "The exchange said no. Nothing was exchanged."),
    OrderState.NOT_PLACED: StateWords(
        "Not placed",
        "bad",
        "The order never reached the exchange: that has been proven. Nothing was exchanged.",
    ),
    OrderState.WITHDRAWN: StateWords("Withdrawn", "mute", "The order was never sent. Nothing was exchanged."),
}

CONTRADICTED: Final = (
    "The exchange says otherwise now: do not act on this result before it is cleared up (see the incident)."
)

RECEIVED: Final[dict[OrderState, str]] = {
    OrderState.CLAIMED: "expected",
    OrderState.SENT: "expected",
    OrderState.UNKNOWN: "expected",
    OrderState.PENDING: "expected",
    OrderState.COMPLETED: "received",
    OrderState.FAILED: "not received",
    OrderState.REFUSED: "not received",
    OrderState.NOT_PLACED: "not received",
    OrderState.WITHDRAWN: "not received",
}
"""State → what the amount that an order buys is, so far."""

QUOTES: Final[dict[QuoteStatus, StateWords]] = {
    QuoteStatus.ACTIVE: StateWords("Active", "good", "Good for one order."),
    QuoteStatus.CLAIMED: StateWords("Claimed", "busy", "Reserved for an order that is under way."),
    QuoteStatus.EXECUTED: StateWords("Executed", "info", "Used: an order on it is at the exchange."),
    QuoteStatus.EXPIRED: StateWords("Expired", "mute", "Its time ran out unused."),
}

HEALTH: Final[dict[VenueHealth, StateWords]] = {
    VenueHealth.UNKNOWN: StateWords(
        "Exchange not heard yet", "mute", "The exchange has not answered since the desk started."
    ),
    VenueHealth.WELL: StateWords("Exchange well", "good", "The exchange answers."),
    VenueHealth.SLOW: StateWords("Exchange slow", "warn", "The exchange answers slowly."),
    VenueHealth.LIMITED: StateWords(
        "Calls limited", "warn", "The exchange limits how often it may be asked."
    ),
    VenueHealth.REFUSING: StateWords(
        "Key refused", "bad", "The exchange does not accept this desk's API key."
    ),
    VenueHealth.DOWN: StateWords("Exchange down", "bad", "The exchange does not answer."),
}

INCIDENTS: Final[dict[IncidentKind, tuple[str, str]]] = {
    IncidentKind.SETTLED_ORDER_CHANGED: (
        "A settled order changed",
        "The desk keeps the first result. Compare it with the exchange's own records before money is moved on it.",
    ),
    IncidentKind.TWO_ORDERS_ON_ONE_QUOTE: (
        "Two orders on one quote",
        "The exchange holds more than one order for a quote. Ask the exchange which of them stands.",
    ),
    IncidentKind.ORDER_UNDER_ANOTHER_USER: (
        "An order under another user",
        "The exchange shows the order for somebody else. Ask the exchange to whom it was booked.",
    ),
    IncidentKind.AMOUNT_DIFFERS: (
        "The amount differs",
        "The exchange holds another amount than was sent. Ask the exchange which one was carried out, and for whom.",
    ),
    IncidentKind.ORDER_AFTER_ABSENCE: (
        "An order came after its absence was proven",
        "It was reported as not placed and is at the exchange after all. Tell whoever acted on the report.",
    ),
    IncidentKind.ORDER_VANISHED: (
        "An order vanished",
        "The exchange showed the order and no longer does. Ask the exchange what became of it.",
    ),
    IncidentKind.QUOTE_CHANGED: (
        "A quote changed",
        "The exchange now shows other terms for a quote. The desk keeps the first ones; check orders placed on it.",
    ),
}
"""Incident → what it is called, and what to do about it."""

CAUSES: Final[dict[str, str]] = {
    "timeout": "the exchange did not answer in time",
    "connection_lost": "the connection was lost before the answer",
    "unreadable_answer": "the answer could not be read",
    "restart": "the desk stopped before the answer was recorded",
    "interrupted": "the desk was interrupted before the answer",
}

STATE_FILTERS: Final[dict[str, tuple[str, frozenset[OrderState]]]] = {
    "all": ("All", frozenset()),
    "open": (
        "Open",
        frozenset({OrderState.CLAIMED, OrderState.SENT, OrderState.PENDING, OrderState.UNKNOWN}),
    ),
    "unknown": ("Unknown", frozenset({OrderState.UNKNOWN})),
    "completed": ("Completed", frozenset({OrderState.COMPLETED})),
    "failed": ("Failed", frozenset({OrderState.FAILED})),
    "not_placed": (
        "Not carried out",
        frozenset({OrderState.REFUSED, OrderState.NOT_PLACED, OrderState.WITHDRAWN}),
    ),
}
"""The filters of a list of orders: key → name and states (none: any)."""


def of_order(order: Order, *, contradicted: bool) -> StateWords:
    """What an order's state is called; never in the colour of a good end while the exchange contradicts it."""
    plain = ORDERS[order.state]
    if not contradicted:
        return plain
    return StateWords(f"{plain.name}, contradicted", "bad", f"{plain.meaning} {CONTRADICTED}")


def cause(word: str) -> str:
    """Why an answer was lost."""
    if word.startswith("status_"):
        return f"the exchange answered with an error ({word.removeprefix('status_')})"
    return CAUSES.get(word, word)


_USED: Final = ("{who} used this quote", "Its order is {state}. A quote can become one order only.")
_ORDERING: Final = (
    "{who} is ordering on this quote",
    "It is not known yet what comes of it: do not order again.",
)
USED_QUOTE: Final[dict[OrderState, tuple[str, str]]] = {
    OrderState.CLAIMED: (
        "{who} is ordering on this quote",
        "It is not known yet what comes of it: do not order again.",
    ),
    OrderState.SENT: (
        "{who} is ordering on this quote",
        "It is not known yet what comes of it: do not order again.",
    ),
    OrderState.UNKNOWN: (
        "Outcome unknown: do not order again",
        "{who} ordered on this quote, and the exchange gave no clear answer. The order may have been carried out.",
    ),
    OrderState.PENDING: _USED,
    OrderState.COMPLETED: _USED,
    OrderState.FAILED: _USED,
    OrderState.REFUSED: _USED,
    OrderState.NOT_PLACED: _USED,
    OrderState.WITHDRAWN: _USED,
}
"""What a ticket says of a quote that an order holds or has used: a title and a sentence, with who ordered."""


def used_quote(order: Order | None) -> tuple[str, str]:
    """What to say of a quote that is used, by its order if that is known here."""
    if order is None:
        return (
            "This quote has been used",
            "A quote can become one order only. Look at the user's orders first.",
        )
    person = who(order.by)
    title, sentence = USED_QUOTE[order.state]
    fields = {"who": person[0].upper() + person[1:], "state": ORDERS[order.state].name.lower()}
    return title.format(**fields), sentence.format(**fields)


def who(by: str) -> str:
    """Who did something: facts carry `page <tab>`, `api …`, `cli …`, or nothing for what was done elsewhere."""
    kind, _, detail = by.partition(" ")
    match kind:
        case "":
            return "someone outside this desk"
        case "page":
            return f"a page (tab {detail})" if detail else "a page"
        case "api":
            return f"the API ({detail})" if detail else "the API"
        case "cli":
            return "the command line"
        case _:
            return by
