"""Serving: one process, one loop, the desk behind its HTTP server; and a stop that loses nothing.

On SIGTERM, SIGINT or SIGHUP the desk takes nothing new at once, open event streams end, requests and orders under way
get their answers, and everything is over within ten seconds. A second signal ends the waiting: orders without an
answer are unknown then, and looked for after the next start.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from typing import Final

import structlog
import uvloop

from parallax.bootstrap import CannotStart, OpenDesk, open_desk
from parallax.desk.desk import DRAIN, Desk
from parallax.http_server import HttpServer, Refusals, connections_within, raise_file_limit
from parallax.sandbox.serving import FILE_SHARE
from parallax.settings import Settings
from parallax.web.app import create_app
from parallax.web.security import HEADERS
from parallax.web.streams import MAX_STREAMS

ANSWER_SECONDS: Final = 6
"""How long requests under way may take once the desk stops; then their connections are closed. Orders may take
`DRAIN` seconds in all, whoever asked for them."""

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What stops a desk: a person, a service manager, a terminal that is closed."""

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""

OWN_FILES: Final = 256
"""Open files that connections leave to the rest of the desk: the journal's, the log's, what is loaded; and beside
these, one for each call to the exchange."""


GARBAGE_LOOK: Final = 25_000
"""New objects after which the youngest are looked through for garbage that refers to itself: about a millisecond."""


SWITCH_INTERVAL: Final = 0.0005
"""Seconds that the loop may keep the interpreter from the journal's writer, at Python's default 5 ms after each
statement."""


def run(settings: Settings, *, in_memory: bool = False) -> None:
    """Serve until told to stop. Raises `JournalFailed` or `CannotStart` when it cannot be begun."""
    set_up_logging()
    _tune_interpreter()
    # The socket first: a taken port is known before anything else is touched.
    with (
        closing(bind(settings.host, settings.port)) as listening,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(settings, listening, in_memory=in_memory))


def _tune_interpreter() -> None:
    """Settings of the whole process, for a desk that has it to itself.

    Circular garbage is looked for seldom: a desk makes little of it, and keeps hundreds of thousands of entities, which
    every full look goes through. And the journal's writer gets the interpreter soon, as claims wait for it.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()  # what has been imported stays
    gc.set_threshold(GARBAGE_LOOK, 10, 10)


async def serve(settings: Settings, listening: socket.socket, *, in_memory: bool = False) -> None:
    """Serve on a listening socket until told to stop by a signal. Raises as `run` does."""
    stop = Stop()
    with stop.on_signals():
        async with open_desk(settings, in_memory=in_memory, last_wait=stop.last_wait) as opened:
            if stop.asked.is_set():
                return
            refusals = Refusals()
            limit = _connection_limit(settings)
            app = create_app(
                opened.desk,
                drill=opened.drill,
                operations=opened.operations,
                metrics=opened.metrics,
                allowed_hosts=settings.parallax_allowed_hosts,
                allowed_origins=settings.parallax_allowed_origins,
                refusals=refusals,
                max_streams=min(MAX_STREAMS, limit // 2),
            )
            server = HttpServer(
                app,
                limit=limit,
                refusals=refusals,
                ready=lambda: announce(opened, in_memory=in_memory),
                drain_seconds=ANSWER_SECONDS,
                backlog=BACKLOG,
                headers=HEADERS,
            )
            stop.tell(opened.desk, server)
            await server.serve(sockets=[listening])


def _connection_limit(settings: Settings) -> int:
    """How many connections leave enough open files for the desk's own, its calls, and a sandbox in the same process."""
    files = raise_file_limit()
    kept = OWN_FILES + settings.parallax_calls_at_once
    return connections_within(files, kept + files // FILE_SHARE if settings.sandbox else kept)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `CannotStart` when it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise CannotStart(
            f"Port {port} of {host} cannot be served at ({error.strerror}); free it, or name another in PORT."
        ) from None
    return sock


def announce(opened: OpenDesk, *, in_memory: bool) -> None:
    """The first lines that a person sees."""
    settings = opened.settings
    if opened.sandbox:
        say("No API_KEY is set: this desk uses the bundled SANDBOX exchange. No real money moves.")
        say(f"  sandbox   {opened.sandbox.url}")
    else:
        say(f"This desk trades at {settings.api_url}.")
    say(f"  journal   {'in memory: gone when the desk stops' if in_memory else settings.journal}")
    host = {"127.0.0.1": "localhost", "::1": "[::1]"}.get(settings.host, settings.host)
    say(f"  desk      http://{host}:{settings.port}")
    say("Press Ctrl+C to stop.")


def say(words: str) -> None:
    """A line for the person at the terminal; nobody may be there any more."""
    with suppress(OSError):
        print(words, flush=True)  # noqa: T201 - the program's own voice, not a log


def set_up_logging() -> None:
    """One line an event, on standard error; libraries speak only when something is wrong."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class Stop:
    """The way from a signal to the end: told once, everything drains; told again, nothing is waited for."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hastened = asyncio.Event()
        self._deadline = 0.0
        self._desk: Desk | None = None
        self._server: HttpServer | None = None

    def on_signals(self) -> AbstractContextManager[None]:
        """Listen to what stops a desk while in this context."""
        return _Listening(self._signalled)

    def tell(self, desk: Desk, server: HttpServer) -> None:
        """Who is to hear of it."""
        self._desk, self._server = desk, server

    async def last_wait(self, desk: Desk) -> None:
        """Return when every order has its answer, the time for that is over, or the stop is hastened."""
        loop = asyncio.get_running_loop()
        answered = asyncio.create_task(desk.all_answered())
        hastened = asyncio.create_task(self.hastened.wait())
        left = max(0.0, (self._deadline or loop.time() + DRAIN) - loop.time())
        await asyncio.wait({answered, hastened}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        hastened.cancel()

    def _signalled(self) -> None:
        if self.asked.is_set():
            say("Stopping at once. Orders without an answer are looked for after the next start.")
            self.hastened.set()
        else:
            say("Stopping: nothing new is taken, orders under way get their answers. Again to stop at once.")
            self._deadline = asyncio.get_running_loop().time() + DRAIN
            self.asked.set()
        if self._desk is not None:
            self._desk.drain()
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = self.hastened.is_set()


class _Listening:
    """Signal handlers of the running loop, for as long as the context lasts."""

    def __init__(self, signalled: Callable[[], None]) -> None:
        self._signalled = signalled

    def __enter__(self) -> None:
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def __exit__(self, *_: object) -> None:
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
