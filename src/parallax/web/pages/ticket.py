"""`/u/{user}/exchange/{quote}`: the order ticket, a dialog with an address of its own.

Asked for by a script it answers with the ticket alone, otherwise with the desk and the ticket open on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from parallax.domain.entities import Quote, User
from parallax.domain.errors import AmountInvalid, DeskError, DeskPaused, NotFound, QuoteTaken
from parallax.domain.identity import OrderId, QuoteId, is_identifier
from parallax.domain.money import Money, parse_amount
from parallax.domain.transitions import QuoteStatus
from parallax.web import format as shown
from parallax.web import views
from parallax.web.pages.exchange import desk_fields
from parallax.web.problems import problem_of
from parallax.web.site import Site, TheSite, by_page, go, wants_fragments

SIDES: Final = ("send", "receive")
"""Which amount a person types: what is sent, or what is to be received."""

MAX_TYPED: Final = 100
"""Characters of a typed amount that are looked at and shown again."""

TOLD_ELSEWHERE: Final = (AmountInvalid, QuoteTaken, DeskPaused)
"""What the ticket says in a place of its own: beside the field, and as what has become of the quote or of the desk."""

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
) -> Response:
    """Place the order: claim the quote, then show the order while it is carried out."""
    user = await site.user(user_id)
    quote = await _quote(site, quote_id)
    typing = Typing.of(side, amount)
    by = by_page(request)
    try:
        order = await site.desk.place(quote.id, user.id, typing.sent(quote), by)
    except QuoteTaken as error:
        # The same button, pressed twice: the first press has placed the order, and this is the way to it.
        held = site.desk.books.order(OrderId(error.order_id)) if error.order_id else None
        if held and held.by == by != "page" and held.user_id == user.id:
            return go(request, f"/u/{user.id}/orders/{held.id}")
        return await _failed(site, request, user, quote, typing, error)
    except DeskError as error:
        return await _failed(site, request, user, quote, typing, error)
    return go(request, f"/u/{user.id}/orders/{order.id}")


@router.post("/u/{user_id}/exchange/{quote_id}/fresh")
async def fresh(
    user_id: str,
    quote_id: str,
    request: Request,
    site: TheSite,
    side: Typed = "send",
    amount: Typed = "",
) -> Response:
    """A new quote in the place of one that has expired, with the same amount typed in; nothing is accepted."""
    user = await site.user(user_id)
    old = await _quote(site, quote_id)
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
    site: Site, request: Request, user: User, quote: Quote, typing: Typing, error: DeskError
) -> Response:
    """The ticket again, with what was typed and what is wrong."""
    quote = await site.desk.quote(quote.id)
    html = await _ticket(site, user, quote, typing, error=error)
    return await _answer(site, request, user, html, problem_of(error).status)


async def _answer(
    site: Site, request: Request, user: User, html: str, status: int = HTTPStatus.OK
) -> Response:
    if wants_fragments(request):
        return Response(html, status, media_type="text/html")
    return site.page("exchange.html", {**await desk_fields(site, user), "ticket": html}, status)


async def _ticket(
    site: Site,
    user: User,
    quote: Quote,
    typing: Typing,
    *,
    was: str = "",
    error: DeskError | None = None,
) -> str:
    sent, amount_error = _read(quote, typing)
    if isinstance(error, AmountInvalid):
        amount_error = error.words
    old = site.desk.books.quote(QuoteId(was)) if was and is_identifier(was) else None
    fields = {
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
