"""Conversations over HTTP: one request, or one stream, at a time; what is lost is told, never raised.

What is lost before a connection stood has not left; anything later may have arrived.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from parallax import __version__
from parallax.client.calls import Ask, Lost, Reply
from parallax.client.stream import SILENCE

DEFAULT_URL: Final = "http://127.0.0.1:4000"
"""Where a desk is unless its settings say otherwise."""

TIMEOUT: Final = 60.0
"""Seconds that the desk may take to answer, unless told otherwise: an order waits for the exchange's answer."""

CONNECT_SECONDS: Final = 5.0
"""Seconds that a connection may take to stand."""

MAX_CONNECTIONS: Final = 200
"""Connections of one client; further calls wait for one. Each `watch` holds one."""

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of one answer: a page of a thousand orders is below one megabyte."""

_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)
_ROOT: Final = "/api"


def base_of(url: str) -> str:
    """The API's root at a desk's address, given with or without `/api`. Raises `ValueError`."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
        parts = urlsplit("")
    if not plain or parts.query or parts.fragment or " " in url or not url.isprintable():
        raise ValueError(f"{url[:80]!r} is no address of a desk; one looks like {DEFAULT_URL}")
    return url.rstrip("/").removesuffix(_ROOT) + _ROOT


def _options(timeout: float) -> dict[str, Any]:
    return {
        "timeout": httpx2.Timeout(timeout, connect=CONNECT_SECONDS),
        "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS),
        "headers": {"User-Agent": f"parallax/{__version__}"},
        "trust_env": False,  # a proxy that the environment names has no business between a program and its desk
        "follow_redirects": False,
    }


def _lost(error: httpx2.HTTPError, url: str, insist: bool) -> Lost:
    late = isinstance(error, httpx2.TimeoutException)
    left = not isinstance(error, _NOT_SENT)
    what = (
        "did not answer in time" if late and left else "lost the connection" if left else "cannot be reached"
    )
    hint = "" if left else "; is it running? (parallax serve)"
    # After a whole time-out a further one is not worth waiting for.
    return Lost(
        f"The desk at {url.removesuffix(_ROOT)} {what}{hint}", left, again=not late if left else insist
    )


def _too_long() -> Reply:
    return Reply(200, b"")


def _is_stream(response: httpx2.Response) -> bool:
    return response.status_code == 200 and response.headers.get("content-type", "").startswith(
        "text/event-stream"
    )


class Http:
    """For async programs."""

    def __init__(self, url: str, timeout: float, insist: bool) -> None:
        self.url = base_of(url)
        self._insist = insist
        self._http = httpx2.AsyncClient(**_options(timeout))

    async def ask(self, ask: Ask) -> Reply | Lost:
        """One request and its answer."""
        try:
            async with self._http.stream(
                ask.method, self.url + ask.path, content=ask.body, headers=dict(ask.headers)
            ) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        return _too_long()
                return Reply(response.status_code, bytes(body))
        except httpx2.HTTPError as error:
            return _lost(error, self.url, self._insist)

    async def stream(self, ask: Ask) -> AsyncGenerator[bytes | Reply | Lost]:
        """Pieces of a stream until it ends; a `Reply` when it is none, a `Lost` when its connection goes."""
        patience = httpx2.Timeout(SILENCE, connect=CONNECT_SECONDS)
        try:
            async with self._http.stream(
                ask.method, self.url + ask.path, headers=dict(ask.headers), timeout=patience
            ) as response:
                if not _is_stream(response):
                    yield Reply(response.status_code, (await response.aread())[:MAX_ANSWER])
                    return
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx2.HTTPError as error:
            yield _lost(error, self.url, self._insist)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._http.aclose()


class BlockingHttp:
    """For programs without a loop."""

    def __init__(self, url: str, timeout: float, insist: bool) -> None:
        self.url = base_of(url)
        self._insist = insist
        self._http = httpx2.Client(**_options(timeout))

    def ask(self, ask: Ask) -> Reply | Lost:
        """One request and its answer."""
        try:
            with self._http.stream(
                ask.method, self.url + ask.path, content=ask.body, headers=dict(ask.headers)
            ) as response:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        return _too_long()
                return Reply(response.status_code, bytes(body))
        except httpx2.HTTPError as error:
            return _lost(error, self.url, self._insist)

    def stream(self, ask: Ask) -> Generator[bytes | Reply | Lost, None, None]:
        """Pieces of a stream until it ends; a `Reply` when it is none, a `Lost` when its connection goes."""
        patience = httpx2.Timeout(SILENCE, connect=CONNECT_SECONDS)
        try:
            with self._http.stream(
                ask.method, self.url + ask.path, headers=dict(ask.headers), timeout=patience
            ) as response:
                if not _is_stream(response):
                    yield Reply(response.status_code, response.read()[:MAX_ANSWER])
                    return
                yield from response.iter_bytes()
        except httpx2.HTTPError as error:
            yield _lost(error, self.url, self._insist)

    def close(self) -> None:
        """Let go of every connection."""
        self._http.close()
