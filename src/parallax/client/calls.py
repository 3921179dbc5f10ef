"""The verbs as conversations with a desk, without I/O: each is a generator that asks, is answered, and returns a value.

The async and the blocking client carry the same conversations out, so that what is repeated, what is believed and
what is raised is written once.

Reads and requests with an idempotency key are repeated after a lost connection, a few times with growing gaps; nothing
else ever is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Final, TypeVar
from urllib.parse import quote as escaped
from urllib.parse import urlencode

from parallax.client import reading
from parallax.client.errors import DeskUnavailable, OrderNotPlaced, OrderUnknown
from parallax.client.reading import Unreadable
from parallax.client.values import FATE_OPEN, NEVER_PLACED, Order, Quote, Status
from parallax.domain.entities import Incident, User
from parallax.domain.errors import AmountInvalid, DeskError, QuoteTaken
from parallax.domain.identity import QuoteId
from parallax.domain.transitions import OrderState, QuoteStatus

REQUEST_TIMEOUT: Final = 408
"""What a proxy says that gave up on a request, perhaps after it had handed it on."""

PAUSES: Final = (0.1, 0.3, 0.9, 2.7)
"""Seconds before a lost request is made again: four seconds in all, so that a desk may be restarted meanwhile."""

MAX_INCIDENTS: Final = 100_000
"""Incidents that are read at most."""

MAX_ROWS: Final = 1_000
"""Rows asked for in one page: the most that a desk gives."""

LOOK_GAPS: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds between looks at an order that is waited for; the last one repeats. The desk answers from memory."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: `path` below the API's root."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing came back. `left`: the request may have reached the desk. `again`: asking again at once may help."""

    words: str
    left: bool
    again: bool = True


Conversation = Generator[Ask | Pause, Reply | Lost | None, Value]
Clock = Callable[[], float]


# Reading


def users() -> Conversation[list[User]]:
    """Everybody."""
    return (yield from _page("/users", reading.user, {}))[0]


def quote(quote_id: str) -> Conversation[Quote]:
    """One quote."""
    return (yield from _read(f"/quotes/{_id(quote_id)}", reading.quote, {"quote": quote_id}))


def quotes(status: Iterable[str], since: datetime | None, limit: int) -> Conversation[list[Quote]]:
    """The newest quotes."""
    return (yield from _rows("/quotes", reading.quote, _filters(status, since), limit, {}))


def order(order_id: str) -> Conversation[Order]:
    """One order."""
    return (yield from _read(f"/orders/{_id(order_id)}", reading.order, {"order": order_id}))


def order_by_key(key: str) -> Conversation[Order | None]:
    """The order that was placed under an idempotency key, if there is one."""
    return _first(_made((yield from _safely(Ask("GET", _under(key)))), {}, _orders))


def _under(key: str) -> str:
    return f"/orders?{urlencode({'idempotency_key': key})}"


def _orders(body: bytes) -> list[Order]:
    return reading.many(body, reading.order)[0]


def _first(rows: list[Order]) -> Order | None:
    return rows[0] if rows else None


def orders(
    user_id: str | None, status: Iterable[str], since: datetime | None, limit: int
) -> Conversation[list[Order]]:
    """The newest orders."""
    filters = _filters(status, since) | ({"user": user_id} if user_id is not None else {})
    sought = {"user": user_id} if user_id is not None else {}
    return (yield from _rows("/orders", reading.order, filters, limit, sought))


def incidents(resolved: bool) -> Conversation[list[Incident]]:
    """Incidents, newest first."""
    filters = {"resolved": "true"} if resolved else {}
    return (yield from _rows("/incidents", reading.incident, filters, MAX_INCIDENTS, {}))


def status() -> Conversation[Status]:
    """How things are."""
    return (yield from _read("/status", reading.status, {}))


def _read(path: str, read: Callable[[Any], Value], sought: Mapping[str, str]) -> Conversation[Value]:
    reply = yield from _safely(Ask("GET", path))
    return _made(reply, sought, lambda body: reading.one(body, read))


def _page(
    path: str, read: Callable[[Any], Value], sought: Mapping[str, str]
) -> Conversation[tuple[list[Value], str | None]]:
    reply = yield from _safely(Ask("GET", path))
    return _made(reply, sought, lambda body: reading.many(body, read))


def _rows(
    path: str, read: Callable[[Any], Value], filters: dict[str, str], limit: int, sought: Mapping[str, str]
) -> Conversation[list[Value]]:
    """The first rows of a list, over as many pages as they need."""
    if limit < 1:
        raise ValueError("limit is at least 1")
    found: list[Value] = []
    while True:
        asked = filters | {"limit": str(min(limit - len(found), MAX_ROWS))}
        rows, following = yield from _page(f"{path}?{urlencode(asked)}", read, sought)
        found += rows
        if following is None or len(found) >= limit:
            return found
        filters = filters | {"cursor": following}


def _filters(status: Iterable[str], since: datetime | None) -> dict[str, str]:
    words = ",".join(status)
    return ({"status": words} if words else {}) | ({"since": since.isoformat()} if since else {})


# Doing


def request_quote(key: str) -> Conversation[Quote]:
    """A new quote."""
    reply = yield from _safely(Ask("POST", "/quotes", b"{}", _keyed(key)))
    return _made(reply, {}, lambda body: reading.one(body, reading.quote))


def resolve_incident(incident_id: str, note: str) -> Conversation[Incident]:
    """Close an incident."""
    # Resolving twice changes nothing, so it may be repeated without a key.
    ask = Ask("POST", f"/incidents/{_id(incident_id)}/resolve", json.dumps({"note": note}).encode(), _JSON)
    reply = yield from _safely(ask)
    return _made(reply, {"incident": incident_id}, lambda body: reading.one(body, reading.incident))


def execute(
    quote_id: QuoteId,
    user_id: str,
    amount: str,
    key: str,
    unknown: Callable[[QuoteId, Order | None], OrderUnknown],
    unless_unknown: bool = False,
) -> Conversation[Order]:
    """Place an order. The key lets it be repeated after a lost connection: the desk answers as it did at first. When
    every answer is lost, the order that the desk has under the key is the answer, however it stands."""
    asked = {"quote_id": quote_id, "user_id": user_id, "from_amount": amount}
    body = json.dumps(asked | ({"unless_unknown": True} if unless_unknown else {})).encode()
    reply = yield from _insisting(Ask("POST", "/orders", body, _keyed(key)))
    if isinstance(reply, Lost):
        if reply.left:
            return _as_it_stands((yield from _looked_up(key)), quote_id, unknown)
        raise DeskUnavailable(reply.words)
    try:
        placed = _made(
            reply, {"quote": quote_id, "user": user_id}, lambda given: reading.one(given, reading.order)
        )
    except DeskUnavailable:
        if reply.status < 300:
            # A yes that cannot be read is no answer.
            return _as_it_stands((yield from _looked_up(key)), quote_id, unknown)
        raise
    return _as_it_stands(placed, quote_id, unknown)


def _looked_up(key: str) -> Conversation[Order | None]:
    """The order under a key, asked for once; None also when the desk does not say."""
    reply = yield Ask("GET", _under(key))
    try:
        return _first(_made(reply, {}, _orders)) if isinstance(reply, Reply) else None
    except DeskError:
        return None


def _as_it_stands(
    placed: Order | None, quote_id: QuoteId, unknown: Callable[[QuoteId, Order | None], OrderUnknown]
) -> Order:
    """The placed order. Raises `OrderNotPlaced` for one that came to nothing, `unknown` when that is not known."""
    if placed is None or placed.state in FATE_OPEN:
        raise unknown(quote_id, placed)
    if placed.state in NEVER_PLACED:
        raise not_placed(placed)
    return placed


def resolve(
    quote_id: QuoteId,
    known: Order | None,
    key: str,
    deadline: float,
    clock: Clock,
    unknown: Callable[[QuoteId, Order | None], OrderUnknown],
) -> Conversation[Order]:
    """Wait until it is known what came of an order: see `OrderUnknown.resolve`."""
    gaps = _gaps()
    while True:
        try:
            if known is None:
                known = yield from _find(quote_id, key)
            if known is not None:
                known = yield from order(known.id)
                if known.state in NEVER_PLACED:
                    raise not_placed(known)
                if known.state not in FATE_OPEN:
                    return known
        except DeskUnavailable:
            pass  # that the desk does not answer says nothing about the order
        gap = next(gaps)
        if clock() + gap > deadline:
            raise unknown(quote_id, known)
        yield Pause(gap)


def _find(quote_id: QuoteId, key: str) -> Conversation[Order | None]:
    """The order that was placed under a key. Raises `OrderNotPlaced` when it can no longer come to be."""
    # The quote first: what its end rules out cannot come to be between the two.
    held = yield from quote(quote_id)
    if (ours := (yield from order_by_key(key))) is not None:
        return ours
    if held.order_id is not None:
        holder = yield from order(held.order_id)
        raise QuoteTaken(holder.id, holder.by, undecided=holder.fate_open)
    if held.status is QuoteStatus.EXPIRED:
        words = "The order never reached the desk, and its quote has expired. Ask for a new quote."
        raise OrderNotPlaced(words, OrderState.NOT_PLACED, quote_id)
    return None


def settled(order_id: str, deadline: float, clock: Clock) -> Conversation[Order]:
    """Wait until an order is settled. Raises `TimeoutError`, which names its state."""
    gaps = _gaps()
    state: object = "not known"
    while True:
        try:
            found = yield from order(order_id)
            if found.settled:
                return found
            state = found.state
        except DeskUnavailable as error:
            state = error.words
        gap = next(gaps)
        if clock() + gap > deadline:
            raise TimeoutError(f"Order {order_id} has not settled in time: {state}")
        yield Pause(gap)


def not_placed(found: Order) -> OrderNotPlaced:
    """The error for an order of which it is certain that nothing was exchanged."""
    words = "The order was not placed; nothing was exchanged."
    return OrderNotPlaced(
        " ".join((words, *found.reasons[:1])), found.state, found.quote_id, found.id, found.reasons
    )


def amount_text(amount: Decimal | str | int) -> str:
    """An amount as it travels: exactly what was given. Raises `AmountInvalid`."""
    if isinstance(amount, Decimal) and amount.is_finite():
        return format(amount, "f")
    if isinstance(amount, str | int) and not isinstance(amount, bool):
        return str(amount)
    raise AmountInvalid("not_exact", "Give an amount as a string or a Decimal: a float is not exact.")


# Asking

_JSON: Final = {"Content-Type": "application/json"}
_random: Final = Random()


def _keyed(key: str) -> dict[str, str]:
    return {**_JSON, "Idempotency-Key": key}


def _id(text: str) -> str:
    """An id as part of a path. A path must not change what is asked for, whatever the id is."""
    return escaped(text, safe="") or "-"


def _gaps() -> Generator[float, None, None]:
    yield from LOOK_GAPS
    while True:
        yield LOOK_GAPS[-1]


def _insisting(ask: Ask) -> Conversation[Reply | Lost]:
    """Ask, and ask again after a lost connection; a loss that came after the request may have left says so."""
    left = False
    for pause in (*PAUSES, None):
        answer = yield ask
        assert answer is not None, "an ask is answered"
        reply = _weighed(answer, left)
        if isinstance(reply, Reply):
            return reply
        left = left or reply.left
        if pause is None or not reply.again:
            return Lost(reply.words, left)
        yield Pause(pause * _random.uniform(0.7, 1.3))
    raise AssertionError("the last pause is None")


def _weighed(answer: Reply | Lost, left: bool) -> Reply | Lost:
    """What an answer is worth, when an earlier request may have `left`: one that says nothing about it is no answer."""
    if isinstance(answer, Lost):
        return answer
    problem = reading.problem(answer.body) if answer.status >= 400 else None
    if problem is None:
        # A proxy between us and the desk says so when it loses the desk; of an earlier request it says nothing.
        broken = answer.status >= 500 or answer.status == REQUEST_TIMEOUT or (left and answer.status >= 300)
        return Lost(f"What answers is no Parallax desk: it said {answer.status}.", True) if broken else answer
    if problem["code"] == "internal":
        return Lost(str(problem["detail"]), True, again=False)
    if left and (answer.status >= 500 or problem.get("retry") is True):
        # "Not now" is about this request. It was refused at the door, where nobody asks what became of the first.
        return Lost(str(problem["detail"]), True)
    return answer


def _safely(ask: Ask) -> Conversation[Reply]:
    reply = yield from _insisting(ask)
    if isinstance(reply, Lost):
        raise DeskUnavailable(reply.words)
    return reply


def _made(reply: Reply, sought: Mapping[str, str], read: Callable[[bytes], Value]) -> Value:
    """The value of a good answer. Raises the error that any other one is."""
    if 200 <= reply.status < 300:
        try:
            return read(reply.body)
        except Unreadable as unreadable:
            words = f"What answers is no Parallax desk, or one of another version ({unreadable})."
            raise DeskUnavailable(words) from None
    raise refusal(reply, sought)


def refusal(reply: Reply, sought: Mapping[str, str]) -> DeskError:
    """The error that an answer is."""
    problem = reading.problem(reply.body)
    if problem is None:
        return DeskUnavailable(f"What answers is no Parallax desk: it said {reply.status}.")
    return reading.error(problem, sought)
