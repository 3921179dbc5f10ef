"""Whether a batch may be written after everything before it: every step is one of the tables', and no claim meets
another. Both journals ask this before they write anything down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from parallax.domain.errors import QuoteTaken
from parallax.domain.facts import OrderClaimed
from parallax.domain.identity import OrderId, QuoteId
from parallax.domain.state import Change
from parallax.domain.transitions import ORDER_STEPS, QUOTE_STEPS, OrderState, QuoteState
from parallax.journal.rows import LETS_GO


class DoesNotFollow(Exception):
    """An entity is not in a state that the fact may follow."""


class Holder(NamedTuple):
    """The order that a quote belongs to, and who placed it."""

    order_id: str
    by: str


class Known(Protocol):
    """What is recorded so far. None where there is nothing."""

    def order(self, order_id: OrderId) -> OrderState | None: ...
    def quote(self, quote_id: QuoteId) -> QuoteState | None: ...
    def holder(self, quote_id: QuoteId) -> Holder | None: ...


class Ahead:
    """What facts that come after those `below` have made of orders and quotes, as far as the next fact must know."""

    __slots__ = ("below", "holders", "orders", "quotes")

    def __init__(self, below: Known) -> None:
        self.below = below
        self.orders: dict[OrderId, OrderState] = {}
        self.quotes: dict[QuoteId, QuoteState] = {}
        self.holders: dict[QuoteId, Holder | None] = {}

    def order(self, order_id: OrderId) -> OrderState | None:
        return self.orders.get(order_id) or self.below.order(order_id)

    def quote(self, quote_id: QuoteId) -> QuoteState | None:
        return self.quotes.get(quote_id) or self.below.quote(quote_id)

    def holder(self, quote_id: QuoteId) -> Holder | None:
        return self.holders[quote_id] if quote_id in self.holders else self.below.holder(quote_id)

    def take(self, changes: Sequence[Change]) -> QuoteTaken | None:
        """Put a batch on top: all of it, or nothing and the order that its claim came too late for.

        Raises `DoesNotFollow` when a step is not one of the tables'.
        """
        if len(changes) == 1:
            return self._step(changes[0])
        batch = Ahead(self)
        for change in changes:
            if (taken := batch._step(change)) is not None:
                return taken
        self.orders |= batch.orders
        self.quotes |= batch.quotes
        self.holders |= batch.holders
        return None

    def _step(self, change: Change) -> QuoteTaken | None:
        kind = type(change.fact)
        if (order := change.order) is not None:
            if kind is OrderClaimed:
                holder = self.holder(order.quote_id)
                if holder is not None and holder.order_id != order.id:
                    return QuoteTaken(*holder)
                self.holders[order.quote_id] = Holder(order.id, order.by)
            elif order.by and order.state in LETS_GO:
                self.holders[order.quote_id] = None
            if (self.order(order.id), kind) not in ORDER_STEPS:
                raise DoesNotFollow(f"{kind.__name__} of order {order.id}")
            self.orders[order.id] = order.state
        for quote in (change.quote,) if change.quote is not None else change.listed:
            if (self.quote(quote.id), kind) not in QUOTE_STEPS:
                raise DoesNotFollow(f"{kind.__name__} on quote {quote.id}")
            self.quotes[quote.id] = quote.state
        return None
