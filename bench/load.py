"""A light HTTP/1.1 client for loads: bytes are prepared once and answers are only as read as the measurement needs.

A general client would cost more than the server that it measures, on the same two cores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status and body, and how many seconds it took."""

    status: int
    body: bytes
    seconds: float


class Connection:
    """One kept-alive connection that carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))

    async def ask(self, request: bytes) -> Answer:
        """Send a prepared request and read its answer; the body must have a length."""
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        mark = head.lower().find(b"content-length:")
        if mark >= 0:
            length = int(head[mark + 15 : head.index(b"\r", mark)])
        body = await self._reader.readexactly(length) if length else b""
        return Answer(int(head[9:12]), body, time.perf_counter() - began)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def request(method: str, path: str, port: int, body: bytes = b"", key: str = "") -> bytes:
    """The bytes of a request to this machine."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if key:
        head += f"X-Api-Key: {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def hammer(
    port: int, requests: Iterable[bytes], clients: int, check: Callable[[Answer], bool]
) -> tuple[float, list[float]]:
    """Send every request, as many at a time as there are clients: answers a second, and the seconds of each.

    Raises `AssertionError` for the first answer that does not pass `check`."""
    pending: Iterator[bytes] = iter(requests)
    seconds: list[float] = []

    async def client() -> None:
        connection = await Connection.open(port)
        for prepared in pending:
            answer = await connection.ask(prepared)
            assert check(answer), (answer.status, answer.body[:300])
            seconds.append(answer.seconds)
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(seconds) / (time.perf_counter() - began), seconds
