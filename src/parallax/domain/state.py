"""State is the fold of facts: one pure function from what is known and one fact to what has changed.

>>> from datetime import UTC, datetime
>>> state = State()
>>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
>>> state.put(fold(state, QuoteIssued(noon, QuoteId("q1"), "54.42", "USD", "PHP", noon)))
>>> state.quotes[QuoteId("q1")].state
<QuoteState.ACTIVE: 'active'>
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, assert_never

from msgspec import Struct, structs

from parallax.domain.entities import Incident, Order, Pause, Quote, User
from parallax.domain.errors import IllegalTransition
from parallax.domain.facts import (
    AnswerLost,
    DeskStarted,
    Fact,
    IncidentRaised,
    IncidentResolved,
    ListedQuote,
    OrderAccepted,
    OrderAdopted,
    OrderClaimed,
    OrderFact,
    OrderFound,
    OrderMissing,
    OrderRefused,
    OrderSent,
    OrdersPaused,
    OrdersRead,
    OrdersResumed,
    OrderWithdrawn,
    QuoteIssued,
    QuotesListed,
    RefusalDoubted,
    UserListed,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId
from parallax.domain.money import (
    currency,
    parse_wire_amount,
    recorded_rate,
)
from parallax.domain.transitions import (
    ORDER_STEPS,
    QUOTE_FACTS,
    QUOTE_STEPS,
    OrderState,
    QuoteState,
)


class View(Protocol):
    """What a fold may look at: the entities that a fact can move."""

    def user(self, user_id: UserId) -> User | None: ...
    def quote(self, quote_id: QuoteId) -> Quote | None: ...
    def order(self, order_id: OrderId) -> Order | None: ...
    def incident(self, incident_id: IncidentId) -> Incident | None: ...


class Change(Struct, frozen=True):
    """One fact and every entity as it is after it. `paused` is None where the fact does not concern the pause;
    a lifted pause is `False`."""

    fact: Fact
    user: User | None = None
    quote: Quote | None = None
    order: Order | None = None
    incident: Incident | None = None
    paused: Pause | bool | None = None
    listed: tuple[Quote, ...] = ()
    """Quotes that a list made known: many at once, all of them new."""


@dataclass(slots=True)
class State:
    """Plain dictionaries: the simplest thing that a fold can run over."""

    users: dict[UserId, User] = field(default_factory=dict[UserId, User])
    quotes: dict[QuoteId, Quote] = field(default_factory=dict[QuoteId, Quote])
    orders: dict[OrderId, Order] = field(default_factory=dict[OrderId, Order])
    incidents: dict[IncidentId, Incident] = field(default_factory=dict[IncidentId, Incident])
    pause: Pause | None = None

    def user(self, user_id: UserId) -> User | None:
        return self.users.get(user_id)

    def quote(self, quote_id: QuoteId) -> Quote | None:
        return self.quotes.get(quote_id)

    def order(self, order_id: OrderId) -> Order | None:
        return self.orders.get(order_id)

    def incident(self, incident_id: IncidentId) -> Incident | None:
        return self.incidents.get(incident_id)

    def put(self, change: Change) -> None:
        """Make a change's entities the current ones."""
        if change.user:
            self.users[change.user.id] = change.user
        if change.quote:
            self.quotes[change.quote.id] = change.quote
        for quote in change.listed:
            self.quotes[quote.id] = quote
        if change.order:
            self.orders[change.order.id] = change.order
        if change.incident:
            self.incidents[change.incident.id] = change.incident
        if change.paused is not None:
            self.pause = change.paused if isinstance(change.paused, Pause) else None


def fold(view: View, fact: Fact) -> Change:
    """What `fact` makes of the entities in `view`. Raises `IllegalTransition` when a table has no such step."""
    match fact:
        case UserListed():
            return Change(fact, user=User(fact.user_id, fact.name, fact.email))
        case QuoteIssued():
            return Change(fact, quote=_issued(view.quote(fact.quote_id), fact, fact.by))
        case QuotesListed():
            return Change(fact, listed=_listed(view, fact))
        case OrderFact():
            quote = _moved(view.quote(fact.quote_id), fact)
            return Change(fact, quote=quote, order=_stepped(view, fact))
        case IncidentRaised():
            return Change(fact, incident=_raised(view.incident(fact.incident_id), fact))
        case IncidentResolved():
            return Change(fact, incident=_resolved(view.incident(fact.incident_id), fact))
        case OrdersPaused():
            return Change(fact, paused=Pause(fact.at, fact.by, fact.reason))
        case OrdersResumed():
            return Change(fact, paused=False)
        case OrdersRead() | DeskStarted():
            return Change(fact)
        case _ as never:
            assert_never(never)


def _illegal(subject: str, state: object, fact: object) -> IllegalTransition:
    return IllegalTransition(subject, str(state or "nothing"), type(fact).__name__)


def _issued(known: Quote | None, fact: QuoteIssued | ListedQuote, by: str = "") -> Quote:
    if known is not None:
        raise _illegal(f"quote {fact.quote_id}", known.state, fact)
    rate = recorded_rate(fact.rate, fact.from_currency, fact.to_currency)
    return Quote(fact.quote_id, rate, fact.created_at, QuoteState.ACTIVE, None, by)


def _listed(view: View, fact: QuotesListed) -> tuple[Quote, ...]:
    quotes = {quote.quote_id: _issued(view.quote(quote.quote_id), quote) for quote in fact.quotes}
    if len(quotes) != len(fact.quotes):
        raise _illegal("a quote that is listed twice", QuoteState.ACTIVE, fact)
    return tuple(quotes.values())


def _moved(quote: Quote | None, fact: OrderFact) -> Quote | None:
    """The quote after an order's fact, or None when the fact does not touch it."""
    if type(fact) not in QUOTE_FACTS or (quote is None and isinstance(fact, OrderAdopted)):
        return None
    if quote is None:
        raise _illegal(f"quote {fact.quote_id}", None, fact)
    state = QUOTE_STEPS.get((quote.state, type(fact)))
    if state is None:
        raise _illegal(f"quote {fact.quote_id}", quote.state, fact)
    if isinstance(fact, OrderClaimed):
        return structs.replace(quote, state=state, order_id=fact.order_id)
    if state is QuoteState.ACTIVE:
        return structs.replace(quote, state=state, order_id=None)
    if isinstance(fact, OrderAdopted):
        return structs.replace(quote, state=state, order_id=fact.order_id)
    return structs.replace(quote, state=state)


def _stepped(view: View, fact: OrderFact) -> Order:
    order = view.order(fact.order_id)
    state = ORDER_STEPS.get((order.state if order else None, type(fact)))
    if state is None:
        raise _illegal(f"order {fact.order_id}", order.state if order else None, fact)
    if order is None:
        return _begun(view.quote(fact.quote_id), fact, state)
    news = _NEWS.get(type(fact))
    fields: dict[str, object] = news(order, fact) if news else {}
    if state.settled:
        fields["settled_at"] = fact.at
    return structs.replace(order, state=state, **fields)


# What a fact tells of an order besides its next state.
_NEWS: Final[dict[type, Callable[[Order, Any], dict[str, object]]]] = {
    OrderSent: lambda _, fact: {"sent_at": fact.at},
    OrderWithdrawn: lambda _, fact: {"reasons": (fact.reason,)},
    OrderAccepted: lambda _, fact: {"answered_at": fact.at, "venue_order_id": fact.venue_order_id},
    OrderRefused: lambda _, fact: {"answered_at": fact.at, "reasons": fact.reasons, "refusal": fact.status},
    RefusalDoubted: lambda _, fact: {
        "answered_at": fact.at,
        "reasons": fact.reasons,
        "refusal": fact.status,
        "conclusive_after": fact.conclusive_after,
    },
    AnswerLost: lambda _, fact: {"reasons": (fact.cause,), "conclusive_after": fact.conclusive_after},
    OrderMissing: lambda order, fact: {
        "absences": order.absences + int(fact.counts),
        "last_look": fact.read_ended_at,
    },
    OrderFound: lambda _, fact: {"venue_order_id": fact.venue_order_id},
}


def _begun(quote: Quote | None, fact: OrderFact, state: OrderState) -> Order:
    assert isinstance(fact, OrderClaimed | OrderAdopted), "the table lets only these begin an order"
    amount = parse_wire_amount(fact.amount, currency(fact.currency))
    rate = quote.rate if quote else None
    result = parse_wire_amount(fact.result, rate.to_currency) if rate and fact.result else None
    if isinstance(fact, OrderClaimed):
        return Order(
            fact.order_id,
            fact.quote_id,
            fact.user_id,
            amount,
            rate,
            result,
            state,
            fact.at,
            by=fact.by,
        )
    return Order(
        fact.order_id,
        fact.quote_id,
        fact.user_id,
        amount,
        rate,
        result,
        state,
        fact.at,
        venue_order_id=fact.venue_order_id,
    )


def _raised(known: Incident | None, fact: IncidentRaised) -> Incident:
    if known is not None:
        raise _illegal(f"incident {fact.incident_id}", "raised", fact)
    return Incident(
        fact.incident_id,
        fact.kind,
        fact.words,
        fact.at,
        fact.user_id,
        fact.quote_id,
        fact.order_id,
    )


def _resolved(known: Incident | None, fact: IncidentResolved) -> Incident:
    if known is None or known.resolved_at is not None:
        raise _illegal(f"incident {fact.incident_id}", "resolved" if known else None, fact)
    return replace(known, resolved_at=fact.at, resolved_by=fact.by, note=fact.note)
