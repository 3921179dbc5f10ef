"""What the API shows: the exchange's own rows with what the desk knows besides. These types make the bytes and the
OpenAPI document alike.

Fields that the exchange has are written as it writes them: lowercase currencies, decimal strings, `created_at` of a
quote without a zone (it is UTC). Fields of ours carry instants with `Z`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from parallax.domain import entities
from parallax.domain.identity import QuoteId
from parallax.domain.money import NO_CURRENCY, Money
from parallax.domain.transitions import OrderState, QuoteState
from parallax.web.api.paging import Cursor
from parallax.web.api.wire import encode

MAX_ROWS: Final = 20_000
"""Quotes whose rows are kept as bytes, about 0.6 KB each; when there are more, all are made again."""

SHOWN: Final[dict[OrderState, str]] = {
    # A program written for the exchange knows three words and waits while it reads "pending"; an order that is
    # being sent is worth waiting for.
    OrderState.CLAIMED: "pending",
    OrderState.SENT: "pending",
    OrderState.PENDING: "pending",
    OrderState.COMPLETED: "completed",
    OrderState.FAILED: "failed",
    # Words of ours: "failed" would be untrue for each of them.
    OrderState.UNKNOWN: "unknown",
    OrderState.REFUSED: "refused",
    OrderState.NOT_PLACED: "not_placed",
    OrderState.WITHDRAWN: "withdrawn",
}
"""An order's state → the word that its `status` has."""

NOT_AT_THE_EXCHANGE: Final = frozenset({OrderState.REFUSED, OrderState.NOT_PLACED, OrderState.WITHDRAWN})
"""Orders that never came to be: the exchange would not list them."""

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Decimals = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
Code = Annotated[str, Meta(pattern="^[a-z]{3}$")]


class User(msgspec.Struct, frozen=True):
    """A customer of the exchange."""

    id: Id
    name: str
    email: str


class Quote(msgspec.Struct, frozen=True):
    """A firm rate for a currency pair, usable once, until `expires_at`."""

    id: Id
    created_at: Annotated[
        str, Meta(description="By the exchange's clock, UTC, without a zone, as the exchange writes it.")
    ]
    rate: Annotated[Decimals, Meta(description="How much of `to_currency` one unit of `from_currency` buys.")]
    from_currency: Code
    to_currency: Code
    expires_at: Annotated[Instant, Meta(description="By the exchange's clock.")]
    status: Annotated[
        Literal["active", "claimed", "executed", "expired"],
        Meta(
            description="`claimed` belongs to one order whose fate is open; `executed` and `expired` are final."
        ),
    ]
    order_id: Annotated[Id | None, Meta(description="The order that holds or used it.")]


class Order(msgspec.Struct, frozen=True):
    """One attempt to execute a quote for a user and an amount."""

    id: Annotated[Id, Meta(description="On this desk. An order placed elsewhere has the exchange's id.")]
    status: Annotated[
        Literal["pending", "completed", "failed", "unknown", "refused", "not_placed", "withdrawn"],
        Meta(description="The exchange's three words, and four for what it has no word for."),
    ]
    quote_id: Id
    user_id: Id
    from_amount: Annotated[Decimals, Meta(description="As it was sent.")]
    from_currency: Annotated[Code | None, Meta(description="Null when its quote is not known.")]
    to_amount: Annotated[
        Decimals | None, Meta(description="What `from_amount` buys, rounded once to minor units.")
    ]
    to_currency: Code | None
    rate: Decimals | None
    state: Annotated[
        Literal[
            "claimed",
            "sent",
            "unknown",
            "pending",
            "completed",
            "failed",
            "refused",
            "not_placed",
            "withdrawn",
        ],
        Meta(description="The desk's full word for where the order is in its life."),
    ]
    venue_order_id: Annotated[Id | None, Meta(description="Its id at the exchange, once that is known.")]
    by: Annotated[str, Meta(description="Who placed it; empty for an order that was placed elsewhere.")]
    reasons: Annotated[list[str], Meta(description="Why it was refused, withdrawn or has no answer.")]
    created_at: Annotated[
        Instant, Meta(description="When the desk claimed the quote, or first saw the order.")
    ]
    sent_at: Instant | None
    settled_at: Instant | None
    contradicted: Annotated[
        bool,
        Meta(description="Whether the exchange says otherwise now, in an incident that nobody has resolved."),
    ]


class PlacedOrder(Order, frozen=True, kw_only=True):
    """An order, as the answer that places it shows it."""

    possible_duplicate_of: Annotated[
        Id | None,
        Meta(
            description="Another order for the same user and amount whose outcome is unknown, or that was placed"
            " within the last minute; null when there is none."
        ),
    ]


class Incident(msgspec.Struct, frozen=True):
    """A contradiction that a person must look at."""

    id: Id
    kind: str
    words: str
    raised_at: Instant
    user_id: Id | None
    quote_id: Id | None
    order_id: Id | None
    resolved_at: Instant | None
    resolved_by: str
    note: str


class NewOrder(msgspec.Struct):
    """What places an order. `from_amount` is a decimal, as a string or a number: it is sent, and shown, with the
    digits that it was written with, less zeros in front (`00012.50` is `12.50`)."""

    quote_id: msgspec.Raw = msgspec.Raw()
    user_id: msgspec.Raw = msgspec.Raw()
    from_amount: msgspec.Raw = msgspec.Raw()
    unless_unknown: object = False


class NewQuote(msgspec.Struct):
    """What asks for a quote: nothing, or an empty object."""


NoBody = NewQuote | Annotated[list[object], Meta(max_length=0)] | None
"""Nothing, as languages write it: `{}`, the empty list of those that have one kind of empty, `null`."""


class Resolution(msgspec.Struct):
    """What closes an incident."""

    note: Annotated[str, Meta(max_length=200, description="What was found, for whoever looks later.")]


def instant(at: datetime) -> str:
    """An aware UTC instant, with `Z`."""
    return at.isoformat().replace("+00:00", "Z")


def user(one: entities.User) -> User:
    """A user as the exchange shows it."""
    return User(one.id, one.name, one.email)


def quote(one: entities.Quote, status: str) -> Quote:
    """A quote with the status that it has at a moment."""
    return Quote(
        one.id,
        one.created_at.replace(tzinfo=None).isoformat(),
        one.rate.wire,
        one.rate.from_currency.code.lower(),
        one.rate.to_currency.code.lower(),
        instant(one.expires_at),
        status,  # type: ignore[arg-type]  # QuoteStatus is one of the four
        one.order_id,
    )


def order(one: entities.Order, contradicted: bool) -> Order:
    """An order as it is now, and whether the exchange contradicts it."""
    return Order(
        one.id,
        SHOWN[one.state],  # type: ignore[arg-type]
        one.quote_id,
        one.user_id,
        one.amount.wire,
        _code(one.amount),
        one.result and one.result.wire,
        one.rate and one.rate.to_currency.code.lower(),
        one.rate and one.rate.wire,
        str(one.state),  # type: ignore[arg-type]
        one.venue_order_id,
        one.by,
        list(one.reasons),
        instant(one.created_at),
        one.sent_at and instant(one.sent_at),
        one.settled_at and instant(one.settled_at),
        contradicted,
    )


def placed(one: entities.Order, contradicted: bool, duplicate_of: str | None) -> PlacedOrder:
    """An order that has just been placed, with what it may repeat."""
    shown = order(one, contradicted)
    return PlacedOrder(
        **{name: getattr(shown, name) for name in shown.__struct_fields__}, possible_duplicate_of=duplicate_of
    )


def incident(one: entities.Incident) -> Incident:
    """An incident, open or resolved."""
    return Incident(
        one.id,
        str(one.kind),
        one.words,
        instant(one.raised_at),
        one.user_id,
        one.quote_id,
        one.order_id,
        one.resolved_at and instant(one.resolved_at),
        one.resolved_by,
        one.note,
    )


def meta(following: Cursor | None, total: int, read_at: datetime | None) -> bytes:
    """What stands beside a page: where the next begins, how long the list is, when it was last read."""
    return encode(
        {
            "next": following and following.text,
            "total": total,
            "read_at": read_at and instant(read_at),
        }
    )


def _code(money: Money) -> str | None:
    return None if money.currency is NO_CURRENCY else money.currency.code.lower()


class QuoteRows:
    """Quotes as JSON bytes, each made once: a quote is immutable, and time changes nothing but its status."""

    def __init__(self) -> None:
        self._made: dict[QuoteId, tuple[entities.Quote, datetime | None, bytes, bytes]] = {}

    def row(self, one: entities.Quote, venue_now: datetime) -> bytes:
        """The row of a quote at a moment of the exchange's clock."""
        made = self._made.get(one.id)
        if made is None or made[0] is not one:
            made = self._make(one)
        _, expires_at, row, late_row = made
        return row if expires_at is None or venue_now < expires_at else late_row

    def row_once(self, one: entities.Quote, venue_now: datetime) -> bytes:
        """The same for a list of everything, which would only drive out what is asked for often."""
        made = self._made.get(one.id)
        if made is not None and made[0] is one:
            return self.row(one, venue_now)
        return encode(quote(one, str(one.status(venue_now))))

    def _make(self, one: entities.Quote) -> tuple[entities.Quote, datetime | None, bytes, bytes]:
        row = encode(quote(one, str(one.state)))
        if one.state is QuoteState.ACTIVE:
            late = one.status(one.expires_at)
            made = (one, one.expires_at, row, encode(quote(one, str(late))))
        else:
            made = (one, None, row, row)
        if len(self._made) >= MAX_ROWS:
            self._made.clear()
        self._made[one.id] = made
        return made
