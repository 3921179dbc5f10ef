"""What a page shows, and which fragments a change means to it: one topic a kind of page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

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
        user = change.user or (site.desk.books.user(change.order.user_id) if change.order else None)
        if user is None:
            return ""
        return partial("user-rows", views.user_row(site, user), "upsert")


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
                parts.append(partial(f"ticket-{quote.id}", views.ticket_fate(site, quote), "innerMorph"))
        if (order := change.order) is not None and order.user_id == self._user_id:
            parts.append(partial("recent-orders", views.recent_row(site, order), "upsert"))
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
        order = record.change.order
        return partial("order-rows", views.order_row(site, order), "upsert") if order else ""


class OrderTopic:
    """One order of a user."""

    def __init__(self, user_id: UserId, order_id: OrderId) -> None:
        self._user_id = user_id
        self._order_id = order_id
        self.key = f"order {user_id} {order_id}"

    def wanted(self, change: Change) -> bool:
        return self._concerns(change) or of_frame(change)

    async def render(self, site: Site, record: Recorded) -> str:
        order = site.desk.books.order(self._order_id) if self._concerns(record.change) else None
        if order is None or order.user_id != self._user_id:
            return ""
        return partial("order", await views.order_panel(site, order), "outerMorph")

    def _concerns(self, change: Change) -> bool:
        order, incident = change.order, change.incident
        if order is not None:
            return order.id == self._order_id and order.user_id == self._user_id
        return incident is not None and incident.order_id == self._order_id


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
