"""Every state and every fact, legal and not, in both tables; and that state is the fold of facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from msgspec import structs

from parallax.domain.entities import Order, Quote
from parallax.domain.errors import IllegalTransition
from parallax.domain.facts import (
    FACT_TYPES,
    AbsenceProven,
    AnswerLost,
    IncidentKind,
    IncidentRaised,
    IncidentResolved,
    ListedQuote,
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
    OrdersPaused,
    OrdersResumed,
    OrderWithdrawn,
    QuoteIssued,
    QuotesListed,
    RefusalConfirmed,
    RefusalDoubted,
    UserListed,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import currency, parse_amount, parse_rate
from parallax.domain.state import State, fold
from parallax.domain.transitions import (
    ORDER_STEPS,
    QUOTE_FACTS,
    QUOTE_STEPS,
    SETTLED,
    OrderState,
    QuoteState,
    QuoteStatus,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER, QUOTE, USER, VENUE = OrderId("o1"), QuoteId("q1"), UserId("u1"), VenueOrderId("v1")
USD, PHP = currency("USD"), currency("PHP")
RATE = parse_rate("54.42", USD, PHP)

FACTS: dict[type[OrderFact], Any] = {
    type(fact): fact
    for fact in (
        OrderClaimed(NOON, ORDER, QUOTE, USER, "100", "USD", "5442.00", NOON + timedelta(minutes=5), "page"),
        OrderWithdrawn(NOON, ORDER, QUOTE, "too late"),
        OrderSent(NOON, ORDER, QUOTE, "{}"),
        OrderAccepted(NOON, ORDER, QUOTE, VENUE),
        OrderRefused(NOON, ORDER, QUOTE, 422, ("from_amount: too small",)),
        RefusalDoubted(NOON, ORDER, QUOTE, 422, ("quote_id: used",), NOON + timedelta(minutes=6)),
        AnswerLost(NOON, ORDER, QUOTE, "timeout", "no answer", NOON + timedelta(minutes=6)),
        OrderMissing(NOON, ORDER, QUOTE, NOON, NOON, 3, counts=True),
        OrderFound(NOON, ORDER, QUOTE, VENUE),
        AbsenceProven(NOON, ORDER, QUOTE, "three reads"),
        RefusalConfirmed(NOON, ORDER, QUOTE, "another order"),
        OrderCompleted(NOON, ORDER, QUOTE),
        OrderFailed(NOON, ORDER, QUOTE),
        OrderAdopted(NOON, ORDER, QUOTE, USER, VENUE, "100", "USD", "5442.00"),
    )
}


def a_quote(state: QuoteState = QuoteState.CLAIMED) -> Quote:
    return Quote(QUOTE, RATE, NOON, state, ORDER if state is not QuoteState.ACTIVE else None)


def an_order(state: OrderState) -> Order:
    return Order(ORDER, QUOTE, USER, parse_amount("100", USD), RATE, None, state, NOON, by="page")


def test_every_order_fact_has_an_example() -> None:
    assert set(FACTS) == {kind for kind in FACT_TYPES.values() if issubclass(kind, OrderFact)}


@pytest.mark.parametrize(("state", "kind"), list(product([None, *OrderState], FACTS)))
def test_every_order_state_with_every_fact(state: OrderState | None, kind: type[OrderFact]) -> None:
    world = State()
    # A quote state that lets the fact through, so that the order's table alone decides.
    fitting = [s for s, fact in QUOTE_STEPS if fact is kind and s is not None] or [QuoteState.CLAIMED]
    world.quotes[QUOTE] = a_quote(fitting[0])
    if state is not None:
        world.orders[ORDER] = an_order(state)
    allowed = ORDER_STEPS.get((state, kind))
    if allowed is None:
        with pytest.raises(IllegalTransition):
            fold(world, FACTS[kind])
    else:
        after = fold(world, FACTS[kind]).order
        assert after is not None
        assert after.state is allowed
        assert (after.settled_at is not None) == (allowed in SETTLED)


@pytest.mark.parametrize(("state", "kind"), list(product([None, *QuoteState], FACTS)))
def test_every_quote_state_with_every_fact(state: QuoteState | None, kind: type[OrderFact]) -> None:
    world = State()
    if state is not None:
        world.quotes[QUOTE] = a_quote(state)
    before = [s for s, fact in ORDER_STEPS if fact is kind]
    if before[0] is not None:
        world.orders[ORDER] = an_order(before[0])
    allowed = QUOTE_STEPS.get((state, kind))
    if kind not in QUOTE_FACTS or (state is None and kind is OrderAdopted):
        assert fold(world, FACTS[kind]).quote is None
    elif allowed is None:
        with pytest.raises(IllegalTransition):
            fold(world, FACTS[kind])
    else:
        after = fold(world, FACTS[kind]).quote
        assert after is not None
        assert after.state is allowed


def test_nothing_leaves_a_settled_state() -> None:
    assert not [step for step in ORDER_STEPS if step[0] in SETTLED]


def test_only_an_explicit_refusal_or_a_withdrawal_frees_a_quote() -> None:
    freeing = {
        fact
        for (_, fact), state in QUOTE_STEPS.items()
        if state is QuoteState.ACTIVE and fact not in (QuoteIssued, QuotesListed)
    }
    assert freeing == {OrderRefused, OrderWithdrawn}


def test_unknown_leads_only_where_evidence_leads() -> None:
    steps = {fact for state, fact in ORDER_STEPS if state is OrderState.UNKNOWN}
    assert steps == {OrderMissing, OrderFound, AbsenceProven, RefusalConfirmed}


def test_every_state_can_be_reached_and_settled() -> None:
    reached: set[OrderState | None] = {None}
    while True:
        more = {after for (before, _), after in ORDER_STEPS.items() if before in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == {None, *OrderState}


def test_an_active_quote_is_expired_by_the_clock_alone() -> None:
    quote = a_quote(QuoteState.ACTIVE)
    assert quote.status(quote.expires_at - timedelta(microseconds=1)) is QuoteStatus.ACTIVE
    assert quote.status(quote.expires_at) is QuoteStatus.EXPIRED


def test_a_claim_outlives_the_quotes_time() -> None:
    """A quote that is claimed stays claimed when its order is lost, also past its time."""
    quote = a_quote(QuoteState.CLAIMED)
    assert quote.status(quote.expires_at + timedelta(hours=1)) is QuoteStatus.CLAIMED


def test_executed_and_expired_are_different_things() -> None:
    executed = structs.replace(a_quote(), state=QuoteState.EXECUTED)
    assert executed.status(executed.expires_at + timedelta(hours=1)) is QuoteStatus.EXECUTED


def test_an_order_is_told_whole_by_its_facts() -> None:
    world = State()
    for fact in (
        UserListed(NOON, USER, "User One", "user1@example.com"),
        QuoteIssued(NOON, QUOTE, "54.42", "USD", "PHP", NOON, "page"),
        FACTS[OrderClaimed],
        FACTS[OrderSent],
        FACTS[AnswerLost],
        FACTS[OrderMissing],
        FACTS[OrderFound],
        OrderCompleted(NOON + timedelta(seconds=9), ORDER, QUOTE),
    ):
        world.put(fold(world, fact))
    order = world.orders[ORDER]
    assert (order.state, order.venue_order_id, order.absences) == (OrderState.COMPLETED, VENUE, 1)
    assert str(order.result) == "5442.00 PHP"
    assert order.settled_at == NOON + timedelta(seconds=9)
    assert world.quotes[QUOTE].state is QuoteState.EXECUTED


def test_a_quote_a_user_and_an_incident_begin_once() -> None:
    world = State()
    issued = QuoteIssued(NOON, QUOTE, "54.42", "USD", "PHP", NOON)
    raised = IncidentRaised(NOON, IncidentId("i"), IncidentKind.ORDER_VANISHED, "gone")
    for fact in (issued, raised):
        world.put(fold(world, fact))
        with pytest.raises(IllegalTransition):
            fold(world, fact)
    resolved = IncidentResolved(NOON, IncidentId("i"), "page", "seen")
    world.put(fold(world, resolved))
    with pytest.raises(IllegalTransition):
        fold(world, resolved)


def test_quotes_of_a_list_begin_together_and_once() -> None:
    world = State()
    one = ListedQuote(QuoteId("q1"), "54.42", "USD", "PHP", NOON)
    two = ListedQuote(QuoteId("q2"), "54.42", "USD", "PHP", NOON + timedelta(seconds=1))
    world.put(fold(world, QuotesListed(NOON, (one, two))))
    assert [quote.state for quote in world.quotes.values()] == [QuoteState.ACTIVE] * 2
    assert world.quotes[two.quote_id].expires_at == two.created_at + timedelta(minutes=5)
    for again in ((two,), (ListedQuote(QuoteId("q3"), "1", "USD", "PHP", NOON),) * 2):
        with pytest.raises(IllegalTransition):
            fold(world, QuotesListed(NOON, again))


def test_a_pause_is_set_and_lifted() -> None:
    world = State()
    world.put(fold(world, OrdersPaused(NOON, "page", "audit")))
    assert world.pause is not None
    assert world.pause.reason == "audit"
    world.put(fold(world, OrdersResumed(NOON, "page")))
    assert world.pause is None


def test_an_adopted_order_without_its_quote_has_no_result() -> None:
    world = State()
    world.put(fold(world, OrderAdopted(NOON, ORDER, QUOTE, USER, VENUE, "100", "XXX", "")))
    order = world.orders[ORDER]
    assert order.adopted
    assert (order.rate, order.result) == (None, None)
    assert str(order.amount) == "100 XXX"
