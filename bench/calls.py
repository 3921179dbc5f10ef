"""As few calls as the truth allows: what following orders costs, and how late its news is. Virtual time throughout,
but for the desk's own answers while the exchange hangs, which are timed on the wall clock."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from statistics import mean

from bench.report import Row, at_most, percentile, show
from bench.virtual import World, play
from parallax.desk.settle_times import RUNGS, SettleTimes
from parallax.desk.tracker import GAP
from parallax.domain.errors import DeskError
from parallax.ports.journal import OrderQuery
from parallax.sandbox import SandboxSettings

LONE_ORDERS = 600


def run(title: str) -> bool:
    """Measure and print; returns whether every bar holds."""
    show("what a look more or less buys (no bars; the second row of each is what the desk does)", curves())
    rows = [*lone_orders(), *hundred_orders(), *thousand_pending(), *fifty_tabs(), *hanging(), *failing()]
    return show(title, rows)


def lone_orders() -> list[Row]:
    """One order at a time, for long enough that the settle times are learned and stay learned."""
    calls, delays = _lone(RUNGS, LONE_ORDERS)
    return [
        at_most("a lone order: calls, its POST included (mean)", calls, 3.1, original="3"),
        at_most("a lone order: settled → shown, p50", percentile(delays, 0.5), 1.0, " s", "2.5 s"),
        at_most("a lone order: settled → shown, p95", percentile(delays, 0.95), 2.0, " s", "4.8 s"),
    ]


def curves() -> list[Row]:
    """Calls against delay: for a lone order by the number of planned looks, for a crowd by the gap between looks."""
    rows: list[Row] = []
    for shares in ((1 / 2, 0.99), RUNGS, (1 / 4, 1 / 2, 3 / 4, 0.99), (0.2, 0.4, 0.6, 0.8, 0.99)):
        calls, delays = _lone(shares, 200)
        seconds = f"p50 {percentile(delays, 0.5):.2f} s, p95 {percentile(delays, 0.95):.2f} s"
        rows.append(Row(f"a lone order, {len(shares)} planned looks", f"{calls:.2f} calls, {seconds}"))
    for gap in (0.8, GAP, 3.2):
        rate, p95 = _crowd(gap)
        rows.append(
            Row(f"1,000 pending orders, a look every {gap:g} s", f"{rate:.2f} calls/s, p95 {p95:.2f} s")
        )
    return rows


def _lone(shares: tuple[float, ...], orders: int) -> tuple[float, list[float]]:
    async def scenario() -> tuple[float, list[float]]:
        world = World(seed=1)
        world.desk.tracker.settle_times = SettleTimes(shares)
        await world.start()
        calls: list[float] = []
        for _ in range(orders):
            world.exchange.stats.clear()
            await world.order()
            await world.settled()
            seen = world.calls()
            calls.append(seen.get("order_create", 0) + seen.get("orders", 0) + seen.get("order", 0))
            await asyncio.sleep(world.random.uniform(0, 3))
        return mean(calls), world.delays()

    return play(scenario)


def hundred_orders() -> list[Row]:
    """A hundred orders of one user, placed within ten seconds."""

    async def scenario() -> float:
        world = World(seed=2)
        await world.start()
        world.exchange.stats.clear()

        async def later(delay: float) -> None:
            await asyncio.sleep(delay)
            await world.order()

        await asyncio.gather(*(later(n / 10) for n in range(100)))
        await world.settled()
        return world.calls().get("orders", 0) + world.calls().get("order", 0)

    return [at_most("100 orders of one user within 10 s: calls to settle", play(scenario), 12, "", "~200", 0)]


def thousand_pending() -> list[Row]:
    """A thousand pending orders of three users, kept up for a minute by new ones."""
    rate, p95 = _crowd(GAP)
    return [
        at_most("1,000 pending orders of 3 users: calls a second", rate, 2, "/s", "200/s"),
        at_most("1,000 pending orders of 3 users: settled → shown, p95", p95, 2, " s"),
    ]


def _crowd(gap: float) -> tuple[float, float]:
    async def scenario() -> tuple[float, float]:
        world = World(seed=3)
        world.desk.tracker.gap = gap
        await world.start()
        loop = asyncio.get_running_loop()
        placing = [asyncio.create_task(_keep_placing(world, n % 3, loop.time() + 60)) for n in range(1_000)]
        await asyncio.sleep(20)
        world.exchange.stats.clear()
        world.shown.clear()
        await asyncio.sleep(30)
        looks = world.calls().get("orders", 0) + world.calls().get("order", 0)
        p95 = percentile(world.delays(), 0.95)
        for task in placing:
            task.cancel()
        return looks / 30, p95

    return play(scenario)


async def _keep_placing(world: World, user: int, until: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(world.random.uniform(0, 8))
    while loop.time() < until:
        await world.until_settled(await world.order(user))


def fifty_tabs() -> list[Row]:
    """Fifty tabs open the users, quotes and orders pages at once on a cold desk."""

    async def scenario() -> tuple[int, int]:
        world = World(seed=4)
        world.exchange.seed_quotes(50)
        await world.desk.start()
        await asyncio.gather(*(_open_pages(world, 0) for _ in range(50)))
        await asyncio.sleep(5)
        first = sum(world.calls().values())
        await asyncio.gather(*(_open_pages(world, 1) for _ in range(50)))
        await asyncio.sleep(5)
        return first, sum(world.calls().values()) - first

    first, second = play(scenario)
    return [
        at_most("50 tabs on users, quotes and orders, cold: calls", first, 3, "", "~150", 0),
        at_most("… and for one further user", second, 1, "", "", 0),
    ]


async def _open_pages(world: World, user: int) -> None:
    await world.desk.user(world.users[user])
    world.desk.users()
    await world.desk.past_quotes(0, 50)
    await world.desk.know_orders(world.users[user])
    await world.desk.orders(OrderQuery(user_id=world.users[user]), 0, 50)


def hanging() -> list[Row]:
    """Every call hangs: reads are answered from memory, and a write says why not. Wall-clock time of the verbs."""

    async def scenario() -> list[float]:
        world = World(seed=5)
        await world.start()
        order_id = await world.order()
        await world.desk.know_orders(world.users[0])
        world.network.hanging = True
        await asyncio.sleep(60)  # long enough for the breaker to know
        took: list[float] = []
        for _ in range(500):
            began = time.perf_counter()
            virtual = asyncio.get_running_loop().time()
            await _open_pages(world, 0)
            await world.desk.order(order_id, world.users[0])
            with suppress(DeskError):
                await world.desk.request_quote("bench")
            waited = asyncio.get_running_loop().time() - virtual
            took.append((time.perf_counter() - began + waited) * 1_000)
        return took

    return [
        at_most(
            "every call hangs: the desk's answers, p99",
            percentile(play(scenario), 0.99),
            50,
            " ms",
            "hangs",
        )
    ]


def failing() -> list[Row]:
    """Ten minutes in which 30 % of all calls fail, with 200 orders pending."""

    async def scenario() -> tuple[int, int, int]:
        world = World(seed=6, sandbox=SandboxSettings(settle_seconds=(5, 600)))
        await world.start()
        placed = [await world.order(n % 3) for n in range(200)]
        for fault in ("status", "close"):
            world.exchange.faults.add(fault, share=0.15, for_seconds=600)
        await asyncio.sleep(720)
        orders = [world.desk.books.order(order_id) for order_id in placed]
        settled = sum(order is not None and order.state.settled for order in orders)
        agreed = sum(
            order is not None
            and order.venue_order_id is not None
            and world.exchange.orders[order.venue_order_id].life[-1][1] == order.state
            for order in orders
        )
        return len(placed), settled, agreed

    placed, settled, agreed = play(scenario)
    return [
        Row(
            "10 min of 30 % failing calls, 200 pending: settled, and as the exchange says",
            f"{settled} and {agreed} of {placed}",
            "all",
            "state lost",
            holds=settled == agreed == placed,
        )
    ]
