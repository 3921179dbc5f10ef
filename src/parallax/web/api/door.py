"""Who may talk to the API: programs on this machine, and pages of other sites only where the operator has named them.

There is no login; the desk listens on a loopback address. What is left is the browser, which any web page can make call
us. So a host name that is not ours is turned away (DNS rebinding), and so is a request that changes something and comes
from another site's page (CSRF), whatever its content type. `allowed_origins` opens the door to named sites (CORS).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from parallax.web.api.errors import ApiError
from parallax.web.api.wire import Answer, Headers, Request
from parallax.web.guard import LOCAL_HOSTS

CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

PREFLIGHT_SECONDS: Final = 600
"""How long a browser may remember what it may ask."""

ALWAYS: Final[Headers] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""On every answer of the API."""

_EXPOSED: Final = b"Idempotency-Replayed, Location, Retry-After"
_ACCEPTED: Final = b"Content-Type, Idempotency-Key, Last-Event-ID, X-Api-Key"


class Door:
    """Lets requests in. `hosts` are further names that the desk answers to, `allowed_origins` sites like
    "https://desk.example" whose pages may call it."""

    def __init__(self, hosts: Iterable[str], allowed_origins: Iterable[str]) -> None:
        self._hosts = LOCAL_HOSTS | {host.lower() for host in hosts}
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in allowed_origins)
        # Per instance: which hosts are ours differs.
        self._serves = lru_cache(maxsize=256)(self._is_served)

    def check(self, request: Request, *, keyed: bool = False) -> Headers:
        """The headers that its answer must carry. Raises `ApiError` when it may not come in.

        With `keyed`, a request with an `X-Api-Key` may name any origin: a proxy that adds the key hands the browser's
        on. No page of another site can send that header: its browser asks first, and is refused (`preflight`).
        """
        headers = request.headers
        if not self._serves(headers.get(b"host", b"")):
            raise ApiError("host_not_served", "This desk does not answer to that host name.")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() in self._origins:
            return (
                *ALWAYS,
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
                (b"cross-origin-resource-policy", b"cross-origin"),
                (b"vary", b"Origin"),
            )
        if keyed and b"x-api-key" in headers:
            return ALWAYS
        if request.method in CHANGING and not _is_own(headers, origin):
            raise ApiError(
                "origin_not_allowed", "This request comes from another site's page and was not carried out."
            )
        return ALWAYS

    def preflight(self, request: Request, methods: Iterable[str]) -> Answer | None:
        """The answer to a browser that asks whether a page of an allowed site may call, or None."""
        headers = request.headers
        if headers.get(b"origin", b"").lower() not in self._origins or (
            b"access-control-request-method" not in headers
        ):
            return None
        return Answer(
            204,
            b"",
            (
                (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
                (b"access-control-allow-headers", _ACCEPTED),
                (b"access-control-allow-private-network", b"true"),
                (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
            ),
        )

    def _is_served(self, host: bytes) -> bool:
        return _host_name(host) in self._hosts


def _is_own(headers: dict[bytes, bytes], origin: bytes | None) -> bool:
    """Whether a request comes from a page of this desk, or from no browser."""
    if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        return False
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


def _host_name(host: bytes) -> str:
    """`[::1]:4000` → `::1`; empty when it is no host."""
    try:
        return (urlsplit(f"//{host.decode('ascii')}").hostname or "").lower()
    except ValueError:
        return ""
