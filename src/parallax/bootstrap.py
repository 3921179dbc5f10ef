"""The composition root: the one place that names concrete adapters and puts a desk together."""

from __future__ import annotations

import json
import math
import secrets
import socket
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

from prometheus_client import CollectorRegistry

from parallax import __version__
from parallax.desk.desk import Desk
from parallax.domain.errors import DeskError
from parallax.journal.memory import MemoryJournal
from parallax.journal.sqlite import SqliteJournal
from parallax.ports.clock import Clock, SystemClock
from parallax.settings import Settings
from parallax.venues.budget import Limits
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway, GatewaySettings
from parallax.venues.meter import Kind, Result
from parallax.web.ports import ActiveFault, Budget, Calls

if TYPE_CHECKING:
    from parallax.sandbox import SandboxApp


class CannotStart(Exception):
    """Something that the desk needs is not to be had; the words fit on one line and say what to do."""


@dataclass(frozen=True, slots=True)
class BundledSandbox:
    """The sandbox that runs beside the desk: its base URL, and the app for whoever wants faults from it."""

    url: str
    app: SandboxApp


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """A running desk and what belongs to it."""

    desk: Desk
    gateway: Gateway
    metrics: CollectorRegistry
    settings: Settings
    sandbox: BundledSandbox | None = None

    @property
    def operations(self) -> Operations:
        """What the operations page shows of the venue's side."""
        return Operations(self.gateway, self.settings)

    @property
    def drill(self) -> SandboxDrill | None:
        """Rehearsals, where the sandbox runs beside the desk."""
        return SandboxDrill(self.sandbox.app) if self.sandbox else None


async def _at_once(_desk: Desk) -> None:
    """Orders under way become unknown."""


@asynccontextmanager
async def open_desk(
    settings: Settings,
    *,
    in_memory: bool = False,
    last_wait: Callable[[Desk], Awaitable[None]] = _at_once,
) -> AsyncGenerator[OpenDesk]:
    """Start a desk (and the sandbox, where there is no key), and stop both at the end.

    At the end the desk takes nothing new, and what is under way ends when `last_wait` returns. Raises
    `JournalFailed` when the journal cannot be taken into use, `CannotStart` for anything else.
    """
    async with AsyncExitStack() as stack:
        # Left after the desk has stopped, so that orders under way can still get their answers.
        beside = await stack.enter_async_context(AsyncExitStack())
        url, key, listening, app = settings.api_url, "", None, None
        if settings.sandbox:
            from parallax.sandbox import base_url

            key = secrets.token_urlsafe(16)
            listening = beside.enter_context(closing(_free_port()))
            url = base_url(listening)
        elif settings.api_key is not None:
            key = settings.api_key.get_secret_value()
        assert url is not None, "settings without an address mean the sandbox"
        desk, gateway, metrics = build_desk(settings, url, key, in_memory=in_memory)

        async def stop() -> None:
            desk.drain()
            await last_wait(desk)
            await desk.stop(grace=0)

        stack.push_async_callback(stop)  # also of a start that fails half way: the journal is free again then
        # Before the sandbox: the journal's lock says in better words that all of this is in use.
        await desk.start()
        if listening is not None:
            app = await _start_sandbox(beside, listening, key, None if in_memory else settings.journal)
        sandbox = BundledSandbox(url, app) if app else None
        yield OpenDesk(desk, gateway, metrics, settings, sandbox)


def build_desk(
    settings: Settings, url: str, key: str, *, in_memory: bool = False
) -> tuple[Desk, Gateway, CollectorRegistry]:
    """Put a desk together for the exchange at `url`, not started yet. Raises `CannotStart`."""
    clock, random, metrics = SystemClock(), Random(), CollectorRegistry()
    try:
        api = ExchangeApi(url, key)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    gateway = Gateway(api, clock, random, GatewaySettings(limits=_limits(settings)), metrics)
    desk = Desk(
        journal=MemoryJournal() if in_memory else SqliteJournal(settings.journal),
        venue=gateway,
        clock=clock,
        random=random,
        new_id=lambda: time_ordered_id(clock, random),
        version=__version__,
        sandbox=settings.sandbox,
        grace=timedelta(seconds=settings.parallax_grace_seconds),
    )
    return desk, gateway, metrics


def time_ordered_id(clock: Clock, random: Random) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, then chance. Orders made one after the other lie side by side in
    the journal's tables, which makes a commit a fifth cheaper than with ids that are chance alone."""
    milliseconds = int(clock.now().timestamp() * 1_000) & (1 << 48) - 1
    bits = milliseconds << 80 | 0x7 << 76 | random.getrandbits(12) << 64 | 0b10 << 62 | random.getrandbits(62)
    return str(uuid.UUID(int=bits))


def _limits(settings: Settings) -> Limits:
    at_once = settings.parallax_calls_at_once
    return Limits(
        calls_per_second=settings.parallax_calls_per_second,
        burst=max(1, math.ceil(2 * settings.parallax_calls_per_second)),
        concurrency=at_once,
        # A quarter for orders and a sixteenth for finding lost ones: neither ever waits behind lists.
        kept_for_sends=max(1, at_once // 4),
        kept_for_resolves=max(1, at_once // 16),
    )


def _free_port() -> socket.socket:
    from parallax.sandbox import bind

    try:
        return bind()
    except OSError as error:
        raise CannotStart(f"The sandbox exchange finds no free port: {error.strerror or error}.") from None


async def _start_sandbox(
    stack: AsyncExitStack, listening: socket.socket, key: str, journal: Path | None
) -> SandboxApp:
    from parallax.sandbox import Exchange, KeptExchange, StateUnusable, create_app, running_sandbox

    seed = secrets.randbits(32)
    exchange = Exchange(seed=seed)
    if journal is not None:
        # A real exchange would not have forgotten what the journal remembers.
        path = journal.with_name(journal.name + ".exchange")
        try:
            exchange = stack.enter_context(closing(KeptExchange(path, seed=seed)))
        except StateUnusable as error:
            raise CannotStart(str(error)) from None
    app = create_app(exchange, api_key=key)
    await stack.enter_async_context(running_sandbox(app, sock=listening))
    return app


# Neighbours that do not know each other meet here.

CALL_WORDS: Final = {
    Kind.USERS: "List of users",
    Kind.QUOTE: "New quote",
    Kind.QUOTES: "List of quotes",
    Kind.SEND: "Place an order",
    Kind.ORDER: "One order",
    Kind.ORDERS: "A user's orders",
}

AVOIDED_WORDS: Final = {
    "shared": "Shared with a read under way",
    "down": "Not asked: the exchange is down",
    "no_room": "Not asked: no room in the budget",
    "cache": "Answered from what is known",
    "one_list": "One list for several orders",
}

_FAILURES: Final = frozenset({Result.LIMITED, Result.FAILED, Result.UNREADABLE, Result.TIMEOUT, Result.LOST})


class Operations:
    """The gateway's figures, as the operations page wants them."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._gateway = gateway
        self._settings = settings

    def budget(self) -> Budget:
        """The call budget now."""
        now = self._gateway.snapshot()
        made, failed = dict.fromkeys(CALL_WORDS, 0), dict.fromkeys(CALL_WORDS, 0)
        for call in now.meter.calls:
            made[Kind(call.kind)] += call.count
            if call.result in _FAILURES:
                failed[Kind(call.kind)] += call.count
        seconds = {Kind(latency.kind): latency for latency in now.meter.latencies}
        calls = [
            Calls(words, made[kind], 0, failed[kind], _ms(seconds[kind].p50), _ms(seconds[kind].p99))
            for kind, words in CALL_WORDS.items()
        ]
        calls += [
            Calls(AVOIDED_WORDS.get(reason, reason), 0, count, 0)
            for reason, count in sorted(now.meter.avoided.items())
        ]
        return Budget(
            calls=calls,
            per_second=f"{self._settings.parallax_calls_per_second:g}",
            under_way=sum(now.limiter.running.values()),
            at_once=self._settings.parallax_calls_at_once,
            waiting=sum(now.limiter.waiting.values()),
            breaker=f"open: {now.breaker.cause}" if now.breaker else "closed",
        )


class SandboxDrill:
    """The control door of the sandbox in this process, for the rehearsals of the operations page."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app

    async def faults(self) -> Sequence[ActiveFault]:
        """What is on now."""
        overview = cast("dict[str, Any]", self._ask("GET"))
        return [ActiveFault(str(fault["id"]), _in_words(fault)) for fault in overview["faults"]]

    async def inject(self, kind: str, fields: Mapping[str, object]) -> None:
        """Switch a fault on, or run an action. Raises `DeskError`."""
        from parallax.sandbox import FAULTS

        self._ask("POST", {"fault" if kind in FAULTS else "action": kind, **fields})

    async def clear(self) -> None:
        """Switch everything off."""
        self._ask("DELETE")

    def _ask(self, method: str, fields: Mapping[str, object] | None = None) -> object:
        from parallax.sandbox import Refusal
        from parallax.sandbox.control import handle

        try:
            _, document = handle(
                self._app, method, "/_control", json.dumps(fields).encode() if fields else b""
            )
        except Refusal as refusal:
            raise DeskError(f"The sandbox refused: {refusal}.") from None
        return document


def _in_words(fault: Mapping[str, Any]) -> str:
    """What an active fault does, to which calls, and how often still."""
    from parallax.sandbox import FAULTS, KINDS

    known = FAULTS[fault["fault"]]
    details = ", ".join(f"{name.replace('_', ' ')} {fault[name]}" for name in known.params)
    words = known.summary.rstrip(".") + (f" ({details})" if details else "")
    if tuple(fault["on"]) != KINDS:
        words += f"; on {', '.join(fault['on'])}"
    if fault["times_left"] is not None:
        words += f"; {fault['times_left']} more"
    return words + "."


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
