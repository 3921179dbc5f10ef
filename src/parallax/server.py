"""Serving: one process, one loop, the desk behind uvicorn; and a stop that loses nothing.

On SIGTERM or SIGINT the desk takes nothing new at once, open event streams end, requests under way get their answers,
and everything is over within ten seconds.
"""

from __future__ import annotations

import logging
import socket
import sys
from types import FrameType
from typing import Final

import structlog
import uvicorn

from parallax.bootstrap import OpenDesk, open_desk
from parallax.settings import Settings

DRAIN_SECONDS: Final = 8
"""How long requests under way may take once the desk stops: as long as an order may wait for its answer."""

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""


async def serve_desk(settings: Settings, *, in_memory: bool = False) -> None:
    """Serve until told to stop. Raises `OSError` when the port is taken, `JournalFailed`."""
    from parallax.web.app import create_app

    set_up_logging()
    with bind(settings.host, settings.port) as sock:
        async with open_desk(settings, in_memory=in_memory) as opened:
            server = _Server(
                uvicorn.Config(
                    create_app(opened.desk),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    server_header=False,
                    timeout_graceful_shutdown=DRAIN_SECONDS,
                    backlog=BACKLOG,
                ),
                opened,
            )
            announce(settings, opened, in_memory=in_memory)
            await server.serve(sockets=[sock])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before anything else starts. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(f"{host}:{port}: {error.strerror}") from None
    return sock


def announce(settings: Settings, opened: OpenDesk, *, in_memory: bool) -> None:
    """The first lines that a person sees."""
    if opened.sandbox_url:
        say("No API_KEY is set: this desk uses the bundled SANDBOX exchange. No real money moves.")
        say(f"  sandbox   {opened.sandbox_url}")
    else:
        say(f"This desk trades at {settings.api_url}.")
    say(f"  journal   {'in memory: gone when the desk stops' if in_memory else settings.journal}")
    host = "localhost" if settings.host == "127.0.0.1" else settings.host
    say(f"  desk      http://{host}:{settings.port}")
    say("Press Ctrl+C to stop.")


def say(words: str) -> None:
    """A line for the person at the terminal."""
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


class _Server(uvicorn.Server):
    """uvicorn's server, which has the desk drain as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, opened: OpenDesk) -> None:
        super().__init__(config)
        self._opened = opened

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._opened.desk.drain()
        super().handle_exit(sig, frame)
