"""The judgement after a run: the desk's record against the sandbox's, by the rules' names.

Everything has been quiet for minutes, so every question has its answer: what is still open, missing, invented or
different is a violation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction
from hashlib import sha256
from typing import Final

from parallax.domain.entities import Order
from parallax.domain.errors import IllegalTransition
from parallax.domain.facts import (
    AbsenceProven,
    Fact,
    IncidentKind,
    OrderAdopted,
    OrderClaimed,
    OrderFact,
    RefusalConfirmed,
)
from parallax.domain.identity import OrderId
from parallax.domain.state import State, fold
from parallax.domain.transitions import OrderState, QuoteState
from parallax.sandbox import Order as VenueOrder
from simulation.life import AT_THE_VENUE, BECOMES, LATER, NEVER_PLACED, S
from simulation.rules import (
    CRASH_IS_ORDINARY,
    FORWARD_ONLY,
    INCIDENTS_ARE_TRUE,
    MONEY_IS_EXACT,
    NO_SURPRISES,
    NOTHING_LOST_OR_INVENTED,
    OWN_ORDER_BY_KEY,
    OWN_ORDERS_ONLY,
    STATE_IS_THE_FOLD,
    UNKNOWN_IS_NOT_FAILED,
    VALIDITY,
)
from simulation.witness import ListShown
from simulation.world import Life, World

READS: Final = 3
"""Reads without the order that prove its absence."""

SPACING: Final = 4.9
"""Seconds between two of them, by the true time: the desk's own clock arithmetic rounds."""

DIGITS: Final = {"USD": 2, "PHP": 2, "GBP": 2, "JPY": 0, "KWD": 3}


class Checker:
    """Judges one world. `judge` adds what it finds to the witness's violations."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self._witness = world.witness
        self._expect = world.witness.expect
        self._exchange = world.exchange
        self._orders: list[Order] = list(life.desk.books.orders)

    async def judge(self) -> None:
        """All of it."""
        self._facts_lead_forward()
        self._state_is_the_fold()
        await self._chain_holds()
        self._every_venue_order_is_known()
        for order in self._orders:
            self._order_is_true(order)
            self._money_is_exact(order)
        self._one_order_a_key()
        self._absences_were_proven()
        self._quotes_are_true()
        self._incidents_are_true()
        self._nothing_surprised()

    # The record by itself

    def _facts_lead_forward(self) -> None:
        states: dict[str, OrderState] = {}
        for fact in self._world.disk.facts:
            if not isinstance(fact, OrderFact):
                continue
            before, after = states.get(fact.order_id), BECOMES[type(fact)]
            states[fact.order_id] = after
            if before is None:
                begins = isinstance(fact, OrderClaimed | OrderAdopted)
                self._expect(
                    begins, FORWARD_ONLY, f"{type(fact).__name__} of an order that was never claimed"
                )
            elif before is not after or before.settled:
                self._expect(
                    after in LATER[before],
                    FORWARD_ONLY,
                    f"order {fact.order_id} went from {before} to {after} by {type(fact).__name__}",
                )

    def _state_is_the_fold(self) -> None:
        state = State()
        try:
            for fact in self._world.disk.facts:
                state.put(fold(state, fact))
        except IllegalTransition as error:
            self._witness.broken(STATE_IS_THE_FOLD, f"the facts do not follow from one another: {error}")
            return
        books = self._life.desk.books
        for what, kept, shown in (
            ("users", state.users, {user.id: user for user in books.users}),
            ("quotes", state.quotes, {quote.id: quote for quote in books.quotes}),
            ("orders", state.orders, {order.id: order for order in books.orders}),
            ("incidents", state.incidents, {incident.id: incident for incident in books.incidents}),
        ):
            self._expect(kept == shown, STATE_IS_THE_FOLD, f"the {what} shown are not those of the facts")
        self._expect(
            state.pause == books.pause, STATE_IS_THE_FOLD, "the pause shown is not that of the facts"
        )
        position = self._life.desk.position
        self._expect(
            position == len(self._world.disk.facts),
            STATE_IS_THE_FOLD,
            f"position {position} is not the last fact",
        )

    async def _chain_holds(self) -> None:
        head, count = bytes(32), 0
        if not self._world.plan.hashed:
            return
        while page := await self._life.journal.facts(count, 1_000):
            for stored in page:
                count += 1
                head = sha256(head + stored.digest).digest()
                self._expect(
                    (stored.position, stored.hash) == (count, head),
                    STATE_IS_THE_FOLD,
                    f"fact {stored.position} breaks the chain",
                )

    # Against the venue's record

    def _every_venue_order_is_known(self) -> None:
        by_venue_id: dict[str, list[Order]] = {}
        for order in self._orders:
            if order.venue_order_id is not None:
                by_venue_id.setdefault(order.venue_order_id, []).append(order)
        denied = {order.id for order in self._orders if self._denied_by_the_venue(order)}
        makers = {d.made: d.order_id for d in self._witness.departures if d.made and d.order_id not in denied}
        for venue in self._exchange.orders.values():
            known = by_venue_id.pop(venue.id, [])
            self._expect(
                len(known) == 1,
                NOTHING_LOST_OR_INVENTED,
                f"the venue's order {venue.id} is known {len(known)} times here",
            )
            for order in known:
                self._same(order, venue, makers.get(venue.id, venue.id))
        self._expect(
            not by_venue_id, NOTHING_LOST_OR_INVENTED, f"orders {list(by_venue_id)} are not at the venue"
        )

    def _same(self, order: Order, venue: VenueOrder, maker: str) -> None:
        self._expect(
            order.user_id == venue.user_id, OWN_ORDERS_ONLY, f"order {order.id} is shown to {order.user_id}"
        )
        same = (order.quote_id, order.amount.wire, order.id) == (venue.quote_id, venue.from_amount, maker)
        self._expect(
            same, NOTHING_LOST_OR_INVENTED, f"order {order.id} is not the venue's {venue.id}, made by {maker}"
        )
        now = venue.status(self._exchange.now())
        if order.state.value == now:
            return
        said_so = any(status == order.state.value for _, status in venue.life)
        changed = venue.id in self._witness.minds_changed and order.state.settled and said_so
        self._expect(
            changed,
            NOTHING_LOST_OR_INVENTED,
            f"order {order.id} is {order.state} here and {now} at the venue",
        )
        if changed:
            wanted = IncidentKind.SETTLED_ORDER_CHANGED
            raised = any(i.kind is wanted and i.order_id == order.id for i in self._life.desk.books.incidents)
            self._expect(
                raised,
                INCIDENTS_ARE_TRUE,
                f"order {order.id} changed its mind at the venue and nobody was told",
            )

    def _order_is_true(self, order: Order) -> None:
        sent = [d for d in self._witness.departures if d.order_id == order.id]
        made = [d.made for d in sent if d.made]
        if order.state in AT_THE_VENUE:
            there = order.venue_order_id in self._exchange.orders
            self._expect(
                there, NOTHING_LOST_OR_INVENTED, f"order {order.id} is {order.state} and not at the venue"
            )
        elif order.state in NEVER_PLACED:
            if made and self._denied_by_the_venue(order):
                return
            self._expect(
                not made,
                UNKNOWN_IS_NOT_FAILED,
                f"order {order.id} is {order.state} and the venue has it: {made}",
            )
            if order.state is S.WITHDRAWN:
                self._expect(not sent, UNKNOWN_IS_NOT_FAILED, f"order {order.id} is withdrawn and was sent")
        told = self._world.shown.get(order.id)
        if told is not None and told is not order.state:
            self._expect(
                order.state in LATER[told],
                FORWARD_ONLY,
                f"order {order.id} was told as {told}, is {order.state}",
            )

    def _denied_by_the_venue(self, order: Order) -> bool:
        """Whether a venue that carried out two orders on one quote (against assumption 1) showed the other one first
        and refused ours: what came to light later must be an incident."""
        on_quote = [one for one in self._exchange.orders.values() if one.quote_id == order.quote_id]
        kind = IncidentKind.ORDER_AFTER_ABSENCE
        told = any(one.kind is kind and one.order_id == order.id for one in self._life.desk.books.incidents)
        return order.state is S.REFUSED and len(on_quote) > 1 and told

    def _money_is_exact(self, order: Order) -> None:
        quote = self._exchange.quotes.get(order.quote_id)
        if quote is None or order.rate is None or order.result is None:
            self._witness.broken(MONEY_IS_EXACT, f"order {order.id} has no rate")
            return
        digits = DIGITS[quote.to_currency.upper()]
        exact = Fraction(order.amount.wire) * Fraction(quote.rate)
        units = (exact * 10**digits * 2 + 1) // 2  # half up: amounts are positive
        whole, part = divmod(int(units), 10**digits)
        written = f"{whole}.{part:0{digits}d}" if digits else str(whole)
        self._expect(
            (order.rate.wire, order.result.wire) == (quote.rate, written),
            MONEY_IS_EXACT,
            f"{order.amount} at {quote.rate} is {written}, and {order.result.wire} here",
        )

    def _one_order_a_key(self) -> None:
        """Of what was asked for under a key, once or often, one order at most was sent."""
        sent: dict[str, list[OrderId]] = {}
        for order in self._orders:
            if " key " in order.by and order.state is not S.WITHDRAWN:
                sent.setdefault(order.by, []).append(order.id)
        for key, orders in sent.items():
            self._expect(len(orders) == 1, OWN_ORDER_BY_KEY, f"{key} has {orders}")

    def _absences_were_proven(self) -> None:
        """Every conclusion from absence rests on three lists that really came, late enough and apart."""
        begun: dict[str, OrderClaimed] = {}
        for position, fact in enumerate(self._world.disk.facts):
            if isinstance(fact, OrderClaimed):
                begun[fact.order_id] = fact
            proven = isinstance(fact, AbsenceProven) or (
                isinstance(fact, RefusalConfirmed) and not self._used_by_another(fact)
            )
            if not proven or not isinstance(fact, OrderFact):
                continue
            claim = begun[fact.order_id]
            quote = self._exchange.quotes[claim.quote_id]
            end = self._world.disk.times[position]
            # A second for created_at, which the venue shows without its fraction.
            slack = timedelta(seconds=1.0 + self._witness.jumped_between(0.0, end))
            after = quote.created_at + VALIDITY + timedelta(seconds=self._world.plan.grace) - slack
            lists = [
                shown
                for shown in self._witness.lists
                if shown.user_id == claim.user_id and shown.asked_venue > after and shown.answered <= end
            ]
            apart = _apart(lists)
            self._expect(
                apart >= READS,
                UNKNOWN_IS_NOT_FAILED,
                f"order {fact.order_id} was concluded to be absent from {apart} reads that count",
            )

    def _used_by_another(self, fact: Fact) -> bool:
        assert isinstance(fact, RefusalConfirmed)
        made = {d.made for d in self._witness.departures if d.order_id == fact.order_id}
        orders = self._exchange.orders.values()
        return any(order.quote_id == fact.quote_id and order.id not in made for order in orders)

    def _quotes_are_true(self) -> None:
        for quote in self._life.desk.books.quotes:
            venue = self._exchange.quotes.get(quote.id)
            if venue is None:
                self._witness.broken(NOTHING_LOST_OR_INVENTED, f"quote {quote.id} is not at the venue")
                continue
            self._expect(
                quote.rate.wire == venue.rate,
                MONEY_IS_EXACT,
                f"quote {quote.id} has the rate {quote.rate.wire}",
            )
            used = venue.order_id is not None
            self._expect(
                (quote.state is QuoteState.EXECUTED) == used,
                NOTHING_LOST_OR_INVENTED,
                f"quote {quote.id} is {quote.state} here and {'used' if used else 'unused'} at the venue",
            )
            if quote.state is QuoteState.CLAIMED:
                self._witness.broken(NOTHING_LOST_OR_INVENTED, f"quote {quote.id} is still claimed")

    def _incidents_are_true(self) -> None:
        on_quote: dict[str, list[VenueOrder]] = {}
        for venue in self._exchange.orders.values():
            on_quote.setdefault(venue.quote_id, []).append(venue)
        raised: set[str] = set()
        for incident in self._life.desk.books.incidents:
            orders = on_quote.get(incident.quote_id or "", [])
            order = self._life.desk.books.order(incident.order_id) if incident.order_id else None
            match incident.kind:
                case IncidentKind.SETTLED_ORDER_CHANGED:
                    cause = order is not None and order.venue_order_id in self._witness.minds_changed
                case IncidentKind.TWO_ORDERS_ON_ONE_QUOTE:
                    cause = len(orders) > 1
                    raised.add(incident.quote_id or "")
                case IncidentKind.ORDER_UNDER_ANOTHER_USER:
                    cause = any(venue.elsewhere and venue.user_id != incident.user_id for venue in orders)
                case IncidentKind.AMOUNT_DIFFERS:
                    cause = any(venue.elsewhere and venue.user_id == incident.user_id for venue in orders)
                case IncidentKind.ORDER_AFTER_ABSENCE:
                    cause = order is not None and len(orders) > 1 and self._denied_by_the_venue(order)
                case _:
                    cause = False
            self._expect(cause, INCIDENTS_ARE_TRUE, f"{incident.kind} without a cause: {incident.words}")
        for quote_id, orders in on_quote.items():
            if len(orders) > 1:
                self._expect(
                    quote_id in raised,
                    INCIDENTS_ARE_TRUE,
                    f"two orders on quote {quote_id} and nobody was told",
                )

    # The program itself

    def _nothing_surprised(self) -> None:
        for trouble in self._world.loop.troubles:
            self._witness.broken(NO_SURPRISES, trouble)
        for duty in self._life.desk.duties:
            self._expect(
                not duty.restarts,
                NO_SURPRISES,
                f"{duty.name} was restarted {duty.restarts}×: {duty.last_error}",
            )
        self._expect(
            self._life.journal.failed is None,
            CRASH_IS_ORDINARY,
            f"the journal failed: {self._life.journal.failed}",
        )


def _apart(lists: Iterable[ListShown]) -> int:
    """How many of the lists were begun far enough from one another."""
    count, last = 0, float("-inf")
    for asked in sorted(shown.asked for shown in lists):
        if asked >= last + SPACING:
            count, last = count + 1, asked
    return count
