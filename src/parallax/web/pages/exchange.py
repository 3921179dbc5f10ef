"""`/u/{user}/exchange`: a user's desk: quotes, the chart of their rates, the newest orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from parallax.domain.entities import Order, Quote, User
from parallax.domain.identity import UserId
from parallax.web import views
from parallax.web.site import Site, TheSite, by_page, fragments, go, partial, wants_fragments

FIRST_ROWS: Final = 24
"""Quotes in the page itself: what a tall window shows, so that they are on screen soon."""

MORE_ROWS: Final = 80
"""Quotes added whenever the end of the list comes near."""

PAST_ROWS: Final = 30
"""Past quotes on one page."""

MAX_OFFSET: Final = 10_000_000
"""The farthest that lists are paged."""

router = APIRouter(include_in_schema=False)

Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]


@router.get("/u/{user_id}/exchange")
async def exchange(user_id: str, site: TheSite) -> Response:
    """The desk of a user."""
    user = await site.user(user_id)
    return site.page("exchange.html", await desk_fields(site, user))


async def desk_fields(site: Site, user: User) -> dict[str, Any]:
    """What the desk shows; the ticket's page shows it behind the ticket."""
    await site.desk.know_orders(user.id)
    at = site.at()
    now = site.desk.venue_now()
    live_count = site.desk.books.young_count(now)
    past = await site.desk.past_quotes(live_count, 1)
    return {
        "at": at,
        "live": f"page=exchange&user={user.id}",
        "user": user,
        "section": "exchange",
        "rows": views.quote_rows(site, site.desk.books.young_quotes(now, FIRST_ROWS), user.id),
        "next_offset": _after(0, FIRST_ROWS, live_count),
        "past_count": max(0, past.total - live_count),
        "chart": views.rate_chart(site),
        "recent": "".join(views.recent_row(site, order) for order in _recent(site, user.id)),
        "quotes_age": site.desk.quotes_age,
        "orders_age": site.desk.orders_age(user.id),
        "ticket": None,
    }


@router.get("/u/{user_id}/quotes/live")
async def more_live(user_id: str, site: TheSite, offset: Offset = 0) -> HTMLResponse:
    """Further quotes whose time has not run out, for the end of the list."""
    user = await site.user(user_id)
    now = site.desk.venue_now()
    further = _after(offset, MORE_ROWS, site.desk.books.young_count(now))
    return _part(site, user, site.desk.books.young_quotes(now, MORE_ROWS, offset), "live", further)


@router.get("/u/{user_id}/quotes/past")
async def past(user_id: str, site: TheSite, offset: Offset = 0) -> HTMLResponse:
    """A page of the quotes whose time has run out."""
    user = await site.user(user_id)
    young = site.desk.books.young_count(site.desk.venue_now())
    page = await site.desk.past_quotes(young + offset, PAST_ROWS)
    further = None if page.next_offset is None else page.next_offset - young
    return _part(site, user, page.items, "past", further)


@router.get("/u/{user_id}/quotes/rates")
async def rates(user_id: str, site: TheSite) -> HTMLResponse:
    """The chart's rates as a table."""
    await site.user(user_id)
    return fragments(site.fragment("quotes.html", "rate_table", {"chart": views.rates(site)}))


@router.post("/u/{user_id}/quotes")
async def request_quote(user_id: str, request: Request, site: TheSite) -> Response:
    """Ask the venue for a firm quote."""
    user = await site.user(user_id)
    quote = await site.desk.request_quote(by_page(request))
    if not wants_fragments(request):
        return go(request, f"/u/{user.id}/exchange")
    words = f"New quote: 1 {quote.rate.from_currency} is {quote.rate.wire} {quote.rate.to_currency}."
    return fragments(
        partial("quote-rows", views.quote_row(site, quote, user.id), "upsert"),
        partial("rate-chart", views.rate_chart(site), "outerMorph"),
        partial("said", words),
    )


def _recent(site: Site, user_id: UserId) -> list[Order]:
    return site.desk.books.orders_of(user_id)[: -views.RECENT_ORDERS - 1 : -1]


def _after(offset: int, rows: int, total: int) -> int | None:
    return offset + rows if offset + rows < total else None


def _part(
    site: Site, user: User, quotes: Sequence[Quote], part: str, next_offset: int | None
) -> HTMLResponse:
    fields = {"user_id": user.id, "part": part, "next_offset": next_offset}
    more = site.fragment("quotes.html", "more", fields)
    return fragments(views.quote_rows(site, quotes, user.id), more)
