"""Any legal history: facts that the tables allow, in batches, with awkward texts, amounts and instants.

`histories()` is for Hypothesis; `history(random, count)` makes the same kind of thing from a seed, fast and long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from parallax.domain.entities import Order
from parallax.domain.errors import IllegalTransition
from parallax.domain.facts import (
    AbsenceProven,
    AnswerLost,
    DeskStarted,
    Fact,
    IncidentKind,
    IncidentRaised,
    IncidentResolved,
    ListedQuote,
    OrderAccepted,
    OrderAdopted,
    OrderClaimed,
    OrderCompleted,
    OrderFailed,
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
    RefusalConfirmed,
    RefusalDoubted,
    UserListed,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import State, fold
from parallax.domain.transitions import ORDER_STEPS, QuoteState

T = TypeVar("T")
Choose = Callable[[Sequence[T]], T]

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
USERS = tuple(UserId(f"user-{n}") for n in range(3))
TEXTS = ("", "Ann", "Zoë Ωmega", 'it\'s "quoted"', "two\nlines", "日本語", "nul\x00inside", "x" * 300)
AMOUNTS = (
    "1",
    "1.00",
    "0.01",
    "9.5",
    "10",
    "100",
    "100.00",
    "0100",
    "999999999999999.99",
    "0.000000000000000001",
)
RATES = ("54.42", "0.0183", "1", "123456789.123456789")
PAIRS = (("USD", "PHP"), ("JPY", "USD"), ("BHD", "JPY"))
STEPS = tuple(timedelta(microseconds=n) for n in (0, 1, 999_999, 1_000_000, 61_000_000, 90_000_000_000))


class Story:
    """A history under way: what is true so far, and the next legal fact."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any]) -> None:
        self.choose = choose
        self.state = State()
        self.now = START
        self.made = 0

    def next(self) -> Fact:
        self.now += self.choose(STEPS)
        kinds = [self._user, self._quote, self._quotes, self._desk, self._incident, self._claim, self._adopt]
        if any(not order.state.settled for order in self.state.orders.values()):
            kinds += [self._step] * 6
        while True:  # ends: a quote can always be issued
            try:
                fact = self.choose(kinds)()
                change = fold(self.state, fact)
            except IllegalTransition:
                continue
            self.state.put(change)
            return fact

    def _id(self, kind: str) -> str:
        self.made += 1
        return f"{kind}-{self.made:04d}"

    def _user(self) -> Fact:
        return UserListed(self.now, self.choose(USERS), self.choose(TEXTS), self.choose(TEXTS))

    def _quote(self) -> Fact:
        sells, buys = self.choose(PAIRS)
        created = self.now - self.choose(STEPS)
        by = self.choose(("", "operator"))
        return QuoteIssued(self.now, QuoteId(self._id("quote")), self.choose(RATES), sells, buys, created, by)

    def _quotes(self) -> Fact:
        sells, buys = self.choose(PAIRS)
        created = self.now - self.choose(STEPS)
        names = [QuoteId(self._id("quote")) for _ in range(self.choose((1, 2, 70)))]
        return QuotesListed(
            self.now, tuple(ListedQuote(name, self.choose(RATES), sells, buys, created) for name in names)
        )

    def _desk(self) -> Fact:
        user = self.choose(USERS)
        return self.choose(
            (
                DeskStarted(self.now, "1.0", "https://venue.example/api"),
                OrdersPaused(self.now, "operator", self.choose(TEXTS)),
                OrdersResumed(self.now, "operator"),
                OrdersRead(self.now, user, self.now - self.choose(STEPS), 3),
                OrdersRead(self.now, user, self.now, 0, "timed out"),
            )
        )

    def _incident(self) -> Fact:
        unresolved = [one for one in self.state.incidents.values() if one.resolved_at is None]
        if unresolved and self.choose((True, False)):
            return IncidentResolved(self.now, self.choose(unresolved).id, "operator", self.choose(TEXTS))
        orders = [None, *self.state.orders]
        return IncidentRaised(
            self.now,
            IncidentId(self._id("incident")),
            self.choose(tuple(IncidentKind)),
            self.choose(TEXTS),
            self.choose((None, *USERS)),
            None,
            self.choose(orders),
        )

    def _claim(self) -> Fact:
        quotes = [one for one in self.state.quotes.values() if one.state is QuoteState.ACTIVE]
        if not quotes:
            return self._quote()
        quote = self.choose(quotes)
        amount = self.choose(AMOUNTS)
        return OrderClaimed(
            self.now,
            OrderId(self._id("order")),
            quote.id,
            self.choose(USERS),
            amount,
            quote.rate.from_currency.code,
            self.choose(AMOUNTS),
            quote.expires_at,
            self.choose(("operator", "api")),
        )

    def _adopt(self) -> Fact:
        quotes = list(self.state.quotes.values())
        venue_id = self._id("venue")
        common = (self.now, OrderId(venue_id))
        if not quotes or self.choose((True, False)):
            return OrderAdopted(
                *common, QuoteId(self._id("foreign")), self.choose(USERS), VenueOrderId(venue_id),
                self.choose(AMOUNTS), "XXX", "",
            )  # fmt: skip
        quote = self.choose(quotes)
        return OrderAdopted(
            *common, quote.id, self.choose(USERS), VenueOrderId(venue_id), self.choose(AMOUNTS),
            quote.rate.from_currency.code, self.choose(AMOUNTS),
        )  # fmt: skip

    def _step(self) -> Fact:
        order = self.choose([one for one in self.state.orders.values() if not one.state.settled])
        kinds = [kind for before, kind in ORDER_STEPS if before is order.state]
        return self._of(self.choose(kinds), order)

    def _of(self, kind: type[Any], order: Order) -> Fact:
        key = (self.now, order.id, order.quote_id)
        reasons = (self.choose(TEXTS), "no") if self.choose((True, False)) else ()
        later = self.now + timedelta(minutes=6)
        made: dict[type[Any], Callable[[], Fact]] = {
            OrderWithdrawn: lambda: OrderWithdrawn(*key, self.choose(TEXTS)),
            OrderSent: lambda: OrderSent(*key, '{"quote_id":"…"}'),
            OrderAccepted: lambda: OrderAccepted(*key, VenueOrderId(self._id("venue"))),
            OrderRefused: lambda: OrderRefused(*key, 422, reasons),
            RefusalDoubted: lambda: RefusalDoubted(*key, 409, reasons, later),
            AnswerLost: lambda: AnswerLost(*key, "timeout", self.choose(TEXTS), later),
            OrderMissing: lambda: OrderMissing(
                *key, self.now, later, listed=7, counts=self.choose((True, False))
            ),
            OrderFound: lambda: OrderFound(*key, VenueOrderId(self._id("venue"))),
            AbsenceProven: lambda: AbsenceProven(*key, self.choose(TEXTS)),
            RefusalConfirmed: lambda: RefusalConfirmed(*key, self.choose(TEXTS)),
            OrderCompleted: lambda: OrderCompleted(*key, self.choose((None, self.now))),
            OrderFailed: lambda: OrderFailed(*key, self.now),
        }
        return made[kind]()


def history(random: Random, count: int) -> list[Fact]:
    """`count` facts of a legal history."""
    story = Story(random.choice)
    return [story.next() for _ in range(count)]


@st.composite
def histories(draw: st.DrawFn, most: int = 40) -> list[list[Fact]]:
    """A legal history of up to `most` facts, cut into batches."""
    story = Story(lambda among: draw(st.sampled_from(list(among))))
    batches: list[list[Fact]] = [[]]
    for _ in range(draw(st.integers(1, most))):
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(story.next())
    return batches
