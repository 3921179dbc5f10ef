"""The composition root: the one place that names concrete adapters and puts a desk together."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry

from parallax import __version__
from parallax.desk.desk import Desk
from parallax.journal.memory import MemoryJournal
from parallax.journal.sqlite import SqliteJournal
from parallax.ports.clock import SystemClock
from parallax.settings import Settings
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway, GatewaySettings


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """A running desk and what belongs to it: `metrics`, and the sandbox's base URL and key when it runs beside."""

    desk: Desk
    gateway: Gateway
    metrics: CollectorRegistry
    sandbox_url: str | None = None
    sandbox_key: str | None = None


@asynccontextmanager
async def open_desk(settings: Settings, *, in_memory: bool = False) -> AsyncGenerator[OpenDesk]:
    """Start a desk (and the sandbox, where there is no key), and stop both at the end.

    Raises `JournalFailed` when the journal cannot be taken into use, `OSError` when the sandbox finds no port.
    """
    async with AsyncExitStack() as stack:
        url, key, sandbox_url = settings.api_url, "", None
        if settings.sandbox:
            key = secrets.token_urlsafe(16)
            url = sandbox_url = await stack.enter_async_context(
                _sandbox(key, None if in_memory else settings.journal)
            )
        elif settings.api_key is not None:
            key = settings.api_key.get_secret_value()
        assert url is not None, "settings without an address mean the sandbox"
        opened = build_desk(settings, url, key, in_memory=in_memory)
        await opened.desk.start()
        stack.push_async_callback(opened.desk.stop)
        yield OpenDesk(opened.desk, opened.gateway, opened.metrics, sandbox_url, key if sandbox_url else None)


def build_desk(settings: Settings, url: str, key: str, *, in_memory: bool = False) -> OpenDesk:
    """Put a desk together for the exchange at `url`, not started yet."""
    clock, random, metrics = SystemClock(), Random(), CollectorRegistry()
    gateway = Gateway(
        ExchangeApi(url, key),
        clock=clock,
        random=random,
        registry=metrics,
        settings=GatewaySettings(
            calls_per_second=settings.parallax_calls_per_second,
            calls_at_once=settings.parallax_calls_at_once,
        ),
    )
    desk = Desk(
        journal=MemoryJournal() if in_memory else SqliteJournal(settings.journal),
        venue=gateway,
        clock=clock,
        random=random,
        new_id=lambda: str(uuid.uuid4()),
        version=__version__,
        sandbox=settings.sandbox,
        grace=timedelta(seconds=settings.parallax_grace_seconds),
    )
    return OpenDesk(desk, gateway, metrics)


@asynccontextmanager
async def _sandbox(key: str, journal: Path | None) -> AsyncGenerator[str]:
    from parallax.sandbox import Exchange, create_app, running_sandbox

    exchange = Exchange(seed=secrets.randbits(32))
    async with running_sandbox(create_app(exchange, api_key=key)) as url:
        yield url
