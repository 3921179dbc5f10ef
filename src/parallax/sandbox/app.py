"""The exchange over HTTP: an ASGI application written by hand, because it stands inside simulations and
benchmarks.

Way of a call: key → route → note it → faults that strike → carry it out → deliver. Where nothing is wrong
there is no task, no timer and no copy on that way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from hmac import compare_digest
from typing import Any, Final

from parallax.http_server import CLOSE
from parallax.sandbox import control
from parallax.sandbox.call import (
    Answer,
    Call,
    ConnectionDropped,
    Connections,
    Message,
    Receive,
    Scope,
    Send,
    client_gone,
)
from parallax.sandbox.exchange import Exchange
from parallax.sandbox.faults import Hit
from parallax.sandbox.plan import Fault
from parallax.sandbox.refusals import REFUSAL_SHAPES, Refusal
from parallax.sandbox.stats import ABANDONED, DROPPED

BASE_PATH: Final = "/api"
"""Where the wire's calls live; the control door is beside it."""

MAX_BODY_BYTES: Final = 65_536
"""Largest request body read; an order is two hundred bytes."""

TRICKLE_PIECES: Final = 20
"""Most pieces a slow answer is sent in."""

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_COLLECTIONS: Final = {
    "/users": {"GET": "users"},
    "/quotes": {"GET": "quotes", "POST": "quote_create"},
    "/orders": {"POST": "order_create"},
}


class SandboxApp:
    """The ASGI application around one exchange. Make it with `create_app`."""

    def __init__(self, exchange: Exchange, api_key: str, *, control: bool = True) -> None:
        if not api_key:
            raise ValueError("The sandbox needs an API key")
        self.exchange = exchange
        self.connections = Connections()
        self._key = api_key.encode()
        self._control = control
        self._users_body = _wrap(
            [json.dumps(asdict(user)).encode() for user in exchange.users.values()], many=True
        )
        self._carriers: dict[str, Callable[[Call], Answer]] = {
            "users": self._users,
            "quotes": self._quotes,
            "quote_create": self._create_quote,
            "order_create": self._create_order,
            "order": self._order,
            "orders": self._orders,
        }

    def restart(self, down_seconds: float = 0.0) -> None:
        """Drop every call under way, and each that comes within `down_seconds`; state is kept."""
        self.connections.restart(self.exchange.now(), down_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call. In process, raises `ConnectionDropped` where a socket would be closed."""
        if scope["type"] != "http":
            await _serve_other(scope, receive, send)
            return
        path: str = scope["path"]
        if path.startswith(BASE_PATH) and not path.startswith("/api/_"):
            await self._serve_wire(scope, path.removeprefix(BASE_PATH), receive, send)
        else:
            await self._serve_control(scope, path.removeprefix(BASE_PATH), receive, send)

    async def _serve_wire(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        stats = self.exchange.stats
        kind = "other"
        date_skew = 0.0
        try:
            try:
                kind, target = route(scope["method"], path)
            finally:
                stats.came(kind)
            call = Call(kind, target, receive, self.connections)
            answer = await self._answer(call, scope)
            date_skew = call.skew_seconds + call.date_skew_seconds
            await self._deliver(answer, send, date_skew)
            stats.answered(kind, answer.status)
        except Refusal as refusal:
            authorized = self._has_key(scope)
            answer = self._refuse(refusal if authorized else _unauthorized(scope))
            await self._deliver(answer, send, date_skew)
            stats.answered(kind, answer.status)
        except ConnectionDropped:
            stats.answered(kind, DROPPED)
            close = scope.get("extensions", {}).get(CLOSE)
            if close is None:
                raise
            close()
            await client_gone(receive)
        except asyncio.CancelledError:
            stats.answered(kind, ABANDONED)
            raise

    async def _answer(self, call: Call, scope: Scope) -> Answer:
        exchange, connections = self.exchange, self.connections
        start = connections.starts
        body = b""
        oversized = None
        if scope["method"] == "POST":
            try:
                body = await read_body(call.receive)
            except Refusal as refusal:
                oversized = refusal
        authorized = self._has_key(scope)
        refusal = _unauthorized(scope) if not authorized else oversized
        if call.kind == "order_create":
            # Noted before anything else can happen to it: the record must hold requests that faults swallow.
            call.request = exchange.note_body(body) if oversized is None else exchange.note_request()
        if connections.starts != start or connections.is_down(exchange.now):
            raise ConnectionDropped("the exchange is down")
        if refusal is not None:
            if call.request is not None:
                exchange.note_refusal(call.request, refusal)
            raise refusal
        if call.kind == "quote_create" and body:
            _check_json(body)
        if not exchange.faults.active:
            return self._carry_out(call)
        exchange.faults.prune(exchange.now())
        return await self._through(list(exchange.faults.active), call)

    async def _through(self, faults: list[Fault], call: Call) -> Answer:
        fault, behind = self.exchange.faults.strike(faults, call.kind)
        if fault is None:
            return self._carry_out(call)
        proceed = partial(self._through, behind, call)
        return await fault.kind.run(Hit(self.exchange, call, fault.params, proceed))

    def _carry_out(self, call: Call) -> Answer:
        try:
            return self._carriers[call.kind](call)
        except Refusal as refusal:
            return self._refuse(refusal)

    # The six calls

    def _users(self, _call: Call) -> Answer:
        return Answer(200, self._users_body)

    def _quotes(self, _call: Call) -> Answer:
        return Answer(200, _wrap(self.exchange.quote_rows(), many=True))

    def _create_quote(self, call: Call) -> Answer:
        quote = self.exchange.create_quote(skew_seconds=call.skew_seconds)
        return Answer(self.exchange.settings.created_status, _wrap([quote.row]))

    def _create_order(self, call: Call) -> Answer:
        assert call.request is not None, "an order request is noted before it is carried out"
        call.order = self.exchange.place_order(call.request, skew_seconds=call.skew_seconds)
        return Answer(self.exchange.settings.created_status, _wrap([call.order.row("pending")]))

    def _order(self, call: Call) -> Answer:
        order = self.exchange.order(call.target)
        return Answer(200, _wrap([order.row(order.status(self.exchange.now()))]))

    def _orders(self, call: Call) -> Answer:
        return Answer(200, _wrap(self.exchange.order_rows(call.target), many=True))

    # Ways back

    def _has_key(self, scope: Scope) -> bool:
        key = _header(scope, b"x-api-key")
        return key is not None and compare_digest(key, self._key)

    def _refuse(self, refusal: Refusal) -> Answer:
        body, content_type = REFUSAL_SHAPES[self.exchange.settings.refusal_shape](refusal)
        return Answer(refusal.status, body, content_type, _refusal_headers(refusal))

    async def _deliver(self, answer: Answer, send: Send, skew_seconds: float) -> None:
        date = http_date(self.exchange.venue_now(skew_seconds))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (b"date", date),
                    (b"content-type", answer.content_type),
                    (b"content-length", str(len(answer.body)).encode()),
                    *answer.headers,
                ],
            }
        )
        if answer.sent_share < 1.0:
            part = answer.body[: int(len(answer.body) * answer.sent_share)]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            raise ConnectionDropped("the answer was cut off")
        if answer.trickle_seconds > 0:
            await self._trickle(answer, send)
        else:
            await send({"type": "http.response.body", "body": answer.body})

    async def _trickle(self, answer: Answer, send: Send) -> None:
        body, size = answer.body, max(1, -(-len(answer.body) // TRICKLE_PIECES))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for piece in pieces:
            await self.connections.pause(answer.trickle_seconds / len(pieces))
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _serve_control(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """The control door answers in one shape whatever the wire's is, and no fault reaches it."""
        try:
            answer = await self._answer_control(scope, path, receive)
        except Refusal as refusal:
            body, content_type = REFUSAL_SHAPES["both"](refusal)
            answer = Answer(refusal.status, body, content_type, _refusal_headers(refusal))
        except ConnectionDropped as error:  # the record's file takes no more
            body, content_type = REFUSAL_SHAPES["both"](Refusal(507, {"state": [str(error)]}))
            answer = Answer(507, body, content_type)
        await self._deliver(answer, send, 0.0)

    async def _answer_control(self, scope: Scope, path: str, receive: Receive) -> Answer:
        if not self._has_key(scope):
            raise _unauthorized(scope)
        if not self._control:
            raise Refusal(404, {"path": ["not found"]})
        body = await read_body(receive) if scope["method"] == "POST" else b""
        status, document = control.handle(self, scope["method"], path, body)
        return Answer(status, json.dumps({"data": document}).encode())


def create_app(exchange: Exchange, api_key: str, *, control: bool = True) -> SandboxApp:
    """The exchange as an ASGI application that wants `api_key` on every call.

    `control=False` takes away `/_control`, `/_stats` and `/_record`.
    """
    return SandboxApp(exchange, api_key, control=control)


def route(method: str, path: str) -> tuple[str, str]:
    """The kind of call, and the id in its path ("" when it has none). Raises `Refusal` (404, 405).

    A slash too many, as from a base URL that ends in one, does no harm.
    """
    methods, target = _COLLECTIONS.get(path), ""
    parts = ["", *filter(None, path.split("/"))] if methods is None else []
    if methods is None:
        methods = _COLLECTIONS.get("/".join(parts))
    if methods is None:
        if len(parts) == 3 and parts[1] == "orders":
            methods, target = {"GET": "order"}, parts[2]
        elif len(parts) == 4 and parts[1] == "users" and parts[3] == "orders":
            methods, target = {"GET": "orders"}, parts[2]
        else:
            raise Refusal(404, {"path": ["not found"]})
    kind = methods.get(method)
    if kind is None:
        raise Refusal(405, {"method": ["not allowed"]}, allow=", ".join(methods))
    return kind, target


async def read_body(receive: Receive) -> bytes:
    """The request's body. Raises `Refusal` (413) past the bound, `ConnectionDropped` when the client goes."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message["type"] == "http.request" and message.get("more_body"):
        if len(body) > MAX_BODY_BYTES:
            break
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ConnectionDropped("the client left before its request was complete")
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(413, {"body": [f"is larger than {MAX_BODY_BYTES} bytes"]})
    return body


def http_date(at: datetime) -> bytes:
    """`at` (aware UTC) as a Date header's value."""
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    ).encode()


def _wrap(rows: list[bytes], *, many: bool = False) -> bytes:
    joined = b",".join(rows)
    return b'{"data":[' + joined + b"]}" if many else b'{"data":' + joined + b"}"


def _header(scope: Scope, name: bytes) -> bytes | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for header, value in headers:
        if header == name:
            return value
    return None


def _unauthorized(scope: Scope) -> Refusal:
    given = _header(scope, b"x-api-key")
    return Refusal(401, {"api_key": ["is missing" if given is None else "is not valid"]})


def _refusal_headers(refusal: Refusal) -> tuple[tuple[bytes, bytes], ...]:
    headers: list[tuple[bytes, bytes]] = []
    if refusal.allow is not None:
        headers.append((b"allow", refusal.allow.encode()))
    if refusal.status == 413:
        headers.append((b"connection", b"close"))
    return tuple(headers)


def _check_json(body: bytes) -> None:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, {"body": ["is not valid JSON"]}) from None


async def _serve_other(scope: Scope, receive: Receive, send: Send) -> None:
    """Lifespan, which asks for nothing here; web sockets are turned away."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message: Message = await receive()
        step: Any = message["type"]
        await send({"type": f"{step}.complete"})
        if step == "lifespan.shutdown":
            return
