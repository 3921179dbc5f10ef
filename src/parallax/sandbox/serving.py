"""The sandbox on a socket: beside the desk in one event loop, or as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from random import SystemRandom
from typing import Final

from parallax.http_server import HttpServer, Refusals, connections_within, raise_file_limit
from parallax.sandbox.app import BASE_PATH, SandboxApp

FREE_PORTS: Final = range(20_000, 32_768)
"""Where a free port is looked for: below what systems hand out to outgoing connections, so that none is in
the way."""

PORT_ATTEMPTS: Final = 100
"""How many random ports are tried before giving up."""

SHUTDOWN_SECONDS: Final = 1
"""How long calls under way may take once the sandbox stops; those a fault holds up are dropped at once."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

FILE_SHARE: Final = 4
"""Connections take at most one in so many of the files that the process may open: a desk may run beside it."""


def bind(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket on `host` and `port`; 0 takes a free port of `FREE_PORTS`.

    Raises `OSError` when the address is taken or is none of this machine's.
    """
    if port:
        return _listen(host, port)
    chance = SystemRandom()
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return _listen(host, chance.choice(FREE_PORTS))
        except OSError:
            continue
    return _listen(host, chance.choice(FREE_PORTS))


def base_url(sock: socket.socket) -> str:
    """The base URL (ending in `/api`) of an exchange served on `sock`."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{BASE_PATH}"


@asynccontextmanager
async def running_sandbox(
    app: SandboxApp, *, host: str = "127.0.0.1", port: int = 0, sock: socket.socket | None = None
) -> AsyncGenerator[str]:
    """Serve `app` in the running event loop; gives its base URL, stops it at the end and closes the socket.

    Installs no signal handlers and touches no logging. Raises `OSError` before serving when the address is
    taken, and what the rate source raises for a pair it does not know.
    """
    with closing(sock or bind(host, port)) as listening:
        app.exchange.warm()  # not during the first call, which would hold up the desk in the same loop
        ready = asyncio.Event()
        server = _Server(app, ready.set)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="sandbox exchange")
        try:
            started = asyncio.create_task(ready.wait())
            await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if serving.done():
                serving.result()
                raise OSError("The sandbox exchange stopped while starting")
            yield base_url(listening)
        finally:
            server.should_exit = True
            await asyncio.shield(serving)


async def serve(
    app: SandboxApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sock: socket.socket | None = None,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve `app` until `stop` is set, or SIGINT, SIGTERM or SIGHUP arrives; then end calls under way and return.

    `ready` is called with the base URL once calls are answered. Raises as `running_sandbox` does.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running_sandbox(app, host=host, port=port, sock=sock) as url:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        try:
            if ready is not None:
                ready(url)
            await stop.wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(
            BACKLOG
        )  # now, not later: two sockets may be bound to one address, but only one may listen
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class _Server(HttpServer):
    """The HTTP server of the exchange, which drops held-up calls when it stops."""

    def __init__(self, app: SandboxApp, ready: Callable[[], None]) -> None:
        super().__init__(
            app,
            limit=connections_within(raise_file_limit() // FILE_SHARE),
            refusals=Refusals(),
            ready=ready,
            drain_seconds=SHUTDOWN_SECONDS,
            backlog=BACKLOG,
            date_header=False,  # the exchange has its own clock, which may be off
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.restart()
        await super().shutdown(sockets)
