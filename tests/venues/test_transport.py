"""The transport under the exchange's calls, on real sockets and on both event loops that it may run in."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop

from parallax.venues import transport
from parallax.venues.http import Answer, Head
from parallax.venues.transport import ExchangeTransport
from tests.venues.raw import Connection, Handler, RawServer, always, http, serving

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OK = http(200, b"content")

Run = Callable[[Callable[["House"], Coroutine[Any, Any, None]]], None]


class House:
    """A raw server and a transport to it."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port

    @asynccontextmanager
    async def serving(
        self, handler: Handler, *, idle_seconds: float = 3.0, max_idle: int = 32
    ) -> AsyncGenerator[tuple[RawServer, ExchangeTransport]]:
        async with serving(handler, self._port()) as server:
            made = ExchangeTransport(httpx2.URL(server.url), idle_seconds=idle_seconds, max_idle=max_idle)
            try:
                yield server, made
            finally:
                await made.aclose()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, free_port: Callable[[], int]) -> Run:
    """Play a scenario in one of the two loops, within ten seconds."""

    def play(scenario: Callable[[House], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(10):
                await scenario(House(free_port))

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())

    return play


async def ask(made: ExchangeTransport, server: RawServer, method: str = "GET", body: bytes = b"") -> Answer:
    host = server.url.partition("//")[2].partition("/")[0]
    return await made.send(Head(method, "/thing", [(b"Host", host.encode())]), body)


async def content(answer: Answer) -> bytes:
    try:
        return b"".join([part async for part in answer])
    finally:
        await answer.aclose()


async def call(made: ExchangeTransport, server: RawServer, method: str = "GET", body: bytes = b"") -> bytes:
    return await content(await ask(made, server, method, body))


async def until(true: Callable[[], bool]) -> None:
    """Let the loop go round until something is true; the run's time-out bounds it."""
    while not true():  # noqa: ASYNC110 - it is a count of connections that is waited for
        await asyncio.sleep(0)


def each(*answers: bytes) -> Handler:
    """Answer the requests of all connections in turn; hang up after the last."""
    left = list(answers)

    async def handle(connection: Connection) -> None:
        while left and await connection.request() is not None:
            await connection.send(left.pop(0))

    return handle


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (OK, b"content"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
                b"abcde",
            ),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nDate: x\r\n\r\n", b"a"),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"content"),
        ],
    )
    def test_each_kind_is_whole_however_it_arrives_and_its_connection_serves_again(
        self, run: Run, answer: bytes, expected: bytes
    ) -> None:
        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                await connection.request()
                await connection.send(answer)
                await connection.request()
                for n in range(len(answer)):
                    await connection.send(answer[n : n + 1])
                    await asyncio.sleep(0)
                await connection.request()

            async with house.serving(handler) as (server, made):
                assert await call(made, server) == expected
                assert await call(made, server) == expected
                assert server.connections == 1

        run(scenario)

    def test_status_and_headers(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(http(429, b"", b"Retry-After: 7", b"X-A: 1", b"x-a: 2"))) as (
                server,
                made,
            ):
                answer = await ask(made, server)
                assert answer.status == 429
                assert (b"Retry-After", b"7") in answer.headers
                assert [value for name, value in answer.headers if name.lower() == b"x-a"] == [b"1", b"2"]
                assert await content(answer) == b""

        run(scenario)

    def test_one_without_a_length_ends_with_its_connection(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(each(b"HTTP/1.0 200 OK\r\n\r\nall of it")) as (server, made):
                assert await call(made, server) == b"all of it"
                assert made._pool.connections == []

        run(scenario)

    def test_an_answer_to_head_has_no_body_whatever_it_says(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(http(200, length=7))) as (server, made):
                assert await call(made, server, "HEAD") == b""
                assert made._pool.connections == []

        run(scenario)

    def test_a_long_one_is_taken_in_as_it_is_read_and_no_faster(self, run: Run) -> None:
        size = 64 * transport.MAX_UNREAD

        async def scenario(house: House) -> None:
            async with house.serving(always(http(200, b"x" * size))) as (server, made):
                answer = await ask(made, server)
                await asyncio.sleep(0.1)
                assert isinstance(answer, transport._Arriving)
                # What one read of a socket gives may come on top.
                assert answer.unread <= 3 * transport.MAX_UNREAD
                assert len(await content(answer)) == size
                assert server.connections == len(made._pool.connections) == 1

        run(scenario)


class TestNoAnswer:
    """Never the part that came, and never a second request."""

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 20",
            OK[:40],
            OK[:-1],
            http(200, length=7),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_when_it_is_cut(self, run: Run, answer: bytes, method: str) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(each(answer)) as (server, made):
                with pytest.raises(httpx2.ReadError):
                    await call(made, server, method)
                assert len(server.requests) == 1
                assert made._pool.connections == []

        run(scenario)

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ],
    )
    def test_when_it_is_no_http(self, run: Run, answer: bytes) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(answer)) as (server, made):
                with pytest.raises(httpx2.RemoteProtocolError):
                    await call(made, server)
                assert made._pool.connections == []

        run(scenario)

    @pytest.mark.parametrize(
        ("begin", "more"),
        [
            (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4_096),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 500),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 500),
        ],
    )
    def test_when_its_head_or_its_end_is_endless(self, run: Run, begin: bytes, more: bytes) -> None:
        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                await connection.request()
                await connection.send(begin)
                while not connection.reader.at_eof():
                    await connection.send(more)
                    await asyncio.sleep(0)

            async with house.serving(handler) as (server, made):
                with pytest.raises(httpx2.RemoteProtocolError):
                    await call(made, server)
                await server.all_gone.wait()

        run(scenario)

    def test_when_nobody_listens_nothing_was_sent(self, run: Run, free_port: Callable[[], int]) -> None:
        async def scenario(_: House) -> None:
            url = httpx2.URL(f"http://127.0.0.1:{free_port()}/api")
            made = ExchangeTransport(url, idle_seconds=3, max_idle=3)
            with pytest.raises(httpx2.ConnectError):
                await made.send(Head("POST", "/", ()))
            await made.aclose()

        run(scenario)

    def test_when_the_transport_is_closed_meanwhile(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                await connection.request()
                await connection.reader.read()

            async with house.serving(handler) as (server, made):
                under_way = asyncio.ensure_future(call(made, server))
                await server.arrived.wait()
                await made.aclose()
                with pytest.raises(httpx2.ReadError):
                    await under_way
                with pytest.raises(httpx2.ConnectError):
                    await call(made, server)

        run(scenario)


class TestConnections:
    def test_they_are_kept_and_the_one_used_last_is_used_next(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(OK)) as (server, made):
                await asyncio.gather(*(call(made, server) for _ in range(5)))
                assert server.connections == 5
                before = list(made._pool._idle)
                for _ in range(10):
                    await call(made, server)
                assert server.connections == 5
                assert list(made._pool._idle) == before

        run(scenario)

    def test_no_more_are_kept_than_allowed(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(OK), max_idle=2) as (server, made):
                await asyncio.gather(*(call(made, server) for _ in range(5)))
                await until(lambda: server.open == 2)
                assert len(made._pool.connections) == 2

        run(scenario)

    def test_an_idle_one_is_closed_after_its_time_without_a_call_coming(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(OK), idle_seconds=0.05) as (server, made):
                await asyncio.gather(call(made, server), call(made, server))
                await server.all_gone.wait()
                assert made._pool.connections == []
                assert made._pool._timer is None

        run(scenario)

    @pytest.mark.parametrize(
        "answer",
        [
            http(200, b"content", b"Connection: close"),
            b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\ncontent",
            OK + b"surplus",
            OK + OK,
        ],
    )
    def test_one_that_may_not_serve_again_is_closed(self, run: Run, answer: bytes) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(answer)) as (server, made):
                assert await call(made, server) == b"content"
                assert made._pool.connections == []
                assert await call(made, server) == b"content"
                assert server.connections == 2

        run(scenario)

    @pytest.mark.parametrize("late", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
    def test_one_that_ends_or_speaks_while_idle_is_not_used_again(self, run: Run, late: bytes) -> None:
        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                await connection.request()
                await connection.send(OK)
                if server.connections == 1:
                    await connection.send(late)
                    return
                await connection.request()

            async with house.serving(handler) as (server, made):
                await call(made, server)
                await until(lambda: not made._pool.connections)
                assert await call(made, server, "POST") == b"content"
                assert [request[:4] for request in server.requests] == [b"GET ", b"POST"]

        run(scenario)

    def test_an_end_that_the_loop_has_not_been_told_of_yet_is_seen(self, run: Run) -> None:
        """The server's goodbye is in the socket and the next call begins before the loop looks there."""

        async def scenario(house: House) -> None:
            connections: list[Connection] = []

            async def handler(connection: Connection) -> None:
                connections.append(connection)
                while await connection.request() is not None:
                    await connection.send(OK)

            async with house.serving(handler) as (server, made):
                await call(made, server)
                # Past both loops, straight to the kernel.
                os.write(connections[0]._writer.get_extra_info("socket").fileno(), b"x")
                assert await call(made, server, "POST") == b"content"
                assert server.connections == 2

        run(scenario)

    def test_the_answer_to_a_call_that_was_given_up_is_nobody_elses(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                while (request := await connection.request()) is not None:
                    if request.startswith(b"POST"):
                        await connection.send(http(200, b"half", length=8))
                        await connection.reader.read()
                    else:
                        await connection.send(OK)

            async with house.serving(handler) as (server, made):
                answer = await ask(made, server, "POST")
                await answer.aclose()
                assert await call(made, server) == b"content"
                slow = asyncio.ensure_future(call(made, server, "POST"))
                await until(lambda: len(server.requests) == 3)
                slow.cancel()
                assert await call(made, server) == b"content"
                assert server.connections == 3
                with pytest.raises(asyncio.CancelledError):
                    await slow

        run(scenario)

    def test_an_answer_before_the_request_was_taken_in_whole_ends_the_connection(self, run: Run) -> None:
        """What is left of the request would be read as the beginning of the next one."""

        async def scenario(house: House) -> None:
            async def handler(connection: Connection) -> None:
                await connection.reader.readuntil(b"\r\n\r\n")
                await connection.send(http(413, b"too large"))
                await connection.reader.read(1)
                await asyncio.sleep(0.05)

            async with house.serving(handler) as (server, made):
                assert await call(made, server, "POST", b"x" * 2**25) == b"too large"
                assert made._pool.connections == []

        run(scenario)

    def test_calls_cancelled_at_every_step_leave_nothing_open(self, run: Run) -> None:
        async def scenario(house: House) -> None:
            async with house.serving(always(OK)) as (server, made):
                for steps in range(60):
                    given_up = asyncio.ensure_future(call(made, server))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    given_up.cancel()
                    await asyncio.gather(given_up, return_exceptions=True)
                assert await call(made, server) == b"content"
                await until(lambda: server.open == 1)
                assert len(made._pool._idle) == len(made._pool._open) == 1

        run(scenario)


class TestRequests:
    @pytest.mark.parametrize(
        ("target", "header"),
        [
            ("/thing", (b"X", b"a\r\nX-Api-Key: other")),
            ("/thing", (b"X", b"a\nb")),
            ("/thing", (b"X\rY", b"a")),
            ("/thing HTTP/1.1\r\nX: a", (b"X", b"a")),
            ("/thing", (b"Content-Length", b"3")),
            ("/thing", (b"transfer-encoding", b"chunked")),
        ],
    )
    def test_one_that_would_be_read_as_another_is_not_made(
        self, target: str, header: tuple[bytes, bytes]
    ) -> None:
        with pytest.raises(ValueError, match=r"of the request|of its body"):
            Head("POST", target, [header])

    @pytest.mark.parametrize("body", [b"", b"four"])
    def test_its_length_is_that_of_its_body(self, body: bytes) -> None:
        head, _, rest = Head("POST", "/thing", [(b"X", b"a")]).written(body).partition(b"\r\n\r\n")
        assert head == b"POST /thing HTTP/1.1\r\nX: a\r\nContent-Length: %d" % len(body)
        assert rest == body


class TestAddresses:
    def test_the_next_is_tried_when_one_does_not_answer_and_the_good_one_is_remembered(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transport, "ADDRESS_SECONDS", 0.2)

        async def scenario(house: House) -> None:
            async with house.serving(always(http(200, b"content", b"Connection: close"))) as (server, made):
                tried: list[str] = []
                loop = asyncio.get_running_loop()
                port = made._port

                class Names:
                    """The loop, where a host has three addresses: one refuses, one is silent."""

                    def __getattr__(self, name: str) -> Any:
                        return getattr(loop, name)

                    async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
                        hosts = ("127.0.0.2", "127.0.0.3", "127.0.0.1")
                        return [(2, 1, 6, "", (host, port)) for host in hosts]

                    async def create_connection(self, made: Any, host: str, *rest: Any, **named: Any) -> Any:
                        tried.append(host)
                        if host == "127.0.0.3":
                            await asyncio.sleep(60)
                        return await loop.create_connection(made, host, *rest, **named)

                with monkeypatch.context() as patched:
                    names = Names()
                    patched.setattr(transport.asyncio, "get_running_loop", lambda: names)
                    assert await call(made, server) == b"content"
                    assert await call(made, server) == b"content"
                assert tried == ["127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.1"]

        run(scenario)


class TestCertificates:
    """TLS: the right name under a trusted certificate, and nothing else."""

    @pytest.fixture
    def papers(self, tmp_path: Path) -> Path:
        """A key and a certificate for `localhost`, signed by itself."""
        words = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem"
            " -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        )
        subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
        return tmp_path

    @asynccontextmanager
    async def encrypted(self, papers: Path, port: int) -> AsyncGenerator[RawServer]:
        server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_side.load_cert_chain(papers / "cert.pem", papers / "key.pem")
        raw = RawServer(always(OK))
        server = await asyncio.start_server(raw._serve, "127.0.0.1", port, ssl=server_side)
        try:
            yield raw
        finally:
            server.close()
            await server.wait_closed()

    @pytest.mark.parametrize(
        ("host", "trusted", "reached"),
        [("localhost", True, True), ("127.0.0.1", True, False), ("localhost", False, False)],
    )
    def test_names_and_signatures_count(
        self,
        run: Run,
        papers: Path,
        free_port: Callable[[], int],
        host: str,
        trusted: bool,
        reached: bool,
    ) -> None:
        async def scenario(_: House) -> None:
            port = free_port()
            url = httpx2.URL(f"https://{host}:{port}/api")
            tls = ssl.create_default_context(cafile=papers / "cert.pem") if trusted else None
            made = ExchangeTransport(url, idle_seconds=3, max_idle=3, tls=tls)
            async with self.encrypted(papers, port) as server:
                server.url = str(url)
                try:
                    if reached:
                        assert await call(made, server, "POST") == b"content"
                        assert await call(made, server, "POST") == b"content"
                        assert server.connections == 1
                    else:
                        with pytest.raises(httpx2.ConnectError):
                            await call(made, server, "POST")
                        assert server.requests == []
                finally:
                    await made.aclose()

        run(scenario)
