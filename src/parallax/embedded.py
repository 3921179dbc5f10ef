"""A desk inside a program: `async with parallax.open_desk() as desk:`.

The whole desk runs in the program's event loop: journal, tracker, recovery and all. It is asked through its own API
without a socket in between, so that it has the verbs, the answers and the errors of a remote one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from parallax.bootstrap import open_desk as run_desk
from parallax.client.asynchronous import AsyncDesk
from parallax.client.calls import Ask, Reply
from parallax.client.errors import DeskUnavailable
from parallax.desk.desk import Desk
from parallax.settings import Settings
from parallax.web.api import create_api
from parallax.web.api.app import ROOT, Api

MAX_PIECES: Final = 64
"""Pieces of a stream that wait for a watcher, each a batch of facts; then the desk waits, and in the end cuts off."""


@asynccontextmanager
async def open_desk(
    settings: Settings | None = None, *, journal: str | Path | None = None
) -> AsyncGenerator[AsyncDesk]:
    """Open a desk in this program, and stop it at the end: orders under way get their answers first.

    Without settings it is on the bundled sandbox exchange, where nothing is real, and remembers nothing; with a
    `journal` (a file that is made when absent) it remembers, and a later desk on the same file goes on where this one
    stopped. `settings` name another exchange, and then the journal is theirs; the environment is only read by
    `Settings()`.

    Raises `JournalFailed` when the journal cannot be taken into use, one desk at a time, and
    `parallax.bootstrap.CannotStart` for anything else.
    """
    if settings is not None and journal is not None:
        raise ValueError("name the journal in the settings, or none of both")
    given = settings or Settings.model_construct(parallax_journal=Path(journal) if journal else None)
    in_memory = settings is None and journal is None
    async with run_desk(given, in_memory=in_memory, last_wait=Desk.all_answered) as opened:
        carried = _InProcess(create_api(opened.desk))
        try:
            yield AsyncDesk(carried)
        finally:
            carried.closed = True


class _InProcess:
    """Carries requests to the API of a desk in this process."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.closed = False

    async def ask(self, ask: Ask) -> Reply:
        """One call and its answer. A caller that goes away does not take the call back."""
        self._check()
        call = _Call(ask)
        await asyncio.shield(asyncio.create_task(self._api(call.scope, call.receive, call.collect)))
        return Reply(call.status, bytes(call.body))

    async def stream(self, ask: Ask) -> AsyncGenerator[bytes | Reply]:
        """Pieces of a stream until it ends."""
        self._check()
        call = _Call(ask)
        task = asyncio.create_task(self._serve(call), name="embedded event stream")
        try:
            while (piece := await call.pieces.get()) is not None:
                if call.status == 200:
                    yield piece
                else:
                    yield Reply(call.status, piece)
        finally:
            call.gone.set()
            task.cancel()
            while not call.pieces.empty():
                call.pieces.get_nowait()  # room for its last word
            await asyncio.wait({task})

    async def _serve(self, call: _Call) -> None:
        try:
            await self._api(call.scope, call.receive, call.hand_over)
        finally:
            await call.pieces.put(None)

    def _check(self) -> None:
        if self.closed:
            raise DeskUnavailable("This desk has been closed; open it again.")

    async def close(self) -> None:
        """Nothing: the desk is closed by whoever opened it."""


class _Call:
    """The two ends of one ASGI call."""

    def __init__(self, ask: Ask) -> None:
        path, _, query = ask.path.partition("?")
        named = {"host": "localhost", **ask.headers}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": ask.method,
            "path": ROOT + path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()],
        }
        self.status = 0
        self.body = bytearray()
        self.gone = asyncio.Event()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_PIECES)
        self._request: bytes | None = ask.body or b""

    async def receive(self) -> dict[str, Any]:
        """The request's body, and then nothing until the caller has gone."""
        if self._request is None:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        body, self._request = self._request, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def collect(self, message: Any) -> None:
        """Gather an answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")

    async def hand_over(self, message: Any) -> None:
        """Pass a stream on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif piece := message.get("body", b""):
            await self.pieces.put(piece)
