"""Entities as rows and back, exactly, each row under a seal that shows when storage has changed it.

A row here is a tuple of the columns named beside it; the tables add `number` (order of arrival) and `seal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from parallax.domain.entities import Incident, Order, Pause, Quote, User
from parallax.domain.errors import AmountInvalid, CurrencyUnknown
from parallax.domain.facts import Fact, IncidentKind, OrderCompleted, OrderFailed, OrdersRead
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import Money, Rate, currency, recorded_rate
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.journal import Remembered

Row: TypeAlias = tuple[Any, ...]

FACT_COLUMNS: Final = (
    "position",
    "at",
    "kind",
    "user_id",
    "quote_id",
    "order_id",
    "began_at",
    "record",
    "hash",
)
USER_COLUMNS: Final = ("id", "name", "email")
QUOTE_COLUMNS: Final = (
    "id",
    "rate",
    "rate_from",
    "rate_to",
    "created_at",
    "asked_by",
    "state",
    "order_id",
)
ORDER_COLUMNS: Final = (
    "id",
    "quote_id",
    "user_id",
    "amount",
    "amount_key",
    "currency",
    "rate",
    "rate_from",
    "rate_to",
    "result",
    "created_at",
    "placed_by",
    "state",
    "venue_order_id",
    "sent_at",
    "answered_at",
    "settled_at",
    "reasons",
    "refusal",
    "conclusive_after",
    "absences",
    "last_look",
    "not_before",
    "holds",
)
INCIDENT_COLUMNS: Final = (
    "id",
    "kind",
    "words",
    "raised_at",
    "user_id",
    "quote_id",
    "order_id",
    "resolved_at",
    "resolved_by",
    "note",
)
PAUSE_COLUMNS: Final = ("since", "paused_by", "reason")
ANSWER_COLUMNS: Final = ("key", "fingerprint", "answer", "at")

ORDER_FIXED: Final = ORDER_COLUMNS.index("state")
"""Columns of an order before this one never change."""

QUOTE_FIXED: Final = QUOTE_COLUMNS.index("state")
"""Columns of a quote before this one never change."""

LETS_GO: Final = (OrderState.REFUSED, OrderState.WITHDRAWN)
"""The states in which an order no longer holds its quote. (The quote may be past its time all the same.)"""

_ORDER_STATES: Final = {state.value: state for state in OrderState}
_QUOTE_STATES: Final = {state.value: state for state in QuoteState}
_WORD_OF: Final[dict[StrEnum, str]] = {state: state.value for state in (*OrderState, *QuoteState)}
"""The plain text of a state: an enum's own `value` takes three times as long."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JSON: Final = msgspec.json.Encoder()
_WORDS: Final = msgspec.json.Decoder(tuple[str, ...])


class Damaged(Exception):
    """What was read is not what was written; the words say what."""


def ticks(moment: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(count: int) -> datetime:
    """The instant of a count of microseconds."""
    seconds, micros = divmod(count, 1_000_000)
    return _EPOCH + timedelta(0, seconds, micros)


def seal(row: Row) -> int:
    """What a row's seal must be."""
    return crc32(_JSON.encode(row))


def opened(row: Row, what: str) -> Row:
    """The columns of a row whose last value is its seal. Raises `Damaged` when the seal is broken."""
    columns = row[:-1]
    if seal(columns) != row[-1]:
        raise Damaged(f"the row of {what} {row[0]!r:.70} is not what was written")
    return columns


def amount_key(amount: str) -> str:
    """Text that sorts as plain decimals do as numbers: how many digits stand before the point, then all digits."""
    whole, _, fraction = amount.partition(".")
    whole = whole.lstrip("0")
    return f"{len(whole):02d}{whole}{fraction.rstrip('0')}"


def fact_row(position: int, change: Change, record: bytes, link: bytes) -> Row:
    """A fact with the columns that it is looked up by."""
    fact = change.fact
    order = change.order
    return (
        position,
        ticks(fact.at),
        type(fact).__name__,
        order.user_id if order is not None else getattr(fact, "user_id", None),
        getattr(fact, "quote_id", None),
        getattr(fact, "order_id", None),
        ticks(fact.began_at) if isinstance(fact, OrdersRead) else None,
        record,
        link,
    )


def user_row(user: User) -> Row:
    """A user as its columns."""
    return (user.id, user.name, user.email)


def user_of(row: Row) -> User:
    """The user of a sealed row."""
    id_, name, email = opened(row, "user")
    return User(UserId(id_), name, email)


def quote_row(quote: Quote) -> Row:
    """A quote as its columns."""
    [row] = quote_rows((quote,))
    return row


def quote_rows(quotes: Iterable[Quote]) -> list[Row]:
    """Quotes as their columns: together, as a list brings very many."""
    return [
        (
            quote.id,
            (rate := quote.rate).wire,
            rate.from_currency.code,
            rate.to_currency.code,
            ticks(quote.created_at),
            quote.by,
            _WORD_OF[quote.state],
            quote.order_id,
        )
        for quote in quotes
    ]


def quote_of(row: Row) -> Quote:
    """The quote of a sealed row."""
    id_, rate, rate_from, rate_to, created_at, by, state, order_id = opened(row, "quote")
    return Quote(
        QuoteId(id_),
        recorded_rate(rate, rate_from, rate_to),
        moment(created_at),
        _QUOTE_STATES[state],
        order_id,
        by,
    )


def not_before_of(fact: Fact) -> datetime | None:
    """The last look that saw an order pending, which its row keeps and its entity does not."""
    return fact.not_before if isinstance(fact, OrderCompleted | OrderFailed) else None


def order_row(order: Order, not_before: datetime | None) -> Row:
    """An order as its columns, with what its entity does not keep."""
    amount, rate, result = order.amount.wire, order.rate, order.result
    return (
        order.id,
        order.quote_id,
        order.user_id,
        amount,
        amount_key(amount),
        order.amount.currency.code,
        None if rate is None else rate.wire,
        None if rate is None else rate.from_currency.code,
        None if rate is None else rate.to_currency.code,
        None if result is None else result.wire,
        ticks(order.created_at),
        order.by,
        _WORD_OF[order.state],
        order.venue_order_id,
        None if order.sent_at is None else ticks(order.sent_at),
        None if order.answered_at is None else ticks(order.answered_at),
        None if order.settled_at is None else ticks(order.settled_at),
        _JSON.encode(order.reasons).decode() if order.reasons else "[]",
        order.refusal,
        None if order.conclusive_after is None else ticks(order.conclusive_after),
        order.absences,
        None if order.last_look is None else ticks(order.last_look),
        None if not_before is None else ticks(not_before),
        1 if order.by and order.state not in LETS_GO else 0,
    )


def order_of(row: Row) -> Order:
    """The order of a sealed row."""
    (
        id_,
        quote_id,
        user_id,
        amount,
        _,
        unit,
        rate,
        rate_from,
        rate_to,
        result,
        created_at,
        by,
        state,
        venue_order_id,
        sent_at,
        answered_at,
        settled_at,
        reasons,
        refusal,
        conclusive_after,
        absences,
        last_look,
        _,
        _,
    ) = opened(row, "order")
    return Order(
        OrderId(id_),
        QuoteId(quote_id),
        UserId(user_id),
        Money(Decimal(amount), currency(unit)),
        None if rate is None else Rate(Decimal(rate), currency(rate_from), currency(rate_to)),
        None if result is None else Money(Decimal(result), currency(rate_to)),
        _ORDER_STATES[state],
        moment(created_at),
        by,
        None if venue_order_id is None else VenueOrderId(venue_order_id),
        None if sent_at is None else moment(sent_at),
        None if answered_at is None else moment(answered_at),
        None if settled_at is None else moment(settled_at),
        () if reasons == "[]" else _WORDS.decode(reasons),
        refusal,
        None if conclusive_after is None else moment(conclusive_after),
        absences,
        None if last_look is None else moment(last_look),
    )


def incident_row(incident: Incident) -> Row:
    """An incident as its columns."""
    return (
        incident.id,
        incident.kind.value,
        incident.words,
        ticks(incident.raised_at),
        incident.user_id,
        incident.quote_id,
        incident.order_id,
        None if incident.resolved_at is None else ticks(incident.resolved_at),
        incident.resolved_by,
        incident.note,
    )


def incident_of(row: Row) -> Incident:
    """The incident of a sealed row."""
    id_, kind, words, raised_at, user_id, quote_id, order_id, resolved_at, resolved_by, note = opened(
        row, "incident"
    )
    return Incident(
        IncidentId(id_),
        IncidentKind(kind),
        words,
        moment(raised_at),
        user_id,
        quote_id,
        order_id,
        None if resolved_at is None else moment(resolved_at),
        resolved_by,
        note,
    )


def pause_row(pause: Pause) -> Row:
    """The pause as its columns."""
    return (ticks(pause.since), pause.by, pause.reason)


def pause_of(row: Row) -> Pause:
    """The pause of a sealed row."""
    since, by, reason = opened(row, "the pause since")
    return Pause(moment(since), by, reason)


def answer_row(answer: Remembered) -> Row:
    """An answer as its columns."""
    return (answer.key, answer.fingerprint, answer.answer, ticks(answer.at))


def answer_of(row: Row) -> Remembered:
    """The remembered answer of a sealed row."""
    key, fingerprint, answer, at = opened(row, "the answer to")
    return Remembered(key, fingerprint, answer, moment(at))


UNREADABLE: Final = (
    Damaged,
    AmountInvalid,
    CurrencyUnknown,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
)
"""What reading a row that nobody wrote can raise."""
