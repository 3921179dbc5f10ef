"""Who may talk to the desk, and what every answer carries: in front of pages, API and streams alike.

There is no login; the desk listens on a loopback address. What is left is the browser, which any web page can make call
us:

- The `Host` header must name this desk, once, so that no other site's name can be pointed at it (DNS rebinding).
- Whatever changes something must come from one of its own pages, or from a program that is no browser (CSRF).
- Another site's page reads nothing, not even as an image or a script; it may link to pages.
- Sites that the operator has named (`origins`) may call the API (CORS).
- Bodies are bounded in size and time, and every answer carries the content security policy and its kin.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parallax.http_server import RawHeaders, Refusals
from parallax.ports.time_limit import TimeLimit

MAX_BODY: Final = 65_536
"""Bytes of a request's body: forms and API calls are around 200."""

MAX_LENGTH_DIGITS: Final = 20
"""Digits of an announced length that are looked at: more are too large whatever they say."""

BODY_SECONDS: Final = 20
"""How long a body may take to arrive."""

PREFLIGHT_SECONDS: Final = 600
"""How long a browser may remember what it may ask."""

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)

HEADERS: Final[RawHeaders] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer that does not say otherwise."""

_EXPOSED: Final = b"Idempotency-Replayed, Location, Retry-After"
_ACCEPTED: Final = b"Content-Type, Idempotency-Key, Last-Event-ID, X-Api-Key"
_METHODS: Final = b"GET, POST"

_HOST: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")

Refuse = Callable[[Scope, Receive, Send, str, str], Awaitable[None]]
"""Answers a call that is turned away, given the code and the words."""


TOO_LARGE: Final = f"A request may carry at most {MAX_BODY} bytes."
LATE: Final = f"The body did not arrive within {BODY_SECONDS} seconds; nothing was done."


class BodyTooLarge(HTTPException):
    """More arrived than was announced or is allowed."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE, {"Connection": "close"})


class BodyLate(HTTPException):
    """The body did not arrive in time."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, LATE, {"Connection": "close", "Retry-After": "2"})


class Security:
    """ASGI middleware in front of everything.

    `hosts` are names that the desk answers to besides this machine's own, `origins` sites like "https://desk.example"
    whose pages may call the API, whose paths begin with one of `api`; from other sites `linked` alone of these may be
    opened. Below `keyed`, a request with an `X-Api-Key` may name any origin: a proxy that adds the key hands the
    browser's on, and no page of another site can send that header, as its browser asks first. `refuse` answers what is
    turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        refuse: Refuse,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        api: tuple[str, ...] = ("/api", "/exchange/api"),
        keyed: str = "/exchange/api",
        linked: frozenset[str] = frozenset({"/api/docs"}),
        refusals: Refusals | None = None,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._hosts = LOCAL_HOSTS | {host.lower() for host in hosts}
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._api, self._linked, self._keyed = api, linked, keyed
        self._refusals = refusals or Refusals()
        self._patience = TimeLimit(BODY_SECONDS)
        # Per instance: which hosts are ours differs.
        self._serves = lru_cache(maxsize=256)(self._is_served)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _turn_away(scope, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        always = HEADERS
        origin = headers.get(b"origin")
        allowed = origin is not None and origin.lower() in self._origins and self._is_api(scope["path"])
        if origin is not None and allowed:
            always = (*_cors(origin), *HEADERS)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name for name, _ in given}
                message["headers"] = [*given, *(one for one in always if one[0] not in names)]
            await send(message)

        refusal = self._refusal(scope, headers, allowed=allowed)
        if refusal is not None:
            self._refusals.note(refusal[0], scope["client"][0] if scope.get("client") else "")
            await self._refuse(scope, receive, dressed, *refusal)
        elif allowed and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await dressed({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
            await dressed({"type": "http.response.body", "body": b""})
        elif scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, dressed)
        else:
            await self._app(scope, self._bounded(receive), dressed)

    def _is_served(self, host: bytes) -> bool:
        return host_name(host) in self._hosts

    def _is_api(self, path: str) -> bool:
        return any(_is_below(root, path) for root in self._api)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes], *, allowed: bool) -> tuple[str, str] | None:
        """The code and the words for a call that is turned away, or None."""
        if not self._serves(headers.get(b"host", b"")) or (
            len(headers) != len(scope["headers"])
            and sum(name == b"host" for name, _ in scope["headers"]) != 1
        ):
            return "host_not_served", "This desk does not answer to that host name."
        changes = scope["method"] not in SAFE_METHODS
        if not allowed and not (b"x-api-key" in headers and _is_below(self._keyed, scope["path"])):
            if changes and not _is_own(headers):
                return "origin_not_allowed", "This request comes from another site and was not carried out."
            if not changes and not self._may_read(scope["path"], headers):
                return (
                    "origin_not_allowed",
                    "This request comes from another site, which may read nothing here.",
                )
        if changes and not _length_fits(headers.get(b"content-length", b"0")):
            return "body_too_large", TOO_LARGE
        return None

    def _may_read(self, path: str, headers: dict[bytes, bytes]) -> bool:
        """Whether what is only read may be: by anybody but another site's page, which may follow links to pages."""
        if _is_own(headers):
            return True
        followed = headers.get(b"sec-fetch-mode") == b"navigate"
        framed = headers.get(b"sec-fetch-dest", b"document") != b"document"
        return followed and not framed and (path in self._linked or not self._is_api(path))

    def _bounded(self, receive: Receive) -> Receive:
        """A request's body as it arrives, within its bounds. Raises `BodyTooLarge` or `BodyLate`."""
        taken = 0
        complete = False
        clock = asyncio.get_running_loop().time
        since = clock()

        async def counted() -> Message:
            nonlocal taken, complete
            if complete:
                return await receive()  # whoever waits now waits for the client to leave
            try:
                with self._patience():
                    message = await receive()
            except TimeoutError:
                raise BodyLate from None
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise BodyTooLarge
            complete = not message.get("more_body")
            if not complete and clock() - since > self._patience.seconds:
                raise BodyLate
            return message

        return counted


def host_name(host: bytes) -> str:
    """The name in a `Host` header in lower case: `[::1]:4000` → `::1`. Empty when it is no host and port."""
    parts = _HOST.fullmatch(host)
    return (parts[1] or parts[2]).decode().lower() if parts else ""


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(root + "/")


def _is_own(headers: dict[bytes, bytes]) -> bool:
    """Whether a request comes from a page of this desk, or from no browser.

    What the browser says of the site goes before a comparison of names, which a proxy between may have changed.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


def _length_fits(length: bytes) -> bool:
    return length.isdigit() and len(length) <= MAX_LENGTH_DIGITS and int(length) <= MAX_BODY


def _cors(origin: bytes) -> RawHeaders:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"vary", b"Origin"),
    )


_PREFLIGHT: Final[RawHeaders] = (
    (b"access-control-allow-methods", _METHODS),
    (b"access-control-allow-headers", _ACCEPTED),
    (b"access-control-allow-private-network", b"true"),
    (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
)


async def _turn_away(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
