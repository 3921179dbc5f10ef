"""A server made of bytes: it records every request that reaches it and answers as told, honestly or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

DATE: Final = b"Sun, 01 Mar 2026 12:00:00 GMT"
Handler = Callable[["Connection"], Awaitable[None]]


def http(status: int, body: bytes = b"", *headers: bytes, length: int | None = None) -> bytes:
    """An answer; `length` is what it claims to hold."""
    lines = [
        b"HTTP/1.1 %d Whatever" % status,
        b"Date: " + DATE,
        b"Content-Length: %d" % (len(body) if length is None else length),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Connection:
    """One connection of a client."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self.reader, self._writer = server, reader, writer

    async def request(self) -> bytes | None:
        """The next whole request, or None when the client has gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            request = head + await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self._server.requests.append(request)
        self._server.arrived.set()
        return request

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Drop the connection as a crashed server would."""
        self._writer.transport.abort()


class RawServer:
    """`requests` holds what arrived; `open` counts connections."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.requests: list[bytes] = []
        self.arrived = asyncio.Event()
        self.open = 0
        self.connections = 0
        self.all_gone = asyncio.Event()
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        self.all_gone.clear()
        try:
            await self._handler(Connection(self, reader, writer))
        except ConnectionError:
            pass  # the client hung up first
        finally:
            self.open -= 1
            if not self.open:
                self.all_gone.set()
            writer.close()


@asynccontextmanager
async def serving(handler: Handler, port: int) -> AsyncGenerator[RawServer]:
    raw = RawServer(handler)
    server = await asyncio.start_server(raw._serve, "127.0.0.1", port)
    raw.url = f"http://127.0.0.1:{port}/api"
    try:
        yield raw
    finally:
        server.close()
        await server.wait_closed()


def always(*answers: bytes) -> Handler:
    """Answer each request of a connection with all of `answers`, then wait for the next."""

    async def handle(connection: Connection) -> None:
        while await connection.request() is not None:
            for answer in answers:
                await connection.send(answer)

    return handle
