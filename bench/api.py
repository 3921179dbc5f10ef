"""The JSON API as programs meet it: the desk and the sandbox are processes of their own, the journal is on disk.

All but the event stream and the hanging exchange is measured in five turns, each figure once in each, and told by its
median: a virtual machine's neighbours come and go by the half-minute, and one of them spoils one turn of everything
and not every turn of one figure. The load comes from this process, on the same two cores.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import uvloop

from bench.load import Answer, Connection, hammer, request
from bench.machine import Processors
from bench.processes import KEY, Running, running, started_desk
from bench.report import Row, at_least, at_most, percentile, ranged, show

TURNS = 5
ORDERS = 1_500
CLIENTS = 32
LONE = 200
READ = 1_000
HYDRATED = 100_000
READERS = 1_000


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn measured."""

    lone: list[float]
    """Milliseconds that the desk adds to an order, of each."""
    stolen: float
    """Share of the processors' time that the host took meanwhile."""
    orders: float
    """A second."""
    quotes: float
    """A second, one each."""
    pages: float
    """A second, of a hundred quotes each."""
    hydrating: float
    """Seconds."""
    resident: float
    """Kilobytes a quote."""


def run(title: str) -> bool:
    """Measure and print; returns whether every bar holds."""
    turns = [turn() for _ in range(TURNS)]
    return show(title, [*told(turns), *streaming(), *hanging()])


def turn() -> Turn:
    """Everything once that is told by its median."""
    processors = Processors()
    added = lone()
    stolen = processors.stolen()
    return Turn(added, stolen, orders(), *reads(), *hydrating())


def told(turns: list[Turn]) -> list[Row]:
    """The medians."""
    rates = [each.orders for each in turns]
    middles = [median(each.lone) for each in turns]
    tails = [percentile(each.lone, 0.99) for each in turns]
    stolen = [each.stolen * 100 for each in turns]
    took = [each.hydrating for each in turns]
    return [
        ranged(
            at_least("orders a second, 32 clients, durable and accepted", median(rates), 400, "/s"), rates
        ),
        ranged(
            at_most(
                "a lone order: time added to calling the sandbox directly, p50", median(middles), 4, " ms"
            ),
            middles,
        ),
        ranged(at_most("… p99", median(tails), 15, " ms"), tails),
        ranged(Row("… the host took of the processors' time", f"{median(stolen):.1f} %"), stolen),
        at_least("GET /api/quotes/{id} a second", median(each.quotes for each in turns), 5_000, "/s"),
        at_least("a page of 100 quotes, a second", median(each.pages for each in turns), 3_000, "/s"),
        ranged(at_most("hydrating 100,000 quotes, durably", median(took), 2, " s", "3.0–6.4 s"), took),
        at_most("resident, each", median(each.resident for each in turns), 1.5, " KB", "17.7 KB"),
    ]


def created(answer: Answer) -> bool:
    """Whether an order was taken."""
    return answer.status == 201


def ok(answer: Answer) -> bool:
    """Whether a read was answered."""
    return answer.status == 200


async def listed(port: int, path: str) -> list[Any]:
    """The `data` of a list."""
    connection = await Connection.open(port)
    answer = await connection.ask(request("GET", path, port, key=KEY))
    connection.close()
    return json.loads(answer.body)["data"]


def order_request(port: int, quote_id: str, user_id: str) -> bytes:
    """The bytes of an order of 100.00 on a quote."""
    body = json.dumps({"quote_id": quote_id, "user_id": user_id, "from_amount": "100.00"}).encode()
    return request("POST", "/api/orders", port, body, KEY)


def orders() -> float:
    """Thirty-two clients place orders, each durable before it is sent and accepted by the sandbox."""

    async def measure(up: Running) -> float:
        await hydrated(up.desk, ORDERS)
        quotes = [quote["id"] for quote in await listed(up.desk, "/api/quotes")]
        users = [user["id"] for user in await listed(up.desk, "/api/users")]
        requests = [order_request(up.desk, quote, users[i % len(users)]) for i, quote in enumerate(quotes)]
        return (await hammer(up.desk, requests, CLIENTS, created))[0]

    with running(ORDERS) as up:
        return uvloop.run(measure(up))


def lone() -> list[float]:
    """One order at a time, at the sandbox directly and through the desk by turns: what the desk adds."""

    async def measure(up: Running) -> list[float]:
        await hydrated(up.desk, 2 * LONE)
        quotes = iter([quote["id"] for quote in await listed(up.desk, "/api/quotes")])
        user = (await listed(up.desk, "/api/users"))[0]["id"]
        direct, through = await Connection.open(up.sandbox), await Connection.open(up.desk)
        straight: list[float] = []
        seconds: list[float] = []
        for _ in range(LONE):
            for connection, port, took in ((direct, up.sandbox, straight), (through, up.desk, seconds)):
                answer = await connection.ask(order_request(port, next(quotes), user))
                assert created(answer), answer
                took.append(answer.seconds)
                await asyncio.sleep(0.005)
        usual = median(straight)
        return [(each - usual) * 1_000 for each in seconds[20:]]

    with running(2 * LONE) as up:
        return uvloop.run(measure(up))


def reads() -> tuple[float, float]:
    """One quote, and a page of a hundred, from memory: how many a second."""

    async def measure(up: Running) -> tuple[float, float]:
        await hydrated(up.desk, READ)
        quotes = [quote["id"] for quote in await listed(up.desk, "/api/quotes")]
        singles = [request("GET", f"/api/quotes/{quote}", up.desk) for quote in quotes] * 10
        page = [request("GET", "/api/quotes?limit=100", up.desk)] * 5_000
        one, _ = await hammer(up.desk, singles, 16, ok)
        hundred, _ = await hammer(up.desk, page, 16, ok)
        return one, hundred

    with running(READ) as up:
        return uvloop.run(measure(up))


def hydrating() -> tuple[float, float]:
    """Many quotes at the exchange, read by a desk that has never seen them: seconds, and resident kilobytes each."""

    async def measure(port: int) -> float:
        began = time.perf_counter()
        await hydrated(port, HYDRATED)
        return time.perf_counter() - began

    with running(0, desk=False) as up:
        with started_desk(up) as process:
            uvloop.run(_answers(up.desk))
            empty = Running(up.sandbox, up.desk, process.pid, up.folder).resident()
        (up.folder / "journal").rename(up.folder / "journal.empty")
        up.control("seed_quotes", count=HYDRATED)
        with started_desk(up) as process:
            took = uvloop.run(measure(up.desk))
            time.sleep(2)
            full = Running(up.sandbox, up.desk, process.pid, up.folder).resident()
    return took, (full - empty) / HYDRATED / 1024


def streaming() -> list[Row]:
    """A thousand readers of the event stream while twenty facts a second happen."""

    async def measure(up: Running) -> list[float]:
        delays: list[float] = []
        ready = 0
        all_ready = asyncio.Event()

        async def reader() -> None:
            nonlocal ready
            stream, writer = await asyncio.open_connection("127.0.0.1", up.desk)
            path = "/api/events?kind=QuoteIssued&after=now"
            writer.write(request("GET", path, up.desk) + b"")
            await stream.readuntil(b"\r\n\r\n")
            ready += 1
            if ready == READERS:
                all_ready.set()
            with suppress(asyncio.CancelledError):
                while True:
                    line = await stream.readuntil(b"\n")
                    if line.startswith(b"data: "):
                        now = time.time()
                        mark = line.find(b'"at":"') + 6
                        at = datetime.fromisoformat(line[mark : line.index(b'"', mark)].decode())
                        delays.append((now - at.astimezone(UTC).timestamp()) * 1_000)
            writer.close()

        readers = [asyncio.create_task(reader()) for _ in range(READERS)]
        await asyncio.wait_for(all_ready.wait(), 60)
        await asyncio.sleep(1)
        delays.clear()
        maker = await Connection.open(up.desk)
        ask = request("POST", "/api/quotes", up.desk, b"{}")
        for _ in range(20 * 10):
            began = time.perf_counter()
            await maker.ask(ask)
            await asyncio.sleep(max(0.0, 0.05 - (time.perf_counter() - began)))
        await asyncio.sleep(1)
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers)
        assert len(delays) == 200 * READERS, len(delays)
        return delays

    with running() as up:
        delays = uvloop.run(measure(up))
    return [
        at_most(
            "1,000 event-stream readers, 20 facts/s: fact → reader, p99", percentile(delays, 0.99), 100, " ms"
        )
    ]


def hanging() -> list[Row]:
    """Every call to the exchange hangs, from the first moment on: pages over HTTP."""

    async def measure(up: Running) -> list[float]:
        await hydrated(up.desk, 100)
        user = (await listed(up.desk, "/api/users"))[0]["id"]
        paths = ["/", f"/u/{user}/exchange", f"/u/{user}/orders", "/operations", "/api/quotes?limit=100"]
        connection = await Connection.open(up.desk)
        for path in paths:
            await connection.ask(request("GET", path, up.desk))
        up.fault("hang")
        answers = [await connection.ask(request("GET", path, up.desk)) for _ in range(60) for path in paths]
        assert all(ok(answer) for answer in answers)
        return [answer.seconds * 1_000 for answer in answers]

    with running(100) as up:
        took = uvloop.run(measure(up))
    return [
        at_most("every call hangs: pages and lists over HTTP, p99", percentile(took, 0.99), 50, " ms", "hang")
    ]


async def _answers(port: int) -> None:
    await asyncio.sleep(1)
    await listed(port, "/api/users")


async def hydrated(port: int, count: int) -> None:
    """Return when the desk knows this many quotes."""
    connection = await Connection.open(port)
    while True:
        answer = await connection.ask(request("GET", "/api/quotes?limit=1", port))
        if answer.status == 200 and json.loads(answer.body).get("meta", {}).get("total", 0) >= count:
            connection.close()
            return
        await asyncio.sleep(0.02)
