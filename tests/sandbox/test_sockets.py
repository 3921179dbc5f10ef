"""Over real sockets: connections really close, hang and trickle, and the server comes and goes cleanly."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
import pytest_asyncio

from parallax.sandbox import (
    Exchange,
    SandboxApp,
    bind,
    create_app,
    running_sandbox,
    serve,
)
from tests.sandbox.support import KEY, USER, fixed_rates, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 5.0  # no step of any test here takes longer; every wait ends on an event


@dataclass
class Reply:
    head: bytes
    body: bytes
    promised: int

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def headers(self, name: bytes) -> list[bytes]:
        lines = [line.partition(b": ") for line in self.head.split(b"\r\n")[1:]]
        return [value for key, _, value in lines if key.lower() == name]


class Plain:
    """A client of bare streams: nothing between the test and the bytes."""

    def __init__(self, app: SandboxApp, url: str) -> None:
        self.app, self.exchange = app, app.exchange
        host, port = url.removeprefix("http://").removesuffix("/api").rsplit(":", 1)
        self.address = (host, int(port))

    async def send(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: sandbox\r\nx-api-key: {KEY}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return reader, writer

    async def call(self, method: str, path: str, body: bytes = b"") -> Reply:
        """A whole call; raises `IncompleteReadError` when the connection closes before the head."""
        async with asyncio.timeout(BOUND):
            reader, writer = await self.send(method, path, body)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                promised = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                try:
                    return Reply(head, await reader.readexactly(promised), promised)
                except asyncio.IncompleteReadError as cut:
                    return Reply(head, cut.partial, promised)
            finally:
                writer.close()

    async def order(self) -> Reply:
        return await self.call("POST", "/api/orders", self.order_body())

    def order_body(self) -> bytes:
        quote = self.exchange.create_quote()
        return json.dumps({"quote_id": quote.id, "user_id": USER, "from_amount": "1.00"}).encode()


def new_app() -> SandboxApp:
    return create_app(Exchange(seed=3, rates=fixed_rates), KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Plain]:
    app = new_app()
    async with running_sandbox(app) as url:
        yield Plain(app, url)


@pytest.fixture
def plain(served: Plain) -> Plain:
    served.exchange.faults.clear()
    return served


async def test_answers_carry_one_date_and_no_server(plain: Plain) -> None:
    reply = await plain.call("GET", "/api/users")
    assert reply.status == 200
    assert len(reply.headers(b"date")) == 1
    assert reply.headers(b"server") == []
    assert len(json.loads(reply.body)["data"]) == 3


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_close_really_closes(plain: Plain, when: str, orders: int) -> None:
    plain.exchange.faults.add("close", on="order_create", times=1, when=when)
    before = len(plain.exchange.orders)
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await plain.order()
    assert caught.value.partial == b""
    assert len(plain.exchange.orders) == before + orders
    assert (await plain.order()).status == 201


async def test_cut_off_sends_less_than_promised(plain: Plain) -> None:
    plain.exchange.faults.add("cut_off", times=1, share_sent=0.5)
    reply = await plain.order()
    assert reply.status == 201
    assert 0 < len(reply.body) < reply.promised


async def test_slow_arrives_in_pieces(plain: Plain) -> None:
    plain.exchange.faults.add("slow", on="users", times=1, seconds=0.05)
    reader, writer = await plain.send("GET", "/api/users")
    async with asyncio.timeout(BOUND):
        await reader.readuntil(b"\r\n\r\n")
        body, pieces = b"", 0
        while not body.endswith(b"]}"):
            body += await reader.read(65_536)
            pieces += 1
    writer.close()
    assert pieces > 1
    assert len(json.loads(body)["data"]) == 3


async def test_hang_notices_that_the_client_has_gone(plain: Plain) -> None:
    plain.exchange.faults.add("hang", on="users", times=1, seconds=60)
    _, writer = await plain.send("GET", "/api/users")
    await until(lambda: plain.app.connections.waiting)
    writer.close()
    await until(lambda: not plain.app.connections.waiting)


async def test_a_delayed_order_is_carried_out_after_the_client_has_gone(plain: Plain) -> None:
    plain.exchange.faults.add("delay", on="order_create", times=1, seconds=0.05, when="before")
    before = len(plain.exchange.orders)
    _, writer = await plain.send("POST", "/api/orders", plain.order_body())
    await until(lambda: plain.app.connections.waiting)
    writer.close()
    assert len(plain.exchange.orders) == before
    await until(lambda: len(plain.exchange.orders) == before + 1)


async def test_restart_drops_what_is_under_way(plain: Plain) -> None:
    plain.exchange.faults.add("hang", on="users", times=1)
    held = asyncio.create_task(plain.call("GET", "/api/users"))
    await until(lambda: plain.app.connections.waiting)
    reply = await plain.call("POST", "/_control", b'{"action":"restart"}')
    assert reply.status == 200
    with pytest.raises(asyncio.IncompleteReadError):
        await held


async def test_a_body_past_the_bound_is_413(plain: Plain) -> None:
    assert (await plain.call("POST", "/api/orders", b"x" * 100_000)).status == 413


async def test_a_taken_port_is_an_error_before_serving(plain: Plain) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one is asked below, by number
        async with running_sandbox(new_app(), port=plain.address[1]):
            pass
    assert caught.value.errno == errno.EADDRINUSE


async def test_a_free_port_is_below_those_of_outgoing_connections() -> None:
    sockets = [bind() for _ in range(5)]
    assert all(20_000 <= sock.getsockname()[1] < 32_768 for sock in sockets)
    for sock in sockets:
        sock.close()


async def test_a_pair_without_a_rate_stops_the_start() -> None:
    def no_rates(from_currency: str, to_currency: str) -> Decimal:
        raise ValueError(f"no rate for {from_currency}")

    sock = bind()
    with pytest.raises(ValueError, match="no rate for usd"):
        async with running_sandbox(create_app(Exchange(rates=no_rates), KEY), sock=sock):
            pass
    assert sock.fileno() == -1


async def test_serve_runs_until_told_to_stop_and_drops_held_up_calls() -> None:
    app, stop, urls = new_app(), asyncio.Event(), asyncio.Queue[str]()
    app.exchange.faults.add("hang", seconds=600)
    async with asyncio.timeout(BOUND):
        serving = asyncio.create_task(serve(app, ready=urls.put_nowait, stop=stop))
        plain = Plain(app, await urls.get())
        held = asyncio.create_task(plain.call("GET", "/api/users"))
        await until(lambda: app.connections.waiting)
        stop.set()
        await serving
        with pytest.raises(asyncio.IncompleteReadError):
            await held
    with socket.socket() as again:  # the port is free again
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(plain.address)
