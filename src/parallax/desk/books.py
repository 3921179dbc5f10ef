"""The books: what is live and durable, in memory, with the indexes that pages and the tracker need.

Only `Ledger` writes here, and only what the journal has made durable.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final

from parallax.desk.registry import Key, Registry, Value
from parallax.domain.entities import QUOTE_VALIDITY, Incident, Order, Pause, Quote, User
from parallax.domain.facts import QuoteIssued, QuotesListed
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId
from parallax.domain.money import Money
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.journal import Snapshot

MAX_SETTLED_ORDERS: Final = 50_000
"""Settled orders kept in memory; older ones are read from the journal. About 1 KB each."""

MAX_PAST_QUOTES: Final = 100_000
"""Past quotes kept in memory; older ones are read from the journal. About 0.6 KB each."""


MAX_ALIKE: Final = 8
"""Orders of one user for one amount that are looked at as what a new one may repeat."""

NEAR: Final = 4_096
"""How far from the newest quotes a new one is looked for first: a long list comes in slices that are in order, and are
not within."""


Content = tuple[UserId, str, Decimal]
"""What an order is for: the user, the currency and the amount."""


class Books:
    """Users, quotes, orders and incidents as the journal knows them."""

    def __init__(self) -> None:
        self.users: Registry[UserId, User] = Registry()
        self.quotes: Registry[QuoteId, Quote] = Registry()
        self.orders: Registry[OrderId, Order] = Registry()
        self.incidents: Registry[IncidentId, Incident] = Registry()
        self.pause: Pause | None = None
        self.quotes_ever = 0
        """How many quotes have become known in all, those that only the journal holds by now among them."""
        # The number tells quotes of one moment apart: venues write times to the second.
        self._quotes_by_time: list[tuple[datetime, int, QuoteId]] = []
        self._quotes_seen = 0
        self._number_of: dict[QuoteId, int] = {}
        self._used: list[tuple[datetime, QuoteId]] = []
        """The quotes that an order holds or has used, by time."""
        self._orders_of: dict[UserId, dict[OrderId, None]] = {}
        self._open: dict[UserId, dict[OrderId, None]] = {}
        self._alike: dict[Content, deque[OrderId]] = {}
        self._unknown: dict[UserId, dict[OrderId, None]] = {}
        self._open_incidents: dict[IncidentId, None] = {}
        self._incidents_on: dict[OrderId | QuoteId, dict[IncidentId, None]] = {}

    # Reading

    def user(self, user_id: UserId) -> User | None:
        return self.users.get(user_id)

    def quote(self, quote_id: QuoteId) -> Quote | None:
        return self.quotes.get(quote_id)

    def order(self, order_id: OrderId) -> Order | None:
        return self.orders.get(order_id)

    def incident(self, incident_id: IncidentId) -> Incident | None:
        return self.incidents.get(incident_id)

    def newest_quotes(self, limit: int, offset: int = 0) -> list[Quote]:
        """Quotes by the venue's time of creation, newest first."""
        end = len(self._quotes_by_time) - offset
        return [
            quote
            for *_, quote_id in reversed(self._quotes_by_time[max(0, end - limit) : max(0, end)])
            if (quote := self.quotes.get(quote_id))
        ]

    def young_quotes(self, venue_now: datetime, limit: int, offset: int = 0) -> list[Quote]:
        """Quotes whose time has not run out by the venue's clock, newest first."""
        return self.newest_quotes(max(0, min(limit, self.young_count(venue_now) - offset)), offset)

    def young_count(self, venue_now: datetime) -> int:
        """How many quotes' time has not run out by the venue's clock."""
        since = venue_now - QUOTE_VALIDITY
        return len(self._quotes_by_time) - bisect_left(
            self._quotes_by_time, (since + timedelta(microseconds=1),)
        )

    def live_count(self, venue_now: datetime) -> int:
        """How many quotes an order can be placed on: still in time, and not held or used by one."""
        since = venue_now - QUOTE_VALIDITY + timedelta(microseconds=1)
        return self.young_count(venue_now) - (len(self._used) - bisect_left(self._used, (since,)))

    def quote_before(self, quote: Quote) -> Quote | None:
        """The quote that was created last before another."""
        # Venues write times to the second, so a great many may be of one moment: the number finds its place at once.
        number = self._number_of.get(quote.id, self._quotes_seen + 1)
        place = bisect_left(self._quotes_by_time, (quote.created_at, number))
        return self.quotes.get(self._quotes_by_time[place - 1][2]) if place else None

    def orders_of(self, user_id: UserId) -> list[Order]:
        """A user's live and recent orders, oldest first."""
        return [
            order for order_id in self._orders_of.get(user_id, ()) if (order := self.orders.get(order_id))
        ]

    def alike(self, user_id: UserId, amount: Money) -> list[Order]:
        """A user's orders for an amount: the newest, `MAX_ALIKE` at most, and all whose outcome is unknown."""
        wanted = _content(user_id, amount)
        ids = dict.fromkeys((*self._unknown.get(user_id, ()), *self._alike.get(wanted, ())))
        found = [order for order_id in ids if (order := self.orders.get(order_id))]
        return [order for order in found if _content(order.user_id, order.amount) == wanted]

    def open_orders(self, user_id: UserId) -> list[Order]:
        """A user's orders that the tracker has to follow."""
        return [order for order_id in self._open.get(user_id, ()) if (order := self.orders.get(order_id))]

    def users_with_open_orders(self) -> Iterator[UserId]:
        """Everyone whose orders the tracker has to follow."""
        return (user_id for user_id, orders in self._open.items() if orders)

    @property
    def open_count(self) -> int:
        """How many orders are followed."""
        return sum(map(len, self._open.values()))

    @property
    def open_incident_count(self) -> int:
        """How many contradictions nobody has resolved."""
        return len(self._open_incidents)

    def open_incidents(self) -> list[Incident]:
        """Contradictions that nobody has resolved, the last raised first."""
        return self.newest_incidents(self.open_incident_count)

    def newest_incidents(self, limit: int, offset: int = 0, *, resolved: bool = False) -> list[Incident]:
        """Contradictions that nobody has resolved, with `resolved` also the others; the last raised first."""
        if resolved:
            return [*islice(self.incidents.newest(), offset, offset + limit)]
        chosen = islice(reversed(self._open_incidents), offset, offset + limit)
        return [incident for incident_id in chosen if (incident := self.incidents.get(incident_id))]

    def incidents_of(self, order: Order) -> list[Incident]:
        """Contradictions about an order or about its quote, which concern each order on it; the first raised first."""
        ids = {**self._incidents_on.get(order.quote_id, {}), **self._incidents_on.get(order.id, {})}
        return [incident for incident_id in ids if (incident := self.incidents.get(incident_id))]

    def contradicted(self, order: Order) -> bool:
        """Whether the exchange contradicts what is known of an order, and nobody has resolved that yet."""
        return any(incident.resolved_at is None for incident in self.incidents_of(order))

    # Writing (the ledger only)

    def load(self, snapshot: Snapshot) -> None:
        """Fill empty books at start."""
        for user in snapshot.users:
            self.users.add(user.id, user)
        for quote in snapshot.quotes:
            self.quotes.add(quote.id, quote)
            self._index_quote(quote)
        for order in sorted(snapshot.orders, key=lambda order: order.created_at):
            self.orders.add(order.id, order)
            self._index_order(order)
        for incident in snapshot.incidents:
            self.incidents.add(incident.id, incident)
            self._index_incident(incident)
        self.pause = snapshot.pause
        self.quotes_ever = snapshot.quotes_ever

    def put(self, change: Change) -> None:
        """Take over what a durable fact has changed."""
        if isinstance(change.fact, QuoteIssued | QuotesListed):
            self.quotes_ever += len(change.listed) or 1
        if (user := change.user) is not None:
            _upsert(self.users, user.id, user)
        if (quote := change.quote) is not None:
            if _upsert(self.quotes, quote.id, quote):
                self._index_quote(quote)
            else:
                self._note_use(quote, used=quote.state is not QuoteState.ACTIVE)
        for quote in change.listed:
            self.quotes.add(quote.id, quote)
            self._index_quote(quote)
        if (order := change.order) is not None:
            _upsert(self.orders, order.id, order)
            self._index_order(order)
        if (incident := change.incident) is not None:
            _upsert(self.incidents, incident.id, incident)
            self._index_incident(incident)
        if change.paused is not None:
            self.pause = change.paused if isinstance(change.paused, Pause) else None

    def recall(
        self, orders: Sequence[Order], quotes: Sequence[Quote], incidents: Sequence[Incident] = ()
    ) -> None:
        """Bring retired entities back from history."""
        for incident in incidents:
            if incident.id not in self.incidents:
                self.incidents.add(incident.id, incident)
        for quote in quotes:
            if quote.id not in self.quotes:
                self.quotes.add(quote.id, quote)
                self._index_quote(quote)
        for order in orders:
            if order.id not in self.orders:
                self.orders.add(order.id, order)
                self._index_order(order)

    def retire(self, venue_now: datetime) -> list[Order]:
        """Let go of quotes and orders that are neither live nor recent; returns the orders."""
        self._retire_quotes(venue_now)
        settled = [order for order in self.orders if order.state.settled]
        surplus = len(settled) - MAX_SETTLED_ORDERS
        if surplus <= 0:
            return []
        settled.sort(key=lambda order: order.settled_at or order.created_at)
        for order in settled[:surplus]:
            self.orders.retire(order.id)
            self._orders_of[order.user_id].pop(order.id, None)
            if order.id == self._alike.get(_content(order.user_id, order.amount), (None,))[-1]:
                del self._alike[_content(order.user_id, order.amount)]  # the others are older, and gone
        return settled[:surplus]

    def _retire_quotes(self, venue_now: datetime) -> None:
        surplus = len(self._quotes_by_time) - MAX_PAST_QUOTES
        if surplus <= 0:
            return
        kept: list[tuple[datetime, int, QuoteId]] = []
        for created_at, number, quote_id in self._quotes_by_time[:surplus]:
            quote = self.quotes.get(quote_id)
            assert quote is not None, "the index holds what is live"
            if quote.state is QuoteState.CLAIMED or quote.expires_at >= venue_now - QUOTE_VALIDITY:
                kept.append((created_at, number, quote_id))
            else:
                self.quotes.retire(quote_id)
                del self._number_of[quote_id]
        self._quotes_by_time[:surplus] = kept
        self._used = [entry for entry in self._used if entry[1] in self.quotes]

    def _index_quote(self, quote: Quote) -> None:
        self._quotes_seen += 1
        self._number_of[quote.id] = self._quotes_seen
        by_time, entry = self._quotes_by_time, (quote.created_at, self._quotes_seen, quote.id)
        if not by_time or by_time[-1] < entry:
            by_time.append(entry)  # as nearly always
        else:
            near = max(0, len(by_time) - NEAR)
            insort(by_time, entry, near if by_time[near] < entry else 0)
        if quote.state is not QuoteState.ACTIVE:
            self._note_use(quote, used=True)

    def _note_use(self, quote: Quote, *, used: bool) -> None:
        entry = (quote.created_at, quote.id)
        place = bisect_left(self._used, entry)
        noted = place < len(self._used) and self._used[place] == entry
        if used and not noted:
            self._used.insert(place, entry)
        elif noted and not used:
            del self._used[place]

    def _index_order(self, order: Order) -> None:
        known = self._orders_of.setdefault(order.user_id, {})
        if order.id not in known:
            known[order.id] = None
            self._alike.setdefault(_content(order.user_id, order.amount), deque(maxlen=MAX_ALIKE)).append(
                order.id
            )
        followed = self._open.setdefault(order.user_id, {})
        if order.state is OrderState.UNKNOWN:
            self._unknown.setdefault(order.user_id, {})[order.id] = None
        elif order.user_id in self._unknown:
            self._unknown[order.user_id].pop(order.id, None)
        if order.open:
            followed[order.id] = None
        else:
            followed.pop(order.id, None)

    def _index_incident(self, incident: Incident) -> None:
        if incident.resolved_at is None:
            self._open_incidents[incident.id] = None
        else:
            self._open_incidents.pop(incident.id, None)
        for about in (incident.order_id, incident.quote_id):
            if about is not None:
                self._incidents_on.setdefault(about, {})[incident.id] = None


def _content(user_id: UserId, amount: Money) -> Content:
    return user_id, amount.currency.code, amount.amount


def _upsert(registry: Registry[Key, Value], key: Key, value: Value) -> bool:
    """Whether the entity is new here. Retired entities come back when something happens to them."""
    if key in registry:
        registry.replace(key, value)
        return False
    registry.add(key, value)
    return True
