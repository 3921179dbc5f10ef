"""The pages over a desk on a scripted venue, called in process, under virtual time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from fastapi import FastAPI

from parallax.desk.desk import Desk
from parallax.domain.identity import OrderId
from parallax.web.app import create_app
from simulation.loop import SimulatedLoop
from tests.desk.conftest import World
from tests.desk.scripted import ONE, ScriptedVenue

HOST = "http://localhost"


@dataclass
class Message:
    """One message of an event stream."""

    event: str
    id: str
    data: str


class Stream:
    """An open event stream, read as it comes: the client library in process waits for the end of an answer."""

    def __init__(self, app: FastAPI, address: str, headers: dict[str, str] | None = None) -> None:
        path, _, query = address.partition("?")
        self._scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost")]
            + [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
        }
        self._app = app
        self._bytes = b""
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self.status = 0
        self.ended = False
        self.taken = 0

    async def __aenter__(self) -> Stream:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await self._task

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._bytes += message.get("body", b"")
            self.taken += len(message.get("body", b""))
            self.ended = self.ended or not message.get("more_body", False)
        self._news.set()

    async def next(self, timeout: float = 60.0) -> Message:
        """The next message. Raises `TimeoutError`, or `EOFError` at the end."""
        async with asyncio.timeout(timeout):
            while b"\n\n" not in self._bytes:
                if self.ended:
                    raise EOFError
                self._news.clear()
                await self._news.wait()
        raw, _, self._bytes = self._bytes.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in raw.decode().split("\n"))
        return Message(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""))

    async def all(self) -> list[Message]:
        """Every message until the stream ends."""
        found: list[Message] = []
        try:
            while True:
                found.append(await self.next())
        except EOFError:
            return found

    async def until(self, text: str) -> Message:
        """The first message that holds a text."""
        while text not in (message := await self.next()).data:
            pass
        return message


class Browser:
    """What a test has in hand: the desk, the venue, a client without scripts, and htmx's way to ask."""

    def __init__(self, world: World, desk: Desk) -> None:
        self.world = world
        self.desk = desk
        self.venue: ScriptedVenue = world.venue
        self.app = create_app(desk)
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=True)
        self.client = httpx2.AsyncClient(transport=transport, base_url=HOST)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """A page."""
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx2.Response:
        """A form, sent by a browser without scripts."""
        return await self.client.post(path, data=fields or {}, headers={"Origin": HOST, **headers})

    async def htmx(
        self, path: str, fields: dict[str, str] | None = None, tab: str = "tab1"
    ) -> httpx2.Response:
        """A form, sent by htmx from a tab."""
        return await self.post(path, fields, **{"HX-Request": "true", "X-Tab": tab})

    def stream(self, page: str, **fields: str) -> Stream:
        """An event stream for a kind of page."""
        return Stream(self.app, f"/live?{urlencode({'page': page, **fields})}")

    async def position(self, path: str) -> str:
        """From where a page needs news, as it says itself."""
        found = re.search(r'data-at="([^"]+)"', (await self.get(path)).text)
        assert found, "every page says where it stands"
        return found[1]

    def quote_of(self, order: str) -> str:
        """The quote that an order is on."""
        found = self.desk.books.order(OrderId(order))
        assert found is not None
        return found.quote_id

    async def quote(self, user: str = ONE) -> str:
        """Generate a quote as a person would; its id."""
        known = {quote.id for quote in self.desk.books.quotes}
        answer = await self.htmx(f"/u/{user}/quotes")
        assert answer.status_code == 200
        return next(quote.id for quote in self.desk.books.quotes if quote.id not in known)

    async def order(
        self, quote: str, user: str = ONE, amount: str = "100", tab: str = "tab1", key: str = ""
    ) -> str:
        """Place an order as a person would, who goes on where another may be the same; its id."""
        path, form = f"/u/{user}/exchange/{quote}", {"side": "send", "amount": amount, "key": key}
        answer = await self.htmx(path, form, tab)
        if asked := re.search(r'name="repeat" value="([^"]+)"', answer.text):
            answer = await self.htmx(path, {**form, "repeat": asked[1]}, tab)
        assert answer.status_code == 200, answer.text
        return answer.headers["HX-Redirect"].rpartition("/")[2]


Play = Callable[[Callable[[Browser], Awaitable[Any]]], Any]


@pytest.fixture
def surf() -> Play:
    """Run a scenario in a browser on a desk that has started, under virtual time."""

    def run(scenario: Callable[[Browser], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            world = World()
            desk = await world.desk()
            browser = Browser(world, desk)
            try:
                return await scenario(browser)
            finally:
                await browser.client.aclose()
                await desk.stop()

        loop = SimulatedLoop(Random(1))
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    return run
