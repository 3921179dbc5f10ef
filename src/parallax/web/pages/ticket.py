"""`/u/{user}/exchange/{quote}`: the order ticket, a dialog with an address of its own.

Asked for by a script it answers with the ticket alone, otherwise with the desk and the ticket open on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import JSONResponse, Response

from parallax.domain.entities import Quote, User
from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    DeskPaused,
    NotFound,
    PossibleDuplicate,
    QuoteTaken,
)
from parallax.domain.identity import OrderId, QuoteId, is_identifier
from parallax.domain.money import Money, parse_amount
from parallax.domain.transitions import OrderState, QuoteStatus
from parallax.web import format as shown
from parallax.web import views
from parallax.web.pages.exchange import desk_fields
from parallax.web.problems import problem_of
from parallax.web.site import Site, TheSite, by_page, go, wants_fragments

SIDES: Final = ("send", "receive")
"""Which amount a person types: what is sent, or what is to be received."""

MAX_TYPED: Final = 100
"""Characters of a typed amount that are looked at and shown again."""

TOLD_ELSEWHERE: Final = (AmountInvalid, QuoteTaken, DeskPaused, PossibleDuplicate)
"""What the ticket says in a place of its own: beside the field, and as what has become of the quote or of the desk."""

KEY_BYTES: Final = 18
"""Random bytes of a ticket's key."""

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")

router = APIRouter(include_in_schema=False)

Typed = Annotated[str, Form(max_length=1_000)]


@dataclass(frozen=True, slots=True)
class Typing:
    """What a person has typed into a ticket: an amount and the side it is on."""

    side: str = "send"
    amount: str = ""

    @classmethod
    def of(cls, side: str, amount: str) -> Typing:
        """Typed text as far as it is looked at."""
        return cls(side if side in SIDES else "send", amount[:MAX_TYPED])

    def sent(self, quote: Quote) -> Money:
        """The amount to send. Raises `AmountInvalid`."""
        if self.side == "send":
            return parse_amount(self.amount, quote.rate.from_currency, grouped=True)
        wanted = parse_amount(self.amount, quote.rate.to_currency, grouped=True)
        # Checked like a typed one: receiving little of a weak currency can mean sending too much of a strong one.
        return parse_amount(quote.rate.amount_for(wanted).wire, quote.rate.from_currency)


@router.get("/u/{user_id}/exchange/{quote_id}")
async def ticket(
    user_id: str,
    quote_id: str,
    request: Request,
    site: TheSite,
    side: str = "send",
    amount: str = "",
    was: str = "",
) -> Response:
    """The ticket of a quote. `was` is an expired quote that this one takes the place of."""
    user = await site.user(user_id)
    quote = await _quote(site, quote_id)
    html = await _ticket(site, user, quote, Typing.of(side, amount), was=was)
    return await _answer(site, request, user, html)


@router.post("/u/{user_id}/exchange/{quote_id}")
async def place(
    user_id: str,
    quote_id: str,
    request: Request,
    site: TheSite,
    side: Typed = "send",
    amount: Typed = "",
    key: Typed = "",
    repeat: Typed = "",
) -> Response:
    """Place the order: claim the quote, then show the order while it is carried out.

    `key` is the ticket's own: the same ticket is the same order, however often it is sent. `repeat` names the order
    that this one would repeat, and that the person knows of.
    """
    user = await site.user(user_id)
    quote = await _quote(site, quote_id)
    typing = Typing.of(side, amount)
    key = key if _KEY.fullmatch(key) else ""
    by, order_key = by_page(request), f"page {key}" if key else ""
    try:
        sent = typing.sent(quote)
        known = await site.desk.order_by_key(order_key) if key else None
        if known is None or known.state is OrderState.WITHDRAWN:
            others = site.desk.possible_duplicates(user.id, sent)
            if others and others[0].id != repeat and others[0].quote_id != quote.id:
                raise PossibleDuplicate(others[0].id)
        order = await site.desk.place(quote.id, user.id, sent, by, key=order_key, unless_duplicate=not repeat)
    except DeskError as error:
        return await _failed(site, request, user, quote, typing, error, key)
    return go(request, f"/u/{user.id}/orders/{order.id}")


@router.get("/u/{user_id}/exchange/{quote_id}/placed")
async def placed(site: TheSite, key: str = "") -> Response:
    """Where the order is that a ticket was sent for: what a page asks after an answer was lost. Null: the desk has none
    yet, and sending the ticket again gives one at most."""
    order = await site.desk.order_by_key(f"page {key}") if _KEY.fullmatch(key) else None
    where = f"/u/{order.user_id}/orders/{order.id}" if order else None
    return JSONResponse({"order": where}, headers={"Cache-Control": "no-store"})


@router.post("/u/{user_id}/exchange/{quote_id}/fresh")
async def fresh(
    user_id: str,
    quote_id: str,
    request: Request,
    site: TheSite,
    side: Typed = "send",
    amount: Typed = "",
    known: Typed = "",
) -> Response:
    """A new quote in the place of one that has expired, with the same amount typed in; nothing is accepted.

    In the place of one that is used there is one only for a person who knows of its order (`known`).
    """
    user = await site.user(user_id)
    old = await _quote(site, quote_id)
    if old.order_id is not None and not known:
        html = await _ticket(site, user, old, Typing.of(side, amount))
        return await _answer(site, request, user, html, HTTPStatus.CONFLICT)
    quote = await site.desk.request_quote(by_page(request))
    typing = Typing.of(side, amount)
    html = await _ticket(site, user, quote, typing, was=old.id)
    if not wants_fragments(request):
        return await _answer(site, request, user, html)
    answer = await _answer(site, request, user, html)
    answer.headers["X-Address"] = f"/u/{user.id}/exchange/{quote.id}"
    return answer


async def _quote(site: Site, quote_id: str) -> Quote:
    if not is_identifier(quote_id):
        raise NotFound("quote", quote_id)
    return await site.desk.quote(QuoteId(quote_id))


async def _failed(
    site: Site, request: Request, user: User, quote: Quote, typing: Typing, error: DeskError, key: str
) -> Response:
    """The ticket again, with what was typed and what is wrong."""
    quote = await site.desk.quote(quote.id)
    html = await _ticket(site, user, quote, typing, error=error, key=key)
    return await _answer(site, request, user, html, problem_of(error).status)


async def _answer(
    site: Site, request: Request, user: User, html: str, status: int = HTTPStatus.OK
) -> Response:
    if wants_fragments(request):
        return Response(html, status, media_type="text/html", headers={"X-Ticket": "yes"})
    return site.page("exchange.html", {**await desk_fields(site, user), "ticket": html}, status)


async def _ticket(
    site: Site,
    user: User,
    quote: Quote,
    typing: Typing,
    *,
    was: str = "",
    error: DeskError | None = None,
    key: str = "",
) -> str:
    sent, amount_error = _read(quote, typing)
    if isinstance(error, AmountInvalid):
        amount_error = error.words
    old = site.desk.books.quote(QuoteId(was)) if was and is_identifier(was) else None
    duplicate = None
    if isinstance(error, PossibleDuplicate):
        duplicate = await site.desk.order(OrderId(error.order_id))
    now = site.desk.now()
    fields = {
        "key": key or token_urlsafe(KEY_BYTES),
        "duplicate": duplicate,
        "duplicate_words": duplicate and views.order_words(site, duplicate),
        "duplicate_age": duplicate and shown.span(now - duplicate.created_at),
        "user": user,
        "line": views.quote_line(site, quote),
        "typing": typing,
        "sent": sent,
        "received": quote.rate.convert(sent) if sent else None,
        "amount_error": amount_error,
        "trouble": None if isinstance(error, TOLD_ELSEWHERE) else error,
        "usable": quote.status(site.desk.venue_now()) is QuoteStatus.ACTIVE,
        "old": old,
        "change": shown.move(quote.rate, old.rate) if old else None,
        "difference": _difference(quote, old, sent),
        "pause": site.desk.status.pause,
        "off": site.off()["orders"],
    }
    return site.fragment("ticket.html", "ticket", fields)


def _read(quote: Quote, typing: Typing) -> tuple[Money | None, str]:
    """The amount to send, or what is wrong with what was typed; nothing is wrong with an empty field yet."""
    if not typing.amount.strip():
        return None, ""
    try:
        return typing.sent(quote), ""
    except AmountInvalid as error:
        return None, error.words


def _difference(quote: Quote, old: Quote | None, sent: Money | None) -> Money | None:
    """How much more (or less) the same amount buys than it would have."""
    if old is None or sent is None or old.rate.pair != quote.rate.pair:
        return None
    difference: Decimal = quote.rate.convert(sent).amount - old.rate.convert(sent).amount
    return Money(difference, quote.rate.to_currency)
