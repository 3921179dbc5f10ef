"""`/u/{user}/orders`: a user's orders, filtered, searched, sorted and paged; and the same as CSV."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from io import StringIO
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from parallax.domain.entities import Order
from parallax.domain.identity import UserId
from parallax.ports.journal import OrderQuery, OrderSort
from parallax.web import format as shown
from parallax.web import views, words
from parallax.web.pages.exchange import Offset
from parallax.web.site import Site, TheSite, fragments, go, partial, wants_fragments
from parallax.web.trouble import notice_of

PAGE_ROWS: Final = 50
"""Orders on one page."""

MAX_SEARCH: Final = 80
"""Characters of a search that are looked at."""

MAX_EXPORT: Final = 100_000
"""Rows of a CSV file at most; beyond it, narrow the filter."""

EXPORT_BATCH: Final = 500
"""Rows read from the journal at a time for a CSV file."""

SORTS: Final = {
    OrderSort.NEWEST: "Newest first",
    OrderSort.OLDEST: "Oldest first",
    OrderSort.LARGEST: "Largest first",
    OrderSort.SMALLEST: "Smallest first",
}

COLUMNS: Final = (
    "order_id",
    "state",
    "placed_at",
    "settled_at",
    "sent_amount",
    "sent_currency",
    "received_amount",
    "received_currency",
    "rate",
    "quote_id",
    "exchange_order_id",
    "placed_by",
    "reasons",
    "contradicted",
)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a user's orders is shown."""

    state: str
    text: str
    sort: OrderSort

    @property
    def plain(self) -> bool:
        """Whether it is simply everything, newest first."""
        return self.state == "all" and not self.text and self.sort is OrderSort.NEWEST

    def query(self, user_id: UserId) -> OrderQuery:
        """The same for the journal."""
        return OrderQuery(user_id, words.STATE_FILTERS[self.state][1], self.text, self.sort)

    def address(self, offset: int = 0) -> str:
        """The part of an address behind the `?`."""
        fields: dict[str, str | int] = {"state": self.state, "q": self.text, "sort": self.sort.value}
        if offset:
            fields["offset"] = offset
        return urlencode({name: value for name, value in fields.items() if value})


async def _choice(state: str = "all", q: str = "", sort: str = "newest") -> Choice:
    return Choice(
        state if state in words.STATE_FILTERS else "all",
        q.strip()[:MAX_SEARCH],
        OrderSort(sort) if sort in list(OrderSort) else OrderSort.NEWEST,
    )


Chosen = Annotated[Choice, Depends(_choice)]


@router.get("/u/{user_id}/orders")
async def orders(user_id: str, site: TheSite, choice: Chosen, offset: Offset = 0) -> Response:
    """A page of a user's orders."""
    user = await site.user(user_id)
    await site.desk.know_orders(user.id)
    at = site.at()
    page = await site.desk.orders(choice.query(user.id), offset, PAGE_ROWS)
    fields = {
        "at": at,
        "live": f"page=orders&user={user.id}",
        "user": user,
        "section": "orders",
        "rows": "".join(views.order_row(site, order) for order in page.items),
        "total": page.total,
        "first": offset + 1,
        "last": offset + len(page.items),
        "choice": choice,
        "filters": {key: name for key, (name, _) in words.STATE_FILTERS.items()},
        "sorts": {sort.value: name for sort, name in SORTS.items()},
        "plain": choice.plain and offset == 0,
        "before": choice.address(max(0, offset - PAGE_ROWS)) if offset else None,
        "after": choice.address(page.next_offset) if page.next_offset is not None else None,
        "age": site.desk.orders_age(user.id),
    }
    return site.page("orders.html", fields)


@router.post("/u/{user_id}/orders/refresh")
async def refresh(user_id: str, request: Request, site: TheSite) -> Response:
    """Read the user's orders from the exchange again."""
    user = await site.user(user_id)
    await site.desk.refresh("orders", user.id)
    if wants_fragments(request):
        age = site.fragment("orders_rows.html", "read_at", {"age": site.desk.orders_age(user.id)})
        said = ("Orders are up to date", "The exchange's list was read just now.")
        return fragments(partial("orders-read", age), notice_of(site, *said, tone="good"))
    return go(request, f"/u/{user.id}/orders")


@router.get("/u/{user_id}/orders.csv")
async def export(user_id: str, site: TheSite, choice: Chosen) -> Response:
    """What is filtered, as CSV."""
    user = await site.user(user_id)
    (await site.desk.know_orders(user.id)).check()
    headers = {"Content-Disposition": f'attachment; filename="orders-{shown.short(user.id)}.csv"'}
    lines = _csv(site, choice.query(user.id))
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


async def _csv(site: Site, query: OrderQuery) -> AsyncGenerator[str]:
    yield _line(COLUMNS)
    offset: int | None = 0
    while offset is not None and offset < MAX_EXPORT:
        page = await site.desk.orders(query, offset, EXPORT_BATCH)
        yield "".join(
            _line(_cells(order, contradicted=site.desk.books.contradicted(order))) for order in page.items
        )
        offset = page.next_offset


def _cells(order: Order, *, contradicted: bool) -> tuple[str, ...]:
    result = order.result if words.RECEIVED[order.state] == "received" else None
    return (
        order.id,
        order.state.value,
        shown.iso(order.created_at),
        shown.iso(order.settled_at) if order.settled_at else "",
        shown.exact(order.amount),
        shown.code(order.amount),
        shown.exact(result) if result else "",
        shown.code(result) if result else "",
        order.rate.wire if order.rate else "",
        order.quote_id,
        order.venue_order_id or "",
        order.by or "elsewhere",
        "; ".join(order.reasons),
        "yes" if contradicted else "",
    )


def _line(cells: tuple[str, ...]) -> str:
    written = StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([_inert(cell) for cell in cells])
    return written.getvalue()


def _inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
