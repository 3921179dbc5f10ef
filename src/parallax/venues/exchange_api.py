"""The exchange's HTTP calls: each leaves once, inside a time-out, with a bounded answer.

There is no general client in between: no redirects, no cookies, no proxies from the environment, no log lines with
addresses. Unless another is handed in the transport is the one in `transport.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import httpx2
from msgspec import Struct

from parallax.domain.entities import User
from parallax.domain.errors import DeskError, NotFound, VenueBusy, VenueMisbehaved, VenueUnavailable
from parallax.domain.identity import UserId, VenueOrderId, is_identifier
from parallax.ports.time_limit import TimeLimit
from parallax.ports.venue import Listing, OrderRequest, Outcome, VenueOrder, VenueQuote, doubt_of
from parallax.venues import paging, wire
from parallax.venues.api import CallFailed, Heard, Reply
from parallax.venues.http import Answer, Head, Transport
from parallax.venues.reasons import read_reasons
from parallax.venues.transport import ExchangeTransport

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer: about 400,000 quotes. More is not read."""

MAX_REFUSAL: Final = 64 * 1024
"""Bytes read of an answer that is not a success: more is a web page, and the rest of it is left unread."""

IDLE_CONNECTION_SECONDS: Final = 3.0
"""A connection idle for longer is not used again. Servers drop theirs after 5 s and up; a request that meets a
connection being dropped has no answer, and an order without an answer is unknown for minutes."""

MAX_IDLE_CONNECTIONS: Final = 32
"""Connections kept for the next call: as many as there are calls at once by default. How many there are at once is
bounded by the limiter and not by the pool, so that an order that has passed its last check never waits for one."""

_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")

MAX_WHY: Final = 200
"""Characters of a system's words about a connection that was not made: "Connection refused", a certificate's fault."""

NOT_MADE: Final = "the connection was not made"
"""Why, when the system says nothing."""

HEADS_KEPT: Final = 1_024
"""Heads of requests kept ready: those of users' lists repeat."""

_TELLING: Final = frozenset((b"age", b"content-encoding", b"date", b"retry-after")) | paging.HEADERS
"""Headers of an answer that are looked at."""

SLICE: Final = 1_000
"""Entries of a long list that are built before the loop may do something else: a few milliseconds."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each call may take in all, connecting and reading its answer included, in seconds."""

    users: float = 10.0
    quote: float = 10.0
    quotes: float = 30.0
    orders: float = 20.0
    order: float = 10.0
    connect: float = 10.0
    send: float = 20.0


class _Limits:
    """The time-outs, each for all calls of its kind."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.users = TimeLimit(timeouts.users)
        self.quote = TimeLimit(timeouts.quote)
        self.quotes = TimeLimit(timeouts.quotes)
        self.orders = TimeLimit(timeouts.orders)
        self.order = TimeLimit(timeouts.order)
        self.connect = TimeLimit(timeouts.connect)
        self.send = TimeLimit(timeouts.send)

    def close(self) -> None:
        for limit in vars(self).values():
            limit.close()


class _Whole(Struct, frozen=True):
    heard: Heard
    body: bytes
    told: Mapping[bytes, str]
    """The headers that mean something here."""


class ExchangeApi:
    """The calls of one exchange. `base_url` is what the calls' paths are appended to ("https://…/api").

    The API key is held here alone: it stands in no `repr`, error or log, and is struck out of refusals that
    repeat it. Raises `ValueError`, in words for whoever set them, for a base URL or key that cannot work.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        transport: Transport | None = None,
        timeouts: Timeouts | None = None,
        name: str = "",
    ) -> None:
        self._base = _checked_base(base_url)
        self._key = _checked_key(api_key)
        self._host = self._base.netloc.decode("ascii")
        self._name = name or self._host
        self._limits = _Limits(timeouts or Timeouts())
        self._transport = transport or ExchangeTransport(
            self._base, idle_seconds=IDLE_CONNECTION_SECONDS, max_idle=MAX_IDLE_CONNECTIONS
        )
        named = (
            (b"Host", self._base.netloc),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"X-Api-Key", self._key),
        )
        path = self._base.raw_path.decode("ascii").rstrip("/")

        def reading(target: str) -> Head:
            return Head("GET", path + target, named)

        self._reading = lru_cache(HEADS_KEPT)(reading)
        self._quoting = Head("POST", f"{path}/quotes", named)
        # At once, as an order has just been checked for the last time.
        typed = (*named, (b"Content-Type", b"application/json"))
        self._ordering = Head("POST", f"{path}/orders", typed, at_once=True)

    def __repr__(self) -> str:
        return f"<ExchangeApi {self._base}>"

    @property
    def name(self) -> str:
        return self._name

    async def users(self) -> Reply[Sequence[User]]:
        """`GET /users`."""
        call = "GET /users"
        answer = await self._call(call, self._reading("/users"), self._limits.users)
        return _reply(call, answer, wire.read_users, listed=True)

    async def request_quote(self) -> Reply[VenueQuote]:
        """`POST /quotes`, without a body."""
        call = "POST /quotes"
        answer = await self._call(call, self._quoting, self._limits.quote)
        return _reply(call, answer, wire.read_quote)

    async def quotes(self) -> Reply[Sequence[VenueQuote]]:
        """`GET /quotes`: all of them."""
        call = "GET /quotes"
        answer = await self._call(call, self._reading("/quotes"), self._limits.quotes)
        return await _built(call, _reply(call, answer, wire.quote_shapes, listed=True), wire.quote_from)

    async def orders(self, user_id: UserId) -> Reply[Sequence[VenueOrder]]:
        """`GET /users/:id/orders`: all of a user's orders."""
        call = "GET /users/:id/orders"
        if not is_identifier(user_id):
            raise NotFound("user", user_id)
        answer = await self._call(call, self._reading(f"/users/{user_id}/orders"), self._limits.orders)
        return await _built(call, _reply(call, answer, wire.order_shapes, listed=True), wire.order_from)

    async def order(self, venue_order_id: VenueOrderId) -> Reply[VenueOrder]:
        """`GET /orders/:id`. The reply's error is `NotFound` when the exchange says that there is none."""
        call = "GET /orders/:id"
        if not is_identifier(venue_order_id):
            raise NotFound("order", venue_order_id)
        answer = await self._call(call, self._reading(f"/orders/{venue_order_id}"), self._limits.order)
        if answer.heard.status == HTTPStatus.NOT_FOUND:
            return Reply(answer.heard, error=NotFound("order", venue_order_id))
        reply = _reply(call, answer, wire.read_order)
        if reply.value is not None and reply.value.id != venue_order_id:
            error = VenueMisbehaved(
                f"The exchange's answer to {call} is about another order: the field `id`."
            )
            return Reply(answer.heard, error=error)
        return reply

    async def connect(self) -> None:
        """Have a connection ready for an order."""
        if self._transport.ready():
            return None
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            with self._limits.connect():
                return await self._transport.connect()
        except TimeoutError:
            why = f"no connection within {self._limits.connect.seconds:g} s"
        except httpx2.ConnectError as error:
            why = _why(error)
        except Exception:  # noqa: BLE001 - whatever a transport raises, nothing was sent
            why = NOT_MADE
        raise self._unreachable(why, clock() - began)

    async def place_order(self, request: OrderRequest) -> Reply[Outcome]:
        """`POST /orders`: the one request for a quote, its body exactly `request.body`."""
        body = request.body.encode()
        answer = await self._call("POST /orders", self._ordering, self._limits.send, body)
        return Reply(answer.heard, wire.order_outcome(request, answer.heard.status, answer.body))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.aclose()
        self._limits.close()

    async def _call(self, call: str, head: Head, limit: TimeLimit, body: bytes = b"") -> _Whole:
        """One request and its whole answer. Raises `CallFailed`."""
        clock = asyncio.get_running_loop().time
        sent = clock()
        try:
            with limit():
                answer = await self._transport.send(head, body)
                answered = clock()
                told = _headers(answer)
                try:
                    most = MAX_ANSWER if answer.status in wire.SUCCESS else MAX_REFUSAL
                    content = await _read(answer, told, most)
                finally:
                    await answer.aclose()
        except TimeoutError:
            failure = CallFailed(
                "timeout", f"{call} was not answered within {limit.seconds:g} s.", clock() - sent
            )
        except _TooLarge:
            words = f"The exchange's answer to {call} is larger than {MAX_ANSWER // 2**20} MiB."
            failure = CallFailed("answer_too_large", words, clock() - sent)
        except httpx2.ConnectError as error:
            failure = self._unreachable(_why(error), clock() - sent)
        except Exception:  # noqa: BLE001 - whatever a transport raises, there was no answer
            words = f"The connection was lost before {call} was answered."
            failure = CallFailed("connection_lost", words, clock() - sent)
        else:
            return self._whole(answer.status, told, content, (sent, answered, clock()))
        # Raised out here, so that it does not carry the transport's error along, whose request holds the key.
        raise failure

    def _unreachable(self, why: str, seconds: float) -> CallFailed:
        return CallFailed("not_connected", f"{self._host} cannot be reached: {why}.", seconds)

    def _whole(
        self, status: int, told: dict[bytes, str], content: bytes, times: tuple[float, float, float]
    ) -> _Whole:
        if status not in wire.SUCCESS and self._key in content:
            content = content.replace(self._key, b"[key]")
        date = None if b"age" in told else told.get(b"date")
        heard = Heard(status, *times, date=date, retry_after=told.get(b"retry-after"))
        return _Whole(heard, content, told)


def _why(error: Exception) -> str:
    """Why a connection was not made, as the system puts it and without its numbers: "connection refused"."""
    words = _ERRNO.sub("", str(error))[:MAX_WHY] or NOT_MADE
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


class _TooLarge(Exception):
    """A success whose body does not end within the bound."""


def _headers(answer: Answer) -> dict[bytes, str]:
    """The headers of an answer that mean something here, by their names in small letters."""
    told: dict[bytes, str] = {}
    for name, value in answer.headers:
        if (known := name.lower()) in _TELLING:
            text = value.decode("latin-1")
            told[known] = f"{told[known]}, {text}" if known in told else text
    return told


async def _read(answer: Answer, told: dict[bytes, str], limit: int) -> bytes:
    """The body. Beyond `limit`, a refusal is cut short and a success is given up."""
    parts: AsyncIterable[bytes] = answer
    if b"content-encoding" in told:
        parts = httpx2.Response(answer.status, headers=list(answer.headers), stream=answer).aiter_bytes()
    content: list[bytes] = []
    size = 0
    async for part in parts:
        content.append(part)
        size += len(part)
        if size > limit:
            if limit == MAX_ANSWER:
                raise _TooLarge
            return b"".join(content)[:limit]
    return content[0] if len(content) == 1 else b"".join(content)


def _reply(call: str, answer: _Whole, read: Callable[[str, bytes], T], *, listed: bool = False) -> Reply[T]:
    """What an answer to anything but an order means."""
    heard = answer.heard
    if heard.status not in wire.SUCCESS:
        return Reply(heard, error=_refusal(call, heard.status, answer.body))
    try:
        value = read(call, answer.body)
    except VenueMisbehaved as error:
        return Reply(heard, error=error)
    if listed:
        rows = cast("Sequence[Any]", value)
        if mark := paging.mark_in_headers(answer.told, len(rows)):
            doubt = f"the header {mark} says that it goes on"
            value = cast("T", Listing(rows, "; ".join(filter(None, (doubt, doubt_of(rows))))))
    return Reply(heard, value)


async def _built(call: str, shapes: Reply[Sequence[S]], build: Callable[[str, S], T]) -> Reply[Sequence[T]]:
    """The values of a list's shapes, built in slices so that a long list does not hold up everyone else."""
    if shapes.value is None:
        return Reply(shapes.heard, error=shapes.error)
    values: list[T] = []
    odd: VenueMisbehaved | None = None
    for start in range(0, len(shapes.value), SLICE):
        if start:
            await asyncio.sleep(0)
        for shape in shapes.value[start : start + SLICE]:
            try:
                values.append(build(call, shape))
            except VenueMisbehaved as error:
                odd = odd or error
    if odd is not None and not values:
        return Reply(shapes.heard, error=odd)
    return Reply(shapes.heard, wire.listing(values, doubt_of(shapes.value), odd))


def _refusal(call: str, status: int, body: bytes) -> DeskError:
    """The error for an answer to a read or a quote that is not a success."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return VenueUnavailable(f"The exchange refuses this desk's API key ({status} to {call}).")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return VenueBusy(f"The exchange asks for fewer calls (429 to {call}).")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return VenueUnavailable(f"The exchange failed to answer {call} ({status}).")
    reasons = "; ".join(read_reasons(body).words[:2]) if status >= HTTPStatus.BAD_REQUEST else ""
    return VenueMisbehaved(f"The exchange answered {call} with {status}{': ' if reasons else ''}{reasons}.")


def _checked_base(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url.rstrip("/"))
    except httpx2.InvalidURL:
        raise ValueError("the exchange's address is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("the exchange's address must begin with http:// or https:// and name a host")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("the exchange's address must hold no password, query or fragment")
    return url


def _checked_key(api_key: str) -> bytes:
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("the API key must be printable ASCII without blanks")
    return api_key.encode("ascii")
