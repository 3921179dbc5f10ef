"""What a client can hold on the socket: each thing is bounded in size and in time, and the others go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from parallax import http_server
from parallax.http_server import (
    ABORT,
    HttpServer,
    Refusals,
    connections_within,
    raise_file_limit,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
PATIENCE = 5
LONG = 8_000_000


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the body, and answers with its length; long below `/long`, never below `/wait`."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    else:
        return
    if scope["path"] == "/wait":
        await asyncio.Event().wait()
    body = b"x" * LONG if scope["path"] == "/long" else b"%d" % size
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class Served:
    """A server on a port of its own."""

    def __init__(self, server: HttpServer, port: int, refusals: Refusals) -> None:
        self.server, self.port, self.refusals = server, port, refusals

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """All that comes back until the connection ends."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()

    async def works(self) -> bool:
        return (await self.say(GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


@asynccontextmanager
async def serving(limit: int = 100) -> AsyncGenerator[Served]:
    ready, refusals = asyncio.Event(), Refusals()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = HttpServer(
            app,
            limit=limit,
            refusals=refusals,
            ready=ready.set,
            drain_seconds=0,
            backlog=100,
            headers=((b"x-always", b"here"),),
        )
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await ready.wait()
        try:
            yield Served(server, listening.getsockname()[1], refusals)
        finally:
            server.should_exit = True
            await task


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every time is short."""
    for name in ("HEAD_SECONDS", "REQUEST_SECONDS", "IDLE_SECONDS", "WRITE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(http_server, name, 0.2)
    monkeypatch.setattr(http_server, "IDLE_GRACE", 0)
    monkeypatch.setattr(http_server, "LOOK_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET + b"X-A: " + b"a" * 40_000, b"431"),
        (GET + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (GET + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n", b"431"),
        (b"GET /" + b"a" * 40_000, b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000, b"413"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
)
async def test_what_is_too_large_or_odd_is_refused_at_once(data: bytes, status: bytes) -> None:
    async with serving() as served:
        answer = await served.say(data)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert b"\r\nx-always: here\r\n" in answer
        assert await served.works()


async def test_a_refused_client_that_goes_on_sending_is_cut() -> None:
    async with serving() as served:
        _, writer = await served.connect()
        sent = 0
        writer.write(GET + b"X-A: ")
        with suppress(ConnectionError):
            while sent < 64_000_000:
                writer.write(b"a" * 65_536)
                sent += 65_536
                await writer.drain()
        assert sent < 64_000_000
        assert await served.works()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", b"HTTP/1.1 408 "),
        (GET + b"X-", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 9\r\n\r\n123", b"HTTP/1.1 408 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123", b"HTTP/1.1 408 "),
        (GET + b"\r\n", b"HTTP/1.1 200 "),  # and then silence
        (GET + b"\r\n" + GET + b"X-", b"HTTP/1.1 200 "),
    ],
)
async def test_half_requests_and_silence_end(data: bytes, answer: bytes) -> None:
    async with serving() as served:
        assert (await served.say(data)).startswith(answer)
        await until(lambda: len(served.server.connections) == 0)


@pytest.mark.usefixtures("hasty")
async def test_a_head_that_drips_is_late_too() -> None:
    async with serving() as served:
        reader, writer = await served.connect()

        async def drip() -> None:
            writer.write(GET + b"X-A: ")
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()
        writer.close()


@pytest.mark.usefixtures("hasty")
async def test_an_answer_that_is_not_taken_is_cut_and_not_waited_for() -> None:
    async with serving() as served:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(silent, ("127.0.0.1", served.port))
            await loop.sock_sendall(silent, b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: served.refusals.counts["answer_not_taken"] == 1)
            assert len(served.server.connections) == 0
        assert await served.works()


async def test_a_slow_request_is_never_cut_for_its_time(hasty: None) -> None:
    async with serving() as served:
        _, writer = await served.connect()
        writer.write(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(0.6)
        assert len(served.server.connections) == 1
        writer.close()


async def test_idle_connections_are_kept_as_long_as_the_answer_says() -> None:
    assert http_server.IDLE_SECONDS == 75
    async with serving() as served:
        reader, writer = await served.connect()
        for _ in range(2):
            writer.write(GET + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nkeep-alive: timeout=75\r\n" in head
            assert await reader.readexactly(1) == b"0"
        writer.close()


async def test_a_full_house_makes_room_for_a_new_client() -> None:
    async with serving(limit=20) as served:
        silent = [await served.connect() for _ in range(20)]
        assert await served.works()
        assert served.refusals.counts["connection_displaced"] == 1
        assert await silent[0][0].read() == b""
        for _, writer in silent:
            writer.close()


async def test_requests_under_way_are_not_displaced() -> None:
    async with serving(limit=3) as served:
        busy = [await served.connect() for _ in range(3)]
        for _, writer in busy:
            writer.write(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: not served.server.connections.head.since)
        answer = await served.say(GET + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 2\r\n" in answer
        for _, writer in busy:
            writer.close()


async def test_pipelined_requests_are_answered_in_order_and_bounded() -> None:
    async with serving() as served:
        post = POST + b"Content-Length: %d\r\n\r\n%b"
        data = b"".join(post % (n, b"x" * n) for n in range(5)) + GET + b"Connection: close\r\n\r\n"
        answer = await served.say(data)
        assert [line[-1:] for line in answer.split(b"\r\n\r\n")[1:]][-1] == b"0"
        assert answer.count(b"HTTP/1.1 200 ") == 6
        _, writer = await served.connect()
        writer.write(GET.replace(b"/ ", b"/wait ", 1) + b"\r\n" + (GET + b"\r\n") * 100)
        await until(lambda: served.refusals.counts["request_malformed"] == 1)
        writer.close()


async def test_refusals_are_logged_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(http_server.log, "warning", lambda _, **fields: lines.append(fields))
    refusals = Refusals()
    for _ in range(1000):
        refusals.note("head_late", "192.0.2.1")
        refusals.note("body_late", "192.0.2.1")
    assert [(line["kind"], line["count"]) for line in lines] == [("head_late", 1), ("body_late", 1)]
    assert refusals.counts["head_late"] == 1000


def test_open_files_are_kept_for_the_desk_itself() -> None:
    assert raise_file_limit() == raise_file_limit()
    assert connections_within(1024, 300) == 724
    assert connections_within(1_000_000) == http_server.MAX_CONNECTIONS
    assert connections_within(100, 300) == 16


async def test_long_answers_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_HELD", 100_000)
    cut: list[int] = []

    async def long(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"x" * 80_000})

    outgoing: Callable[..., Awaitable[None]] = http_server._Outgoing(long, Refusals())

    async def stuck(_: object) -> None:
        await asyncio.Event().wait()

    tasks = [
        asyncio.create_task(outgoing({"extensions": {ABORT: lambda n=n: cut.append(n)}}, None, stuck))
        for n in range(3)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert cut == [0, 1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
