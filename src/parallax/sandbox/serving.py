"""The sandbox on a socket: beside the desk in one event loop, or as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from random import SystemRandom
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parallax.sandbox.app import BASE_PATH, CLOSE_EXTENSION, SandboxApp

FREE_PORTS: Final = range(20_000, 32_768)
"""Where a free port is looked for: below what systems hand out to outgoing connections, so that none is in
the way."""

PORT_ATTEMPTS: Final = 100
"""How many random ports are tried before giving up."""

SHUTDOWN_SECONDS: Final = 1
"""How long calls under way may take once the sandbox stops; those a fault holds up are dropped at once."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""


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
        server = _Server(app)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="sandbox exchange")
        try:
            started = asyncio.create_task(server.ready.wait())
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
    """Serve `app` until `stop` is set, or SIGINT or SIGTERM arrives; then end calls under way and return.

    `ready` is called with the base URL once calls are answered. Raises as `running_sandbox` does.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running_sandbox(app, host=host, port=port, sock=sock) as url:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        try:
            if ready is not None:
                ready(url)
            await stop.wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
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


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, by which the application can also close the connection; it logs no calls."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Here and not in the configuration, which would silence the desk's log in the same process too.
        self.access_log = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # close() and not abort(): what was sent of a cut-off answer must still leave.
        cast("dict[str, Any]", self.scope)["extensions"] = {CLOSE_EXTENSION: self.transport.close}


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which says when it is ready and drops held-up calls."""

    def __init__(self, app: SandboxApp) -> None:
        super().__init__(
            uvicorn.Config(
                cast("Any", app),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=None,
                date_header=False,  # the exchange has its own clock, which may be off
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                backlog=BACKLOG,
            )
        )
        self.ready = asyncio.Event()
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.restart()
        await super().shutdown(sockets)

    def capture_signals(self) -> AbstractContextManager[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return nullcontext()
