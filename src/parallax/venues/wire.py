"""The exchange's wire, read strictly at the edge: bytes in, domain values out, or one clear error.

Unknown fields are ignored; a missing or wrong one raises `VenueMisbehaved`, whose words name the call and the
field and never repeat content. Whatever the bytes are, nothing else is raised. Amounts and rates keep the
text that they were written with; no float is ever made of one.

What an answer to *sending an order* means stands in the tables below and in `order_outcome`: the outcome
policy of `docs/venues.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Generic, TypeVar

import msgspec

from parallax.domain.entities import User
from parallax.domain.errors import AmountInvalid, CurrencyUnknown, VenueMisbehaved
from parallax.domain.identity import QuoteId, UserId, VenueOrderId, is_identifier
from parallax.domain.money import NO_CURRENCY, Currency, Rate, currency, parse_rate
from parallax.ports.venue import (
    Accepted,
    Listing,
    OrderRequest,
    Outcome,
    Refused,
    Unknown,
    VenueOrder,
    VenueOrderStatus,
    VenueQuote,
    doubt_of,
)
from parallax.venues.paging import decoded, mark_beside
from parallax.venues.reasons import Reasons, read_reasons

# --- What an answer to an order means -----------------------------------------------------------------------

SUCCESS: Final = frozenset({200, 201})
"""The two yeses of this exchange. A 202 or 204 promises nothing about an order."""

NEVER_CARRIED_OUT: Final[dict[int, str]] = {
    401: "the key was refused before the request was looked at",
    403: "the key may not do this, or a firewall stopped the request",
    405: "the address takes no such request",
    406: "the form of the answer could not be agreed on",
    411: "the request's length was asked for",
    413: "the request was found too large",
    414: "the address was found too long",
    415: "the form of the request was not accepted",
    429: "there were too many calls",
    431: "the headers were found too large",
}
"""Refusals that concern the call and not the order: a twin of our request would have met the same one, so the
quote is as usable as before."""

NO_ANSWER: Final[dict[int, str]] = {
    408: "a server on the way gave up waiting, for the request or for the one behind it",
    425: "a server on the way would not risk a replay, and may have had the request before",
    499: "a proxy reports that somebody hung up, not what became of the request",
}
"""4xx in name only: they say nothing about whether the order was carried out."""

AMOUNT_REFUSALS: Final = frozenset({400, 422})
AMOUNT_FIELDS: Final = frozenset({"from_amount", "amount"})
"""A refusal of this kind that names these fields and no other is about the amount, which a twin would have
shared. Every other 4xx is a no that our own request may have caused, sent twice by a proxy: it is doubted."""

# --- Bounds -------------------------------------------------------------------------------------------------

MAX_TEXT: Final = 1_000
"""Characters of a name or an address: longer is a broken answer, not a person."""

MAX_NUMBER: Final = 64
"""Characters of an amount or a rate."""

MAX_EXPONENT: Final = 30
"""Powers of ten in a number written with an exponent: more is not money, and would be a very long string."""

SETTLED_KEPT: Final = 50_000
"""Settled orders kept as they were read, under 1 KB each: found again five times faster than made again."""

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""What `created_at` may be, so that the arithmetic on it cannot overflow."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - stands for UTC, as the exchange's instants do
_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PLAIN_STRING: Final = re.compile(rb'"[0-9.]{1,40}"')
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in a JSON text; the first group is half of a surrogate pair, which is no character."""
_SCIENTIFIC: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,3}")
_STATUSES: Final = {status.value: status for status in VenueOrderStatus}


# --- Shapes -------------------------------------------------------------------------------------------------


class UserShape(msgspec.Struct, gc=False):
    """A user as it stands in an answer."""

    id: str
    name: str
    email: str


class QuoteShape(msgspec.Struct, gc=False):
    """A quote as it stands in an answer; the rate is still the text that it was."""

    id: str
    created_at: datetime
    rate: msgspec.Raw
    from_currency: str
    to_currency: str


class OrderShape(msgspec.Struct, gc=False):
    """An order as it stands in an answer; the amount is still the text that it was."""

    id: str
    status: str
    quote_id: str
    user_id: str
    from_amount: msgspec.Raw


S = TypeVar("S")
T = TypeVar("T")


class _One(msgspec.Struct, Generic[T]):
    data: T


class _Rows(Generic[T]):
    """Decodes a list: all at once, and one by one when that fails."""

    def __init__(self, shape: type[T]) -> None:
        self.all = msgspec.json.Decoder(list[shape])
        self.one = msgspec.json.Decoder(shape)


_ENVELOPE: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_USERS: Final = _Rows(UserShape)
_QUOTE: Final = msgspec.json.Decoder(_One[QuoteShape])
_QUOTES: Final = _Rows(QuoteShape)
_ORDER: Final = msgspec.json.Decoder(_One[OrderShape])
_ORDERS: Final = _Rows(OrderShape)
_STRING: Final = msgspec.json.Decoder(str)


# --- Reading ------------------------------------------------------------------------------------------------


def read_users(call: str, body: bytes) -> Sequence[User]:
    """The users in an answer to `call` ("GET /users")."""
    shapes = _listed(call, _USERS, body)
    users, odd = readable(shapes, lambda shape: _user(call, shape))
    return listing(users, doubt_of(shapes), odd)


def read_quote(call: str, body: bytes) -> VenueQuote:
    """The one quote in an answer."""
    return quote_from(call, _decode(call, _QUOTE, body).data)


def quote_shapes(call: str, body: bytes) -> Sequence[QuoteShape]:
    """The quotes in an answer, their shapes checked but not yet made into values: a long list is decoded at
    once and built in slices, so that the loop is not held up."""
    return _listed(call, _QUOTES, body)


def read_quotes(call: str, body: bytes) -> Sequence[VenueQuote]:
    """The quotes in an answer, all at once."""
    return [quote_from(call, shape) for shape in quote_shapes(call, body)]


def read_order(call: str, body: bytes) -> VenueOrder:
    """The one order in an answer."""
    return order_from(call, _decode(call, _ORDER, body).data)


def order_shapes(call: str, body: bytes) -> Sequence[OrderShape]:
    """The orders in an answer, like `quote_shapes`."""
    return _listed(call, _ORDERS, body)


def read_orders(call: str, body: bytes) -> Sequence[VenueOrder]:
    """The orders in an answer, all at once."""
    shapes = order_shapes(call, body)
    orders, odd = readable(shapes, lambda shape: order_from(call, shape))
    return listing(orders, doubt_of(shapes), odd)


def quote_from(call: str, shape: QuoteShape) -> VenueQuote:
    """A quote of its shape."""
    rate = _rate_of(call, bytes(shape.rate), shape.from_currency, shape.to_currency)
    return VenueQuote(QuoteId(_identifier(call, "id", shape.id)), rate, _instant(call, shape.created_at))


def order_from(call: str, shape: OrderShape) -> VenueOrder:
    """An order of its shape. One that has settled comes again in every list: while it looks the same it is the same
    object, so that whoever has looked at it before can tell at once."""
    made = _order if shape.status == VenueOrderStatus.PENDING else _settled_order
    amount = bytes(shape.from_amount)
    return made(call, shape.id, shape.status, shape.quote_id, shape.user_id, amount)


def order_outcome(request: OrderRequest, status: int, body: bytes) -> Outcome:
    """What an answer to sending `request` means. Any status and any bytes have one: nothing is raised."""
    if status in SUCCESS:
        return _accepted(request, body)
    if not 400 <= status < 500 or status in NO_ANSWER:
        why = NO_ANSWER.get(status, "which is neither a yes nor a no")
        return Unknown(f"status_{status}", f"The exchange answered {_named(status)}: {why}.")
    reasons = read_reasons(body)
    words = reasons.words or (_named(status),)
    if status in NEVER_CARRIED_OUT:
        return Refused(status, words, leaves_quote_usable=True)
    about_amount = status in AMOUNT_REFUSALS and _only_the_amount(reasons)
    return Refused(status, words, leaves_quote_usable=about_amount, about_amount=about_amount)


def _accepted(request: OrderRequest, body: bytes) -> Outcome:
    try:
        order = read_order("POST /orders", body)
    except VenueMisbehaved as error:
        return Unknown("unreadable_answer", error.words)
    if (order.quote_id, order.user_id) != (request.quote_id, request.user_id):
        return Unknown("unreadable_answer", "The exchange answered with an order that is not the one sent.")
    return Accepted(order)


def _only_the_amount(reasons: Reasons) -> bool:
    return bool(reasons.fields) and reasons.fields <= AMOUNT_FIELDS


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


# --- Parts --------------------------------------------------------------------------------------------------


def _decode(call: str, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # msgspec names the place and the kinds, never the content; a bad byte is named by its position.
        where = str(error).replace("`$.", "`").replace("`$`", "the top level")[:200]
        raise VenueMisbehaved(f"The exchange's answer to {call} cannot be read: {where}.") from None
    except RecursionError:
        raise VenueMisbehaved(f"The exchange's answer to {call} is nested too deeply to be read.") from None


def _wrong(call: str, name: str, what: str) -> VenueMisbehaved:
    return VenueMisbehaved(f"The exchange's answer to {call} cannot be read: the field `{name}` {what}.")


def _listed(call: str, rows: _Rows[T], body: bytes) -> Sequence[T]:
    """The rows of a list; a `Listing` when the envelope says that there are more, or when some cannot be read.

    Raises `VenueMisbehaved` when none can be.
    """
    try:
        envelope = _decode(call, _ENVELOPE, body)
    except VenueMisbehaved:
        envelope = _decode(call, _ENVELOPE, _ESCAPE.sub(_without_half_pairs, body))
    if "data" not in envelope:
        raise _wrong(call, "data", "is missing")
    raw, odd = bytes(envelope.pop("data")), None
    shapes: Sequence[T]
    try:
        shapes = _decode(call, rows.all, raw)
    except VenueMisbehaved:
        shapes, odd = readable(_decode(call, _RAW_ROWS, raw), lambda row: _decode(call, rows.one, bytes(row)))
    beside = {name: decoded(bytes(value)) for name, value in envelope.items()}
    mark = mark_beside(beside, len(shapes)) if beside else ""
    return listing(shapes, f"`{_plain_word(mark)}` in it says that it goes on" if mark else "", odd)


def _without_half_pairs(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


def readable(rows: Sequence[S], read: Callable[[S], T]) -> tuple[list[T], VenueMisbehaved | None]:
    """What can be read of some rows, and the first error. Raises that error when nothing can be."""
    values: list[T] = []
    error: VenueMisbehaved | None = None
    for row in rows:
        try:
            values.append(read(row))
        except VenueMisbehaved as wrong:
            error = error or wrong
    if error is not None and not values:
        raise error
    return values, error


def listing(rows: Sequence[T], doubt: str, odd: VenueMisbehaved | None = None) -> Sequence[T]:
    """The rows, as a `Listing` if there is a doubt or a row that could not be read."""
    doubts = [doubt] if doubt else []
    if odd is not None:
        doubts.append(f"a row of it cannot be read ({odd.words.rstrip('.')})")
    return Listing(rows, "; ".join(doubts)) if doubts else rows


def _plain_word(name: str) -> str:
    return re.sub(r"[^ -~]|`", "?", name)[:40]


def _user(call: str, shape: UserShape) -> User:
    for name, text in (("name", shape.name), ("email", shape.email)):
        if len(text) > MAX_TEXT:
            raise _wrong(call, name, f"is longer than {MAX_TEXT} characters")
    return User(UserId(_identifier(call, "id", shape.id)), shape.name, shape.email)


def _identifier(call: str, name: str, text: str) -> str:
    if not is_identifier(text):
        raise _wrong(call, name, "is not an identifier")
    return text


def _instant(call: str, instant: datetime) -> datetime:
    """`instant` in UTC; without a zone it is UTC already (seen by clients of this exchange)."""
    if instant.tzinfo is None:
        instant = _EPOCH + (instant - _NAIVE_EPOCH)  # twice as fast as `replace`
    elif instant.tzinfo is not UTC:
        try:
            instant = instant.astimezone(UTC)
        except OverflowError:
            instant = EARLIEST  # at the very edge of the calendar: refused below
    if not EARLIEST < instant < LATEST:
        raise _wrong(call, "created_at", "is out of this world")
    return instant


def _order(call: str, order_id: str, word: str, quote_id: str, user_id: str, amount: bytes) -> VenueOrder:
    status = _STATUSES.get(word)
    if status is None:
        raise _wrong(call, "status", "is not pending, completed or failed")
    return VenueOrder(
        VenueOrderId(_identifier(call, "id", order_id)),
        QuoteId(_identifier(call, "quote_id", quote_id)),
        UserId(_identifier(call, "user_id", user_id)),
        _decimal(call, "from_amount", amount),
        status,
    )


_settled_order = lru_cache(maxsize=SETTLED_KEPT)(_order)


@lru_cache(
    maxsize=4_096
)  # prices repeat: a long list is read twice as fast, and its quotes share their rates
def _rate_of(call: str, raw: bytes, sold: str, bought: str) -> Rate:
    from_currency = _currency(call, "from_currency", sold)
    to_currency = _currency(call, "to_currency", bought)
    text = raw[1:-1].decode() if _PLAIN_STRING.fullmatch(raw) else _decimal(call, "rate", raw)
    try:
        return parse_rate(text, from_currency, to_currency)
    except AmountInvalid:
        raise _wrong(call, "rate", "is not a rate: a decimal number above zero") from None


@lru_cache(maxsize=256)
def _currency(call: str, name: str, code: str) -> Currency:
    try:
        known = currency(code) if len(code) == 3 else None
    except CurrencyUnknown:
        known = None
    if known is None or known is NO_CURRENCY:
        raise _wrong(call, name, "is not an ISO 4217 currency code")
    return known


def _decimal(call: str, name: str, raw: bytes) -> str:
    """The plain decimal text of a number, written as a string or as a JSON number: exactly as it was written,
    unless with an exponent, which is written out."""
    try:
        literal = raw.decode()
        text = _STRING.decode(raw) if literal.startswith('"') else literal
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _wrong(call, name, "is not a decimal number") from None
    if len(text) <= MAX_NUMBER:
        if _PLAIN.fullmatch(text):
            return text
        if _SCIENTIFIC.fullmatch(text):
            value = Decimal(text)
            if abs(value.adjusted()) <= MAX_EXPONENT:
                written = format(value, "f")
                if len(written) <= MAX_NUMBER:
                    return written
    raise _wrong(call, name, "is not a plain decimal number")
