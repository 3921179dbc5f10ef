"""The fragments that pages are made of and the event stream sends: one function each, so that both are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from parallax.domain.entities import ABSENCE_READS, QUOTE_VALIDITY, Order, Quote, User
from parallax.domain.identity import UserId
from parallax.domain.transitions import OrderState, QuoteStatus
from parallax.web import format as shown
from parallax.web import words
from parallax.web.chart import Chart, chart_of
from parallax.web.site import Site
from parallax.web.timeline import Step, timeline

RECENT_ORDERS: Final = 6
"""A user's newest orders shown beside the quotes."""

CHARTED: Final = 60
"""Rates in the chart: five hours of a quote every five minutes, or a minute of a busy desk."""


@dataclass(frozen=True, slots=True)
class QuoteLine:
    """A quote as its row shows it. `order` is who holds or used it, if anyone."""

    quote: Quote
    status: QuoteStatus
    words: words.StateWords
    move: shown.Move | None
    safe_until: datetime
    left: timedelta
    order: Order | None


def quote_line(site: Site, quote: Quote) -> QuoteLine:
    """What a quote's row needs, now."""
    now = site.desk.venue_now()
    status = quote.status(now)
    before = site.desk.books.quote_before(quote)
    return QuoteLine(
        quote,
        status,
        words.QUOTES[status],
        shown.move(quote.rate, before.rate if before else None),
        site.desk.safe_until(quote),
        min(quote.expires_at - site.desk.latest_venue_now(), QUOTE_VALIDITY),
        site.desk.books.order(quote.order_id) if quote.order_id else None,
    )


def quote_row(site: Site, quote: Quote, user_id: UserId) -> str:
    """A row in the list of quotes on a user's desk."""
    return site.fragment(
        "quotes.html",
        "quote_row",
        {"line": quote_line(site, quote), "user_id": user_id, "off": site.off()["orders"]},
    )


def quote_rows(site: Site, quotes: Sequence[Quote], user_id: UserId) -> str:
    """Rows, one after another."""
    return "".join(quote_row(site, quote, user_id) for quote in quotes)


def rate_chart(site: Site) -> str:
    """The chart of the newest rates."""
    return site.fragment("quotes.html", "rate_chart", {"chart": rates(site), "validity": QUOTE_VALIDITY})


def rates(site: Site) -> Chart | None:
    """The newest rates, ready to be drawn; None while there are fewer than two."""
    return chart_of(site.desk.books.newest_quotes(CHARTED))


def ticket_fate(site: Site, quote: Quote, user_id: UserId) -> str:
    """What has become of the quote of an open ticket; empty while it is free."""
    return site.fragment("ticket.html", "fate", {"line": quote_line(site, quote), "user_id": user_id})


def user_row(site: Site, user: User) -> str:
    """A row in the list of users."""
    orders = site.desk.books.orders_of(user.id)
    newest = orders[-1] if orders else None
    fields = {
        "user": user,
        "open_orders": len(site.desk.books.open_orders(user.id)),
        "read": site.desk.orders_age(user.id).read_at is not None,
        "newest": newest,
        "newest_words": order_words(site, newest) if newest else None,
    }
    return site.fragment("users_rows.html", "user_row", fields)


def order_row(site: Site, order: Order) -> str:
    """A row in a user's list of orders."""
    return site.fragment("orders_rows.html", "order_row", _order_fields(site, order))


def recent_row(site: Site, order: Order) -> str:
    """A line in the list of newest orders beside the quotes."""
    return site.fragment("orders_rows.html", "recent_row", _order_fields(site, order))


def order_words(site: Site, order: Order) -> words.StateWords:
    """What an order's state is called, with what contradicts it."""
    return words.of_order(order, contradicted=site.desk.books.contradicted(order))


def _order_fields(site: Site, order: Order) -> dict[str, object]:
    return {
        "order": order,
        "words": order_words(site, order),
        "received": words.RECEIVED[order.state],
        "overdue": site.desk.tracker.overdue(order),
    }


@dataclass(frozen=True, slots=True)
class Certainty:
    """What is known of an unknown order: from when on (venue's clock) a read without it counts as evidence, how many
    such reads there have been and how many are `needed`, and when the last read of any kind began."""

    conclusive_after: datetime | None
    absences: int
    needed: int
    last_look: datetime | None
    doubt: str
    """Why the exchange's list may not be all there is: then it proves nothing."""


async def order_panel(site: Site, order: Order) -> str:
    """Everything about one order: its state in words, amounts, certainty, timeline."""
    facts = await site.desk.order_facts(order.id)
    incidents = site.desk.books.incidents_of(order)
    steps: list[Step] = timeline(facts, incidents)
    certainty = None
    if order.state is OrderState.UNKNOWN:
        doubt = site.desk.orders_age(order.user_id).doubt
        certainty = Certainty(order.conclusive_after, order.absences, ABSENCE_READS, order.last_look, doubt)
    fields = {
        **_order_fields(site, order),
        "steps": steps,
        "certainty": certainty,
        "incidents": incidents,
        "incident_words": words.INCIDENTS,
    }
    return site.fragment("order_panel.html", "panel", fields)
