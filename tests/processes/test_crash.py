"""A crash is an ordinary day (rule 5): the desk is killed again and again while twenty clients order, and at the end
its record and the exchange's agree."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from parallax.domain.entities import Order
from parallax.domain.state import State, fold
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.codec import decode
from tests.processes.support import KEY, USERS, Desk, Programs, Sandbox, facts, until

ROUNDS = 30
CLIENTS = 20
# Made ahead, more than are used: the desk reads them once, and every client then takes the next.
QUOTES = 2_000
# Seconds for all of it, below what ends the whole run; about half a minute where nothing else goes on.
BOUND = 110.0
# Seconds from the first answer to an order, or from the first page, until the desk is killed.
LIFE = (0.0, 0.3)
# The share of quotes on which two orders are tried at the same moment.
TWICE = 0.3

AT_THE_EXCHANGE = frozenset({OrderState.PENDING, OrderState.COMPLETED, OrderState.FAILED})


@dataclass
class Crowd:
    """Clients that order without a pause, half of them by the page's form and half by the API."""

    desk: Desk
    quotes: Iterator[str]
    random: Random
    up: asyncio.Event = field(default_factory=asyncio.Event)
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[str, str] = field(default_factory=dict)
    """Order → its quote, for each order that somebody was told of."""
    answers: Counter[int] = field(default_factory=Counter)

    async def run(self, number: int) -> None:
        """One client's day: ends when the quotes do, or when it is cancelled."""
        by_api = number % 2 == 0
        user = USERS[number % len(USERS)]
        for quote in self.quotes:
            await self.up.wait()
            amount = f"{self.random.randint(1, 999)}.{self.random.randint(0, 99):02}"
            tries = 2 if self.random.random() < TWICE else 1
            await asyncio.gather(*(self.order(quote, amount, user, by_api) for _ in range(tries)))

    async def order(self, quote: str, amount: str, user: str, by_api: bool) -> None:
        try:
            answer = await (self.by_api if by_api else self.desk.order)(quote, amount, user)
        except httpx2.TransportError:
            return  # killed: the client knows nothing, and does not try again
        self.answers[answer.status_code] += 1
        self.busy.set()
        if answer.status_code in (201, 202, 303):
            self.told[answer.headers["location"].rpartition("/")[2]] = quote

    async def by_api(self, quote: str, amount: str, user: str) -> httpx2.Response:
        body = {"quote_id": quote, "user_id": user, "from_amount": amount}
        return await self.desk.http.post(f"{self.desk.url}/api/orders", json=body)


async def killed_in_turn(programs: Programs, exchange: Sandbox, crowd: Crowd, port: int) -> None:
    """Start the desk, let it live for a moment, `kill -9`; `ROUNDS` times."""
    nursery = await programs.nursery(exchange, port, PARALLAX_CALLS_PER_SECOND=1000)
    try:
        for day in range(ROUNDS):
            await nursery.start()
            crowd.busy.clear()
            crowd.up.set()
            if day % 5:  # on the fifth, recovery itself is what is met
                await crowd.busy.wait()
            await asyncio.sleep(crowd.random.uniform(*LIFE))  # for nothing: the moment is to be random
            crowd.up.clear()
            await nursery.kill()
    finally:
        await nursery.kill()
    assert nursery.program.err == [] or not any("level=error" in line for line in nursery.program.err)


async def settled(desk: Desk, exchange: Sandbox) -> bool:
    """Whether the desk knows the fate of every order that the exchange has."""
    answer = await desk.get("/api/orders?status=pending,unknown&limit=1000")
    open_quotes = {order["quote_id"]: order["status"] for order in answer.json()["data"]}
    at_exchange = {order["quote_id"] for order in (await exchange.record())["orders"]}
    return "pending" not in open_quotes.values() and at_exchange.isdisjoint(open_quotes)


def folded(lines: list[dict[str, Any]]) -> State:
    """What the desk holds for true: the fold of its facts."""
    state = State()
    for line in lines:
        state.put(fold(state, decode(json.dumps([line["kind"], line["fields"]]).encode())))
    return state


async def test_killed_thirty_times_while_twenty_clients_order(programs: Programs) -> None:
    async with asyncio.timeout(BOUND):
        await thirty_days(programs)


async def thirty_days(programs: Programs) -> None:
    exchange = await programs.sandbox("--quotes", QUOTES, "--fail-share", "0.2", settle=(0.1, 0.6))
    # Some answers are lost on the way too, and some requests: those orders stay unknown until their absence is proven.
    await exchange.control(fault="close", on="order_create", when="after", share=0.03)
    await exchange.control(fault="close", on="order_create", when="before", share=0.01)
    port = programs.free_port()
    desk = await programs.desk(exchange, port=port)
    ids = [quote["id"] for quote in (await exchange.record())["quotes"]][::-1]  # the youngest first
    await until(lambda: knows(desk, ids[0]))
    await desk.program.kill()

    crowd = Crowd(desk, iter(ids), Random(20))
    clients = [asyncio.create_task(crowd.run(number)) for number in range(CLIENTS)]
    try:
        await killed_in_turn(programs, exchange, crowd, port)
    finally:
        for client in clients:
            client.cancel()
        ended = await asyncio.gather(*clients, return_exceptions=True)
    assert {type(one) for one in ended} <= {asyncio.CancelledError, type(None)}, ended

    last = await programs.desk(exchange, port=port)
    await until(lambda: settled(last, exchange), within=30)
    assert await last.program.terminate() == 0
    lines = await facts(programs)
    agree(folded(lines), await exchange.record(), crowd)
    assert any(line["kind"] == "AnswerLost" and line["fields"]["cause"] == "restart" for line in lines), (
        "no kill met an order under way: the test shows nothing"
    )
    verified = await programs.start("journal", "verify", settings={"API_KEY": KEY, "API_URL": exchange.url})
    assert await verified.ended(30) == 0, verified.err


async def knows(desk: Desk, quote: str) -> bool:
    return (await desk.get(f"/api/quotes/{quote}")).status_code == 200


def agree(state: State, record: dict[str, Any], crowd: Crowd) -> None:
    """The exchange's record and the desk's say the same."""
    requests = Counter(request["quote_id"] for request in record["requests"])
    assert {quote: count for quote, count in requests.items() if count > 1} == {}, "rule 2: sent once"
    ours = {order.quote_id: order for order in state.orders.values()}
    assert len(ours) == len(state.orders), "one order a quote: none was ever freed, as nothing was refused"
    assert requests.keys() <= ours.keys(), "rule 1: claimed before it was sent"

    theirs = {order["quote_id"]: order for order in record["orders"]}
    placed = {quote: order for quote, order in ours.items() if order.state in AT_THE_EXCHANGE}
    assert placed.keys() == theirs.keys(), "none lost, none invented"
    assert {quote: told(order) for quote, order in placed.items()} == {
        quote: (order["id"], order["status"], order["user_id"], order["from_amount"])
        for quote, order in theirs.items()
    }
    assert {state.quotes[quote].state for quote in placed} == {QuoteState.EXECUTED}
    others = {order.state for quote, order in ours.items() if quote not in placed}
    assert others <= {OrderState.UNKNOWN, OrderState.WITHDRAWN}, "rule 3: unknown is not failed"
    assert state.incidents == {}

    orders = {str(order.id): str(order.quote_id) for order in state.orders.values()}
    assert {order: orders.get(order) for order in crowd.told} == crowd.told, (
        "what anyone was told of is there"
    )
    # 503: not asked, as the exchange's lost answers made it look down for a moment. Nothing else goes wrong.
    assert crowd.answers.keys() <= {201, 202, 303, 409, 503}, crowd.answers
    assert crowd.answers[409] > 0
    assert len(placed) > ROUNDS, "too few orders to show anything"


def told(order: Order) -> tuple[str | None, str, str, str]:
    return order.venue_order_id, order.state.value, order.user_id, order.amount.wire
