"""The door: who may talk to the desk, and what every answer carries.

- The `Host` header must name this desk, so that no other site's name can be pointed at it (DNS rebinding).
- Whatever changes something must come from one of its own pages, or from a program that is no browser (CSRF).
- Bodies have a bound. Every answer carries the content security policy and its kin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY: Final = 65_536
"""Bytes of a request's body: forms and API calls are around 200."""

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware in front of everything."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOCAL_HOSTS | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        answer: ASGIApp = PlainTextResponse(refusal[1], refusal[0]) if refusal else self._app

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                if "Cache-Control" not in answered:
                    answered["Cache-Control"] = "no-store"
            await send(message)

        await answer(scope, _bounded(receive), dressed)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = _host_name(headers.get("host", ""))
        if host not in self._hosts:
            return 421, "This desk does not answer to that host name."
        if method in SAFE_METHODS:
            return None
        if not self._own(headers):
            return 403, "This request comes from another site and was not carried out."
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY:
            return 413, f"A request may carry at most {MAX_BODY} bytes."
        return None

    def _own(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from a page of this desk, or from no browser."""
        site = headers.get("sec-fetch-site")
        if site is not None and site not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc == headers.get("host")


class BodyTooLarge(Exception):
    """More arrived than was announced or is allowed."""


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise BodyTooLarge
        return message

    return counted


def _host_name(host: str) -> str:
    """`[::1]:4000` → `::1`; empty when it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
