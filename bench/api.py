"""The JSON API as programs meet it: the desk and the sandbox are processes of their own, the journal is on disk.

Each figure but those of the event stream and of the hanging exchange is the median of five runs; the load comes from
this process, on the same two cores.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from statistics import median
from typing import Any

import uvloop

from bench.load import Answer, Connection, hammer, request
from bench.processes import KEY, Running, running, started_desk
from bench.report import Row, at_least, at_most, percentile, show

RUNS = 5
ORDERS = 1_500
CLIENTS = 32
LONE = 200
READERS = 1_000


def run(title: str) -> bool:
    """Measure and print; returns whether every bar holds."""
    rows = [*orders(), *lone(), *reads(), *hydrating(), *streaming(), *hanging()]
    return show(title, rows)


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


def orders() -> list[Row]:
    """Thirty-two clients place orders, each durable before it is sent and accepted by the sandbox."""

    async def measure(up: Running) -> list[float]:
        await hydrated(up.desk, RUNS * ORDERS)
        quotes = [quote["id"] for quote in await listed(up.desk, "/api/quotes")]
        users = [user["id"] for user in await listed(up.desk, "/api/users")]
        rates: list[float] = []
        for n in range(RUNS):
            part = quotes[n * ORDERS : (n + 1) * ORDERS]
            requests = [order_request(up.desk, quote, users[i % len(users)]) for i, quote in enumerate(part)]
            rates.append((await hammer(up.desk, requests, CLIENTS, created))[0])
        return rates

    with running(RUNS * ORDERS) as up:
        rates = uvloop.run(measure(up))
    spread = f" ({min(rates):,.0f}–{max(rates):,.0f})"
    row = at_least("orders a second, 32 clients, durable and accepted", median(rates), 400, "/s")
    return [Row(row.what + spread, row.measured, row.bar, row.original, row.holds)]


def lone() -> list[Row]:
    """One order at a time, at the sandbox directly and through the desk in turn: what the desk adds."""

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

    rounds: list[list[float]] = []
    for _ in range(RUNS):
        with running(2 * LONE) as up:
            rounds.append(uvloop.run(measure(up)))
    middles = [median(added) for added in rounds]
    row = at_most("a lone order: time added to calling the sandbox directly, p50", median(middles), 4, " ms")
    spread = f" ({min(middles):.1f}–{max(middles):.1f})"
    return [
        Row(row.what + spread, row.measured, row.bar, row.original, row.holds),
        at_most("… p99", median(percentile(added, 0.99) for added in rounds), 15, " ms"),
    ]


def reads() -> list[Row]:
    """One quote, and a page of a hundred, from memory."""

    async def measure(up: Running) -> tuple[float, float]:
        await hydrated(up.desk, 1_000)
        quotes = [quote["id"] for quote in await listed(up.desk, "/api/quotes")]
        singles = [request("GET", f"/api/quotes/{quote}", up.desk) for quote in quotes] * 10
        page = [request("GET", "/api/quotes?limit=100", up.desk)] * 5_000
        one = [(await hammer(up.desk, singles, 16, ok))[0] for _ in range(RUNS)]
        hundred = [(await hammer(up.desk, page, 16, ok))[0] for _ in range(RUNS)]
        return median(one), median(hundred)

    with running(1_000) as up:
        one, hundred = uvloop.run(measure(up))
    return [
        at_least("GET /api/quotes/{id} a second", one, 5_000, "/s"),
        at_least("a page of 100 quotes, a second", hundred, 3_000, "/s"),
    ]


def hydrating() -> list[Row]:
    """A hundred thousand quotes at the exchange, read by a desk that has never seen them."""
    count = 100_000

    async def measure(port: int) -> float:
        began = time.perf_counter()
        await hydrated(port, count)
        return time.perf_counter() - began

    took: list[float] = []
    each: list[float] = []
    for _ in range(RUNS):
        with running(0, desk=False) as up:
            with started_desk(up) as process:
                uvloop.run(_answers(up.desk))
                empty = Running(up.sandbox, up.desk, process.pid, up.folder).resident()
            (up.folder / "journal").rename(up.folder / "journal.empty")
            up.control("seed_quotes", count=count)
            with started_desk(up) as process:
                took.append(uvloop.run(measure(up.desk)))
                time.sleep(2)
                full = Running(up.sandbox, up.desk, process.pid, up.folder).resident()
            each.append((full - empty) / count / 1024)
    row = at_most("hydrating 100,000 quotes, durably", median(took), 2, " s", "3.0–6.4 s")
    return [
        Row(f"{row.what} ({min(took):.1f}–{max(took):.1f})", row.measured, row.bar, row.original, row.holds),
        at_most("resident, each", median(each), 1.5, " KB", "17.7 KB"),
    ]


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
