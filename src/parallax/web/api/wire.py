"""Requests and answers of the API, as thin as ASGI allows: what the hot paths pay for is all that is here.

A handler takes a `Request` and returns a `Reply`: an `Answer` of known bytes, or something longer that writes itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from parallax.web.api.errors import ApiError
from parallax.web.security import LATE, TOO_LARGE, BodyLate, BodyTooLarge

MAX_QUERY: Final = 4_096
"""Bytes of a query string: a cursor, two instants and every kind of fact fit several times."""

MAX_PARAMETERS: Final = 64
"""Parameters of one query string."""

MAX_GATHERED: Final = 1_048_576
"""Bytes of a list that are held before it is sent: about 3,500 quotes. A longer one goes out as it is made."""

Headers = tuple[tuple[bytes, bytes], ...]

CLOSING: Final[Headers] = ((b"connection", b"close"),)
"""On a refusal that leaves a body unread."""

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"

encode: Final = msgspec.json.Encoder().encode
"""A value as JSON bytes."""


class ClientGone(Exception):
    """The client left before its request was complete; nobody waits for an answer."""


class Request(Struct):
    """One call. `path` is below the API's root, `target` the id in it, if any."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    scope: Scope
    receive: Receive
    target: str = ""

    @classmethod
    def of(cls, scope: Scope, receive: Receive, root: str) -> Request:
        """The request of an ASGI call below `root`. A base URL that was set with a slash at its end doubles it."""
        path = "/" + scope["path"][len(root) :].lstrip("/")
        return cls(scope["method"], path, scope["query_string"], dict(scope["headers"]), scope, receive)

    def text(self, header: bytes) -> str | None:
        """A header's value (lowercase name), or None without it."""
        value = self.headers.get(header)
        return None if value is None else value.decode("latin-1")

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated, the values joined by commas. Raises `ApiError`."""
        return _parameters(self.query) if self.query else {}

    async def body(self) -> bytes:
        """The whole body. Raises `ApiError` beyond the bounds, `ClientGone` when it will not arrive."""
        body = b""
        try:
            while (message := await self.receive())["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    return body
        except BodyTooLarge:
            raise ApiError("body_too_large", TOO_LARGE, {"body": [TOO_LARGE]}, headers=CLOSING) from None
        except BodyLate:
            raise ApiError("body_late", LATE, {"body": [LATE]}, headers=CLOSING) from None
        raise ClientGone


class Reply(Protocol):
    """What a handler returns: it can write itself to the client."""

    async def deliver(self, send: Send) -> None:
        """Send it."""
        ...


class Answer(Struct, frozen=True):
    """A reply of known bytes. One that does not `last` (something was in the way that may pass) is not given again
    to a repeated request: that one is tried anew."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = JSON
    lasts: bool = True

    async def deliver(self, send: Send) -> None:
        """Send it in one piece."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [
                    (b"content-type", self.content_type),
                    (b"content-length", b"%d" % len(self.body)),
                    *self.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True, slots=True)
class Pieces:
    """A reply too long to be made in one go: its pieces are sent as they come. See `gathered`."""

    first: list[bytes]
    rest: AsyncIterator[bytes]

    async def deliver(self, send: Send) -> None:
        """Send piece after piece, waiting for a reader that is slower than we are."""
        headers = [(b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self.first:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        async for piece in self.rest:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def gathered(pieces: AsyncIterator[bytes]) -> Reply:
    """A reply made of pieces: one with a length, as simple clients want it, unless it is very long."""
    first: list[bytes] = []
    size = 0
    async for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size > MAX_GATHERED:
            return Pieces(first, pieces)
    return Answer(200, b"".join(first))


def enveloped(value: object, **beside: object) -> bytes:
    """`{"data": …}`, the exchange's envelope, with what stands `beside` it."""
    return encode({"data": value, **beside})


def rows(encoded: list[bytes], meta: bytes = b"") -> bytes:
    """The envelope around rows that are JSON already."""
    end = b'],"meta":' + meta + b"}" if meta else b"]}"
    return b'{"data":[' + b",".join(encoded) + end


def read_object(body: bytes, kind: Any) -> Any:
    """The JSON object in a body, as a struct of `kind`. Raises `ApiError`: 400 when it is not JSON, 422 when it is
    not an object of that shape."""
    try:
        body.decode()  # a raw part that is never looked at could hide bytes that are not UTF-8
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(
            "request_invalid", "The body is not what this call takes.", {"body": [str(error)]}
        ) from None
    except (ValueError, RecursionError):
        words = "The body is empty; send a JSON object." if not body else "The body is not JSON in UTF-8."
        raise ApiError("body_unreadable", words, {"body": [words]}) from None


@lru_cache(maxsize=1024)
def _parameters(query: bytes) -> dict[str, str]:
    if len(query) > MAX_QUERY:
        raise ApiError("request_invalid", f"A query has at most {MAX_QUERY} characters.")
    if query.count(b"&") >= MAX_PARAMETERS:
        raise ApiError("request_invalid", f"A query has at most {MAX_PARAMETERS} parameters.")
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise ApiError(
            "request_invalid", "The query is not readable: encode it as UTF-8, in percents."
        ) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
