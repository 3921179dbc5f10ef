"""What a page shows, and which fragments a change means to it: one topic a kind of page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from parallax.domain.entities import Order
from parallax.domain.errors import NotFound
from parallax.domain.facts import QuoteIssued
from parallax.domain.identity import OrderId, UserId
from parallax.domain.state import Change
from parallax.ports.journal import Recorded
from parallax.web import views
from parallax.web.site import Site, partial


class Topic(Protocol):
    """What one kind of page listens to."""

    @property
    def key(self) -> str:
        """Two topics with one key render the same."""
        ...

    def wanted(self, change: Change) -> bool:
        """Whether a change can matter to the page. Changes of the frame always do."""
        ...

    async def render(self, site: Site, record: Recorded) -> str | None:
        """The fragments of a change; empty when it only concerns the frame, None when it changes so much that the
        page had better fetch itself again."""
        ...


def of_frame(change: Change) -> bool:
    """Whether a change shows in the frame around every page."""
    return change.paused is not None or change.incident is not None


def orders_of(site: Site, change: Change) -> list[Order]:
    """The orders that a change is about: the one that it changed, or those that an incident concerns."""
    if change.order is not None:
        return [change.order]
    if (incident := change.incident) is None:
        return []
    books = site.desk.books
    quote = books.quote(incident.quote_id) if incident.quote_id else None
    ids = dict.fromkeys((incident.order_id, quote and quote.order_id))
    return [order for order_id in ids if order_id and (order := books.order(order_id))]


class FrameTopic:
    """A page with nothing of its own that changes."""

    key = "frame"

    def wanted(self, change: Change) -> bool:
        return of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str:  # noqa: ARG002 - a Topic
        return ""


class UsersTopic:
    """The list of users, with their open orders."""

    key = "users"

    def wanted(self, change: Change) -> bool:
        return change.user is not None or change.order is not None or of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str:
        change = record.change
        ids = dict.fromkeys(order.user_id for order in orders_of(site, change))
        users = [change.user] if change.user else [site.desk.books.user(user_id) for user_id in ids]
        return "".join(
            partial("user-rows", views.user_row(site, user), "upsert") for user in users if user is not None
        )


class ExchangeTopic:
    """A user's desk: quotes, the chart of their rates, the user's latest orders, and an open ticket."""

    def __init__(self, user_id: UserId) -> None:
        self._user_id = user_id
        self.key = f"exchange {user_id}"

    def wanted(self, change: Change) -> bool:
        ours = change.order is not None and change.order.user_id == self._user_id
        return ours or change.quote is not None or bool(change.listed) or of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str | None:
        change, parts = record.change, list[str]()
        if change.listed:
            return None
        # Records of an order are told newest only, and its newest need not be the one that moved the quote.
        quote_id = change.quote.id if change.quote else change.order.quote_id if change.order else None
        if quote_id and (quote := site.desk.books.quote(quote_id)) is not None:
            parts.append(partial("quote-rows", views.quote_row(site, quote, self._user_id), "upsert"))
            if isinstance(record.fact, QuoteIssued):
                parts.append(partial("rate-chart", views.rate_chart(site), "outerMorph"))
            else:
                parts.append(
                    partial(f"ticket-{quote.id}", views.ticket_fate(site, quote, self._user_id), "innerMorph")
                )
        parts += [
            partial("recent-orders", views.recent_row(site, order), "upsert")
            for order in orders_of(site, change)
            if order.user_id == self._user_id
        ]
        return "".join(parts)


class OrdersTopic:
    """A user's orders."""

    def __init__(self, user_id: UserId) -> None:
        self._user_id = user_id
        self.key = f"orders {user_id}"

    def wanted(self, change: Change) -> bool:
        ours = change.order is not None and change.order.user_id == self._user_id
        return ours or of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str:
        return "".join(
            partial("order-rows", views.order_row(site, order), "upsert")
            for order in orders_of(site, record.change)
            if order.user_id == self._user_id
        )


class OrderTopic:
    """One order of a user."""

    def __init__(self, user_id: UserId, order_id: OrderId) -> None:
        self._user_id = user_id
        self._order_id = order_id
        self.key = f"order {user_id} {order_id}"

    def wanted(self, change: Change) -> bool:
        return self._concerns(change) or of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str:
        if all(order.id != self._order_id for order in orders_of(site, record.change)):
            return ""
        order = site.desk.books.order(self._order_id)
        if order is None or order.user_id != self._user_id:
            return ""
        return partial("order", await views.order_panel(site, order), "outerMorph")

    def _concerns(self, change: Change) -> bool:
        order = change.order
        return order is not None and order.id == self._order_id and order.user_id == self._user_id


class OperationsTopic:
    """How things run: any change may matter, so the page is told to look again, at its own pace."""

    key = "operations"

    def wanted(self, change: Change) -> bool:  # noqa: ARG002 - a Topic
        return True

    async def render(self, site: Site, record: Recorded) -> str:  # noqa: ARG002 - a Topic
        return partial("operations-due", str(record.position))


_TOPICS: Final[dict[str, Callable[[UserId, OrderId], Topic]]] = {
    "frame": lambda _user, _order: FrameTopic(),
    "users": lambda _user, _order: UsersTopic(),
    "exchange": lambda user, _order: ExchangeTopic(user),
    "orders": lambda user, _order: OrdersTopic(user),
    "order": OrderTopic,
    "operations": lambda _user, _order: OperationsTopic(),
}


def topic_of(page: str, user: str, order: str) -> Topic:
    """The topic of a page. Raises `NotFound` for one that does not exist."""
    make = _TOPICS.get(page)
    if make is None:
        raise NotFound("page", page)
    return make(UserId(user), OrderId(order))
