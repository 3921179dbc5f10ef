"""Reconciliation: what a list from the venue means, compared with what the desk knows.

Pure decisions: a list and the ledger's head go in, facts come out. Nothing flips silently (rule 4): late and duplicate
news makes no fact, and a contradiction makes an incident, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from parallax.desk.execution import amount_differs, same_amount
from parallax.desk.ledger import Ledger
from parallax.domain.entities import ABSENCE_READS, Order, User
from parallax.domain.facts import (
    MAX_LISTED,
    AbsenceProven,
    Fact,
    IncidentKind,
    IncidentRaised,
    ListedQuote,
    OrderAdopted,
    OrderCompleted,
    OrderFailed,
    OrderFound,
    OrderMissing,
    OrdersRead,
    QuoteIssued,
    QuotesListed,
    RefusalConfirmed,
    UserListed,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import NO_CURRENCY, parse_wire_amount
from parallax.domain.transitions import OrderState
from parallax.ports.venue import VenueOrder, VenueOrderStatus, VenueQuote

READ_SPACING: Final = timedelta(seconds=5)
"""The least time between the end of one read and the beginning of the next, if both are to count towards a proof of
absence."""

SHOWN_WITHIN: Final = timedelta(minutes=2)
"""An accepted order that a list begun this long after its quote's end does not show has vanished: an incident."""

_SETTLING: Final = {VenueOrderStatus.COMPLETED: OrderCompleted, VenueOrderStatus.FAILED: OrderFailed}
_SETTLED_AS: Final = {
    OrderState.COMPLETED: VenueOrderStatus.COMPLETED,
    OrderState.FAILED: VenueOrderStatus.FAILED,
}
_NEVER_PLACED: Final = (OrderState.NOT_PLACED, OrderState.REFUSED, OrderState.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class OrdersList:
    """A full list of a user's orders. The read began at `began_at` by the desk's clock, and at `began` by the loop's
    seconds, which nobody sets; by the venue's clock it began at `earliest` or later, and ended at `latest` or earlier.
    """

    user_id: UserId
    orders: Collection[VenueOrder]
    """Those that there is something to conclude from: all but those that have been found `alike` before."""
    count: int
    """How many are listed in all."""
    began_at: datetime
    began: float
    earliest: datetime
    latest: datetime
    seen_pending: Mapping[OrderId, datetime] = field(default_factory=dict[OrderId, datetime])
    """When the last read that saw an order pending began, by the desk's clock."""
    doubt: str = ""
    """Why it may not be all there is: then absence from it proves nothing."""


def users_facts(head: Ledger, users: Iterable[User], now: datetime) -> list[Fact]:
    """Users that are new or look different."""
    return [UserListed(now, user.id, user.name, user.email) for user in users if head.user(user.id) != user]


def quotes_facts(head: Ledger, quotes: Iterable[VenueQuote], now: datetime) -> list[Fact]:
    """Quotes that are new here, together, and incidents for those that have changed."""
    facts: list[Fact] = []
    new: list[ListedQuote] = []
    for listed in {quote.id: quote for quote in quotes}.values():
        known = head.quote(listed.id)
        if known is None:
            new.append(_listed(listed))
        elif (known.rate, known.created_at) != (listed.rate, listed.created_at):
            incident_id = IncidentId(f"{IncidentKind.QUOTE_CHANGED}.{listed.id}")
            if head.incident(incident_id) is None:
                words = (
                    f"The quote was given at {known.rate.wire} {known.rate.pair} and is now listed at"
                    f" {listed.rate.wire} {listed.rate.pair}, or with another time."
                )
                facts.append(
                    IncidentRaised(now, incident_id, IncidentKind.QUOTE_CHANGED, words, quote_id=listed.id)
                )
    facts += (QuotesListed(now, tuple(new[n : n + MAX_LISTED])) for n in range(0, len(new), MAX_LISTED))
    return facts


def _listed(quote: VenueQuote) -> ListedQuote:
    rate = quote.rate
    return ListedQuote(quote.id, rate.wire, rate.from_currency.code, rate.to_currency.code, quote.created_at)


def issued(quote: VenueQuote, now: datetime, by: str) -> QuoteIssued:
    """The fact of a quote that the venue gave to whoever asked for it here."""
    return QuoteIssued(
        now,
        quote.id,
        quote.rate.wire,
        quote.rate.from_currency.code,
        quote.rate.to_currency.code,
        quote.created_at,
        by,
    )


def alike(known: Order | None, listed: VenueOrder) -> bool:
    """Whether a listed order is one that has settled here, and just so: then there is nothing more to conclude from
    it, now or ever (rule 4: a settled order never changes)."""
    return (
        known is not None
        and _SETTLED_AS.get(known.state) is listed.status
        and (known.user_id, known.quote_id) == (listed.user_id, listed.quote_id)
        and same_amount(listed.amount, known.amount)
    )


def orders_facts(head: Ledger, read: OrdersList, now: datetime) -> list[Fact]:
    """Everything that a full list of a user's orders proves."""
    return _Reading(head, read, now).facts()


class _Reading:
    """One list being compared with the head. What it has concluded so far is not in the head yet: kept here."""

    def __init__(self, head: Ledger, read: OrdersList, now: datetime) -> None:
        self._head = head
        self._read = read
        self._now = now
        self._facts: list[Fact] = [OrdersRead(now, read.user_id, read.began_at, read.count)]
        self._concluded: set[OrderId] = set()
        self._raised: set[IncidentId] = set()
        self._used: dict[QuoteId, tuple[VenueOrderId, OrderId]] = {}

    def facts(self) -> list[Fact]:
        unfamiliar: list[VenueOrder] = []
        for listed in self._read.orders:
            known = self._head.order_at_venue(listed.id)
            if known is not None:
                self._known(known, listed)
            else:
                unfamiliar.append(listed)
        # Ours first: that another order used our quote says something only if ours is not in the list beside it.
        unfamiliar.sort(key=lambda listed: self._lost_one(listed) is None)
        for listed in unfamiliar:
            self._unfamiliar(listed)
        for order in self._head.books.open_orders(self._read.user_id):
            current = self._head.order(order.id)
            if self._read.doubt:
                break
            if current is not None and current.open and current.id not in self._concluded:
                self._absent(current)
        return self._facts

    # An order that the desk knows by its id at the venue

    def _known(self, known: Order, listed: VenueOrder) -> None:
        self._concluded.add(known.id)
        if not same_amount(listed.amount, known.amount):
            self._raise(amount_differs(self._now, known, listed.amount))
        if (listed.user_id, listed.quote_id) != (known.user_id, known.quote_id):
            self._contradiction(
                IncidentKind.ORDER_UNDER_ANOTHER_USER,
                f"The exchange now lists this order under user {listed.user_id} and quote {listed.quote_id}.",
                known,
            )
        if known.state is OrderState.PENDING:
            self._settle(known.id, known.quote_id, listed.status, self._read.seen_pending.get(known.id))
            return
        settled_as = _SETTLED_AS.get(known.state)
        if settled_as is None or listed.status is settled_as:
            return
        stale = self._head.settled_after(known.id, self._read.began)
        if listed.status is VenueOrderStatus.PENDING and stale:
            return  # the read began before the news that we have: late, and changes nothing
        self._contradiction(
            IncidentKind.SETTLED_ORDER_CHANGED,
            f"The order settled as {known.state} and the exchange now shows it as {listed.status}.",
            known,
            suffix=f".{listed.status}",
        )

    # An order that the desk does not know by its id at the venue

    def _unfamiliar(self, listed: VenueOrder) -> None:
        own = [order for order in self._head.orders_on(listed.quote_id) if not order.adopted]
        if any(order.state in (OrderState.CLAIMED, OrderState.SENT) for order in own):
            return  # its answer is on the way and says more than this list
        self._two_on_one_quote(listed)
        ours = self._lost_one(listed)
        if ours is not None and ours.id in self._concluded:
            ours = None
        self._used[listed.quote_id] = listed.id, ours.id if ours else OrderId(listed.id)
        if ours is not None:
            self._concluded.add(ours.id)
            self._facts.append(OrderFound(self._now, ours.id, ours.quote_id, listed.id))
            self._settle(ours.id, ours.quote_id, listed.status, None)
            return
        self._adopt(listed)
        for order in own:
            self._beside(order, listed)

    def _lost_one(self, listed: VenueOrder) -> Order | None:
        """The unknown order of ours that a listed one is."""
        own = self._head.orders_on(listed.quote_id)
        return next((o for o in own if o.state is OrderState.UNKNOWN and _is_ours(o, listed)), None)

    def _adopt(self, listed: VenueOrder) -> None:
        """Placed elsewhere: take it in under the venue's id."""
        order_id = OrderId(listed.id)
        quote = self._head.quote(listed.quote_id)
        amount = parse_wire_amount(listed.amount, quote.rate.from_currency if quote else NO_CURRENCY)
        self._concluded.add(order_id)
        self._facts.append(
            OrderAdopted(
                self._now,
                order_id,
                listed.quote_id,
                listed.user_id,
                listed.id,
                amount.wire,
                amount.currency.code,
                quote.rate.convert(amount).wire if quote else "",
            )
        )
        self._settle(order_id, listed.quote_id, listed.status, None)

    def _beside(self, order: Order, listed: VenueOrder) -> None:
        """What an adopted order says of an order of ours on the same quote."""
        if order.state in _NEVER_PLACED and _is_ours(order, listed):
            self._contradiction(
                IncidentKind.ORDER_AFTER_ABSENCE,
                f"The order is {order.state.replace('_', ' ')} here, and the exchange now lists order"
                f" {listed.id}, which is like it.",
                order,
            )
        if order.state is not OrderState.UNKNOWN:
            return
        if order.user_id != listed.user_id:
            self._contradiction(
                IncidentKind.ORDER_UNDER_ANOTHER_USER,
                f"The quote was claimed here for user {order.user_id}; the exchange lists order {listed.id} on"
                f" it under user {listed.user_id}.",
                order,
            )
        elif order.refusal is None and not same_amount(listed.amount, order.amount):
            # Whose it is cannot be told: somebody else was first, or the venue holds ours for another amount.
            self._contradiction(
                IncidentKind.AMOUNT_DIFFERS,
                f"The order was sent for {order.amount.wire} and had no answer; the exchange lists order {listed.id}"
                f" on its quote, for {listed.amount}.",
                order,
            )
        if order.refusal is not None and order.id not in self._concluded:
            # The venue said no, and the quote is seen to be used by another order: the no was true.
            self._concluded.add(order.id)
            evidence = f"The exchange's order {listed.id} used the quote."
            self._facts.append(RefusalConfirmed(self._now, order.id, order.quote_id, evidence))

    def _two_on_one_quote(self, listed: VenueOrder) -> None:
        others = [
            (order.venue_order_id, order.id)
            for order in self._head.orders_on(listed.quote_id)
            if order.venue_order_id is not None
        ]
        if listed.quote_id in self._used:
            others.append(self._used[listed.quote_id])
        if others:
            first, order_id = others[0]
            self._raise(
                IncidentRaised(
                    self._now,
                    IncidentId(f"{IncidentKind.TWO_ORDERS_ON_ONE_QUOTE}.{listed.id}"),
                    IncidentKind.TWO_ORDERS_ON_ONE_QUOTE,
                    f"The exchange lists orders {first} and {listed.id} on one quote.",
                    listed.user_id,
                    listed.quote_id,
                    order_id,
                )
            )

    # A followed order that the list does not show

    def _absent(self, order: Order) -> None:
        if order.state is OrderState.PENDING:
            quote = self._head.quote(order.quote_id)
            if quote is not None and self._read.earliest >= quote.expires_at + SHOWN_WITHIN:
                self._contradiction(
                    IncidentKind.ORDER_VANISHED,
                    "The exchange accepted this order, and its list of the user's orders does not show it.",
                    order,
                )
            return
        assert order.conclusive_after is not None, "an unknown order says from when absence counts"
        earliest = self._read.earliest
        counts = earliest > order.conclusive_after
        if counts and order.absences and order.last_look and earliest < order.last_look + READ_SPACING:
            # Too soon after the one that counted last. Written down it would pass for the last one itself, and where
            # somebody looks all the time no look would ever be late enough.
            return
        listed = self._read.count
        self._facts.append(
            OrderMissing(self._now, order.id, order.quote_id, earliest, self._read.latest, listed, counts)
        )
        if counts and order.absences + 1 >= ABSENCE_READS:
            evidence = (
                f"{ABSENCE_READS} full reads of the user's orders, each begun after"
                f" {order.conclusive_after.isoformat()}, did not show it."
            )
            proven = AbsenceProven if order.refusal is None else RefusalConfirmed
            self._facts.append(proven(self._now, order.id, order.quote_id, evidence))

    # Making facts

    def _settle(
        self, order_id: OrderId, quote_id: QuoteId, status: VenueOrderStatus, not_before: datetime | None
    ) -> None:
        if (settled := _SETTLING.get(status)) is not None:
            self._facts.append(settled(self._now, order_id, quote_id, not_before))

    def _contradiction(self, kind: IncidentKind, words: str, order: Order, suffix: str = "") -> None:
        self._raise(
            IncidentRaised(
                self._now,
                IncidentId(f"{kind}.{order.id}{suffix}"),
                kind,
                words,
                order.user_id,
                order.quote_id,
                order.id,
            )
        )

    def _raise(self, incident: IncidentRaised) -> None:
        """An incident that has been raised is not raised again, resolved or not."""
        if self._head.incident(incident.incident_id) is None and incident.incident_id not in self._raised:
            self._raised.add(incident.incident_id)
            self._facts.append(incident)


def _is_ours(order: Order, listed: VenueOrder) -> bool:
    return order.user_id == listed.user_id and same_amount(listed.amount, order.amount)
