"""From the desk's JSON to values, and from its problems to errors.

What cannot be read as an answer of a desk raises `Unreadable`: the address belongs to something else, or to a desk of
another time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar, cast

from parallax.client.errors import DeskUnavailable, OrderNotPlaced, RequestInvalid
from parallax.client.values import Calls, Duty, Order, Quote, Status
from parallax.domain.entities import Incident, User
from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    DeskPaused,
    DeskStopping,
    JournalFailed,
    KeyReused,
    NotFound,
    NotReadYet,
    PossibleDuplicate,
    QuoteExpired,
    QuoteTaken,
    VenueBusy,
    VenueMisbehaved,
    VenueUnavailable,
)
from parallax.domain.facts import IncidentKind
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.money import NO_CURRENCY, Money, Rate, currency
from parallax.domain.transitions import OrderState, QuoteStatus

Json = Mapping[str, Any]
Value = TypeVar("Value")


class Unreadable(Exception):
    """What came back is no answer of a desk."""


def document(body: bytes) -> Json:
    """The JSON object in a body. Raises `Unreadable`."""
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("it is not a JSON object")
    return cast("Json", found)


def one(body: bytes, read: Callable[[Json], Value]) -> Value:
    """The value in an envelope. Raises `Unreadable`."""
    try:
        return read(document(body)["data"])
    except _WRONG_SHAPE as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def many(body: bytes, read: Callable[[Json], Value]) -> tuple[list[Value], str | None]:
    """The values in an envelope, and the cursor of the next page. Raises `Unreadable`."""
    found = document(body)
    try:
        following: object = found["meta"]["next"] if found.get("meta") else None
        values = [read(row) for row in found["data"]]
    except _WRONG_SHAPE as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    return values, following if isinstance(following, str) else None


_WRONG_SHAPE: Final = (KeyError, TypeError, ValueError, AttributeError, InvalidOperation, DeskError)


def user(row: Json) -> User:
    """A user."""
    return User(UserId(row["id"]), row["name"], row["email"])


def quote(row: Json) -> Quote:
    """A quote."""
    return Quote(
        QuoteId(row["id"]),
        _rate(row),
        instant(row["created_at"]),
        instant(row["expires_at"]),
        QuoteStatus(row["status"]),
        row["order_id"] and OrderId(row["order_id"]),
    )


def order(row: Json) -> Order:
    """An order."""
    sold, bought = row["from_currency"], row["to_currency"]
    return Order(
        OrderId(row["id"]),
        OrderState(row["state"]),
        QuoteId(row["quote_id"]),
        UserId(row["user_id"]),
        Money(Decimal(row["from_amount"]), currency(sold) if sold else NO_CURRENCY),
        Money(Decimal(row["to_amount"]), currency(bought)) if row["to_amount"] else None,
        _rate(row) if row["rate"] else None,
        row["venue_order_id"] and VenueOrderId(row["venue_order_id"]),
        row["by"],
        tuple(row["reasons"]),
        instant(row["created_at"]),
        _maybe(row["sent_at"]),
        _maybe(row["settled_at"]),
        row.get("possible_duplicate_of"),
        row.get("contradicted", False),
    )


def incident(row: Json) -> Incident:
    """An incident."""
    return Incident(
        IncidentId(row["id"]),
        IncidentKind(row["kind"]),
        row["words"],
        instant(row["raised_at"]),
        row["user_id"],
        row["quote_id"],
        row["order_id"],
        _maybe(row["resolved_at"]),
        row["resolved_by"],
        row["note"],
    )


def status(row: Json) -> Status:
    """How things are."""
    venue: Json = row["venue"]
    paused: Json | None = row["paused"]
    return Status(
        row["position"],
        _maybe(row["started_at"]),
        venue["name"],
        venue["sandbox"],
        venue["health"],
        venue["words"],
        timedelta(milliseconds=venue["clock_offset_ms"]),
        paused["reason"] if paused else None,
        row["journal_failed"],
        row["stopping"],
        row["open_orders"],
        row["open_incidents"],
        tuple(
            Duty(
                duty["name"],
                duty["purpose"],
                duty["state"],
                instant(duty["since"]),
                duty["restarts"],
                duty["last_error"],
            )
            for duty in row["duties"]
        ),
        tuple(
            Calls(calls["purpose"], calls["made"], calls["saved"], calls["failed"])
            for calls in row.get("calls", ())
        ),
    )


def instant(text: str) -> datetime:
    """An instant of the wire; one without a zone is UTC."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _maybe(text: str | None) -> datetime | None:
    return None if text is None else instant(text)


def _rate(row: Json) -> Rate:
    return Rate(Decimal(row["rate"]), currency(row["from_currency"]), currency(row["to_currency"]))


# Problems


def problem(body: bytes) -> Json | None:
    """The problem in a body, or None when a desk did not write it."""
    try:
        found = document(body)
    except Unreadable:
        return None
    return found if isinstance(found.get("code"), str) and isinstance(found.get("detail"), str) else None


def error(found: Json, sought: Mapping[str, str]) -> DeskError:
    """A problem as an error; `sought` names what was asked for, by kind (quote, user, order)."""
    words, code = str(found["detail"]), str(found["code"])
    if (made := _ERRORS.get(code)) is not None:
        return made(found, words)
    # An id that cannot be one may lead past every call: a slash is a slash to many servers, escaped or not.
    if code == "not_found" or (code == "no_such_call" and any("/" in given for given in sought.values())):
        kind = _missing(found, sought)
        return NotFound(kind, sought.get(kind, ""))
    if code in _NOT_PLACED:
        return OrderNotPlaced(
            words,
            _NOT_PLACED[code],
            QuoteId(str(found.get("quote_id") or sought.get("quote", ""))),
            found.get("order_id"),
            found.get("reasons") or (),
            retry=found.get("retry") is True,
        )
    if found.get("retry"):
        return DeskUnavailable(words)
    return RequestInvalid(words, code)


def _missing(found: Json, sought: Mapping[str, str]) -> str:
    fields: object = found.get("errors")
    named: Json = cast("Json", fields) if isinstance(fields, dict) else {}
    for kind in sought:
        if f"{kind}_id" in named:
            return kind
    return next(iter(sought), "call")


_NOT_PLACED: Final = {
    "order_refused": OrderState.REFUSED,
    "desk_turned_away": OrderState.REFUSED,
    "order_withdrawn": OrderState.WITHDRAWN,
    "order_not_placed": OrderState.NOT_PLACED,
}

_ERRORS: Final[Mapping[str, Callable[[Json, str], DeskError]]] = {
    "amount_invalid": lambda found, words: AmountInvalid(str(found.get("reason", "")), words),
    "quote_taken": lambda found, _: QuoteTaken(
        found.get("order_id"), found.get("by"), undecided=bool(found.get("undecided"))
    ),
    "key_reused": lambda found, _: KeyReused(str(found.get("order_id"))),
    "possible_duplicate": lambda found, _: PossibleDuplicate(str(found.get("order_id"))),
    "quote_expired": lambda _, words: QuoteExpired(words),
    "venue_unavailable": lambda found, words: VenueUnavailable(words, found.get("retry_after")),
    "not_read_yet": lambda found, words: NotReadYet(words, found.get("retry_after")),
    "venue_busy": lambda found, words: VenueBusy(words, found.get("retry_after")),
    "venue_misbehaved": lambda found, words: VenueMisbehaved(words, found.get("retry_after")),
    "desk_paused": lambda _, words: DeskPaused(words.removeprefix("New orders are paused: ")),
    "desk_stopping": lambda _, __: DeskStopping(),
    "journal_failed": lambda _, words: JournalFailed(words),
}
