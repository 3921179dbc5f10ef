"""Calling the sandbox without sockets, as the simulation and quick tests do.

Each call runs in a task of its own, as it would behind a socket: a client that gives up does not take back a
request that has reached the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from parallax.sandbox.app import SandboxApp
from parallax.sandbox.call import Message


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as bytes; header names are lowercase."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lowercase) name."""
        return next((value for key, value in self.headers if key == name), None)


class InProcess:
    """A way to call `app` directly. Keeps the tasks of calls whose client has gone until they end."""

    def __init__(self, app: SandboxApp) -> None:
        self.app = app
        self._running: dict[asyncio.Task[RawAnswer], None] = {}

    @property
    def running(self) -> int:
        """How many calls are under way, those without a client too."""
        return len(self._running)

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> RawAnswer:
        """One call; `path` from the root (`/api/users`), header names lowercase.

        Raises `ConnectionDropped` where a socket would be closed. Cancelling it is the client's leaving: the
        call is told so, and may still be carried out.
        """
        gone = asyncio.Event()
        task = asyncio.create_task(_run(self.app, method, path, body, tuple(headers), gone))
        self._running[task] = None
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        finally:
            gone.set()

    def _ended(self, task: asyncio.Task[RawAnswer]) -> None:
        self._running.pop(task, None)
        if not task.cancelled():
            task.exception()  # looked at: nobody may be left to hear of it


async def _run(
    app: SandboxApp,
    method: str,
    path: str,
    body: bytes,
    headers: tuple[tuple[bytes, bytes], ...],
    gone: asyncio.Event,
) -> RawAnswer:
    asked = False
    start: MutableMapping[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await app(scope, receive, send)
    return RawAnswer(start["status"], tuple(start["headers"]), b"".join(parts))
