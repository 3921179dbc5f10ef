"""A whole desk behind its API in one process: desk, gateway and HTTP client on the sandbox, all real, no sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message

from parallax.desk.desk import Desk
from parallax.journal.memory import MemoryDisk, MemoryJournal
from parallax.ports.clock import SystemClock
from parallax.ports.journal import Journal
from parallax.sandbox import USER_FIXTURES, Exchange, InProcess, Refusal, SandboxSettings, create_app
from parallax.venues.budget import Limits
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway, GatewaySettings
from parallax.venues.http import Answer, Head, Transport
from parallax.web.api import create_api
from parallax.web.api.app import refuse
from parallax.web.security import Security
from parallax.web.streams import Streams

KEY = "test-key"
HOST = "localhost:4000"
USER, OTHER_USER = USER_FIXTURES[0].id, USER_FIXTURES[1].id
NOWHERE = "00000000-0000-4000-8000-000000000000"
PATIENCE = 10.0
"""Seconds after which a test gives up waiting: far above what anything here takes."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Got:
    """An answer: status, headers (lowercase names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]


@dataclass
class Client:
    """Calls an ASGI app as a program would, with raw bytes where a test wants them."""

    app: ASGIApp
    headers: dict[str, str] = field(default_factory=lambda: {"host": HOST})

    async def __call__(
        self, method: str, path: str, body: object = None, headers: Headers | None = None
    ) -> Got:
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        async with asyncio.timeout(PATIENCE):
            await self.app(self.scope(method, path, headers), _request(sent), send)
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        return Got(start["status"], named, b"".join(parts))

    def scope(self, method: str, path: str, headers: Headers | None = None) -> dict[str, Any]:
        plain, _, query = path.partition("?")
        given = {**self.headers, **{name.lower(): value for name, value in (headers or {}).items()}}
        return {
            "type": "http",
            "method": method,
            "path": plain,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }

    @asynccontextmanager
    async def events(
        self, path: str = "/api/events", headers: Headers | None = None
    ) -> AsyncGenerator[Reader]:
        """Listen to the event stream until the block ends."""
        reader = Reader()

        async def call() -> None:
            await self.app(self.scope("GET", path, headers), reader.receive, reader.send)

        task = asyncio.create_task(call())
        task.add_done_callback(lambda _: reader.ended.set())
        try:
            async with asyncio.timeout(PATIENCE):
                await reader.started.wait()
            yield reader
        finally:
            reader.leave()
            async with asyncio.timeout(PATIENCE):
                await task


def _request(body: bytes) -> Callable[[], Any]:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class Reader:
    """The client's end of an event stream. While `held`, it takes nothing, as a client with a full buffer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.finished = False
        self._more = asyncio.Event()
        self._gone = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def go_on(self) -> None:
        self._free.set()

    def leave(self) -> None:
        self._gone.set()
        self._free.set()

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self._free.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self.started.set()
            return
        self.text += message.get("body", b"").decode()
        self.finished = not message.get("more_body", False)
        self._more.set()

    @property
    def events(self) -> list[tuple[int, str, dict[str, Any]]]:
        """What has arrived: position, name, fields."""
        found: list[tuple[int, str, dict[str, Any]]] = []
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if "event" in fields:
                found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
        return found

    @property
    def last_id(self) -> int:
        """What a browser would send as Last-Event-ID."""
        ids = [line for line in self.text.split("\n") if line.startswith("id: ")]
        return int(ids[-1].removeprefix("id: "))

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once something that has arrived makes `condition` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._more.clear()
                await self._more.wait()


class Wire(Transport):
    """Carries the desk's calls to the sandbox without sockets; a dropped connection looks like one."""

    def __init__(self, way: InProcess) -> None:
        self._way = way

    async def send(self, head: Head, body: bytes = b"") -> Answer:
        headers = [(name.lower(), value) for name, value in head.headers]
        try:
            answer = await self._way.call(head.method, head.target, body, headers)
        except ConnectionError as error:
            raise httpx2.ReadError(str(error)) from None
        return Answer(answer.status, answer.headers, answer.body)


@dataclass
class World:
    """A sandbox, and the desks that a test opens in front of it one after the other."""

    settings: SandboxSettings = field(default_factory=SandboxSettings)
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.exchange = Exchange(seed=7, settings=self.settings, rates=lambda _, __: Decimal("54.42"))
        self.sandbox = create_app(self.exchange, KEY)
        self._ids = count(1)
        self._opened: list[Desk] = []

    async def open(self, journal: Journal | None = None) -> None:
        """Start a desk on what is on the disk, and have it read its lists."""
        self.clock = clock = SystemClock()
        self.journal = journal or MemoryJournal(self.disk)
        self.gateway = Gateway(
            ExchangeApi("http://sandbox/api", KEY, transport=Wire(InProcess(self.sandbox))),
            clock,
            Random(1),
            GatewaySettings(limits=Limits(calls_per_second=10_000, burst=10_000, queue=10_000)),
        )
        self.desk = Desk(
            journal=self.journal,
            venue=self.gateway,
            clock=clock,
            random=Random(2),
            new_id=lambda: f"order-{next(self._ids)}",
            version="test",
            sandbox=True,
        )
        await self.desk.start()
        self._opened.append(self.desk)
        self.streams = Streams()
        self.calls = create_api(self.desk, streams=self.streams)
        self.api = Security(self.calls, refuse=refuse, **self.options)
        self.client = Client(self.api)
        for what in ("users", "quotes"):
            await self.desk.refresh(what)
        self.desk._forced.clear()

    async def close(self) -> None:
        for desk in self._opened:
            await desk.stop()

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Got:
        """One call; header names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client(method, path, body, named)

    async def quote(self) -> dict[str, Any]:
        got = await self.call("POST", "/api/quotes")
        assert got.status == 201, got
        return got.data

    async def order(
        self,
        quote_id: str = "",
        amount: object = "100.50",
        user: str = USER,
        *,
        unless_unknown: object = None,
        **headers: str,
    ) -> Got:
        """Try to place an order, on a new quote unless one is named."""
        quote_id = quote_id or (await self.quote())["id"]
        body = {"quote_id": quote_id, "user_id": user, "from_amount": amount}
        if unless_unknown is not None:
            body["unless_unknown"] = unless_unknown
        return await self.call("POST", "/api/orders", body, **headers)

    async def fault(self, kind: str, **fields: object) -> None:
        """Switch a fault of the sandbox on."""
        await self.control(fault=kind, **fields)

    async def control(self, **fields: object) -> None:
        """Ask the sandbox's control door."""
        got = await Client(self.sandbox, {"host": "sandbox", "x-api-key": KEY})("POST", "/_control", fields)
        assert got.status in (200, 201), got

    def refuse(self, errors: dict[str, list[str]], status: int = 422) -> Callable[..., Any]:
        """Have the exchange refuse every order."""

        def place_order(*_: object, **__: object) -> object:
            raise Refusal(status, errors)

        self.exchange.place_order = place_order  # type: ignore[method-assign]
        return place_order

    async def settled(self) -> None:
        """Have every order settle at the exchange and be seen here, without the tracker's well-placed waits."""
        self.exchange.settle_all()
        async with asyncio.timeout(PATIENCE):
            while users := list(self.desk.books.users_with_open_orders()):
                self.desk._forced.clear()
                for user_id in users:
                    await self.desk.refresh("orders", user_id)

    @property
    def requests(self) -> int:
        """Order requests that reached the exchange."""
        return len(self.exchange.requests)
