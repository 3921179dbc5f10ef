"""How fast facts become durable on this disk: waiting writers share commits."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import Row, show
from parallax.domain.facts import (
    Fact,
    OrderAccepted,
    OrderClaimed,
    OrderCompleted,
    OrderSent,
    QuoteIssued,
)
from parallax.domain.identity import OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change, State, fold
from parallax.journal.sqlite import SqliteJournal
from parallax.ports.journal import Recorded

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(title: str) -> bool:
    """Measure and print; returns whether every bar holds."""
    rows: list[Row] = []
    for clients, orders in ((1, 200), (32, 6_000), (256, 12_000)):
        facts, commits, seconds, busy = asyncio.run(_orders(clients, orders))
        rows.append(
            Row(
                f"{clients} orders at a time, each claim awaited before the next fact",
                f"{facts / seconds:,.0f} facts/s, {facts / commits:.1f} a commit, {busy / seconds:.0%} of a core",
            )
        )
    seconds = asyncio.run(_opening(200_000))
    rows.append(Row("opening a journal of 200,000 facts (20,000 orders, 20,000 quotes)", f"{seconds:.2f} s"))
    return show(title, rows)


def _facts(n: int) -> tuple[Fact, ...]:
    order, quote = OrderId(f"order-{n}"), QuoteId(f"quote-{n}")
    return (
        QuoteIssued(NOON, quote, "54.42", "USD", "PHP", NOON),
        OrderClaimed(
            NOON, order, quote, UserId("u"), "100", "USD", "5442.00", NOON + timedelta(minutes=5), "bench"
        ),
        OrderSent(NOON, order, quote, "{}"),
        OrderAccepted(NOON, order, quote, VenueOrderId(f"venue-{n}")),
        OrderCompleted(NOON, order, quote),
    )


async def _orders(clients: int, orders: int) -> tuple[int, int, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        journal, state = SqliteJournal(Path(folder) / "journal"), State()
        await journal.open(_nobody)
        numbers = iter(range(orders))

        def made(fact: Fact) -> Change:
            change = fold(state, fact)
            state.put(change)
            return change

        async def client() -> None:
            for n in numbers:
                issued, claimed, *rest = _facts(n)
                await journal.append([made(issued), made(claimed)])
                journal.append([made(rest[0])])
                await journal.append([made(rest[1])])
                journal.append([made(rest[2])])

        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client() for _ in range(clients)))
        await journal.close()
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        return orders * 5, journal.commits, seconds, busy


async def _opening(facts: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path, state = Path(folder) / "journal", State()
        journal = SqliteJournal(path)
        await journal.open(_nobody)
        for start in range(0, facts // 5, 200):
            batch: list[Change] = []
            for n in range(start, start + 200):
                for fact in _facts(n):
                    change = fold(state, fact)
                    state.put(change)
                    batch.append(change)
            await journal.append(batch)
        await journal.close()
        again = SqliteJournal(path)
        began = time.perf_counter()
        await again.open(_nobody)
        seconds = time.perf_counter() - began
        await again.close()
        return seconds


def _nobody(_: Sequence[Recorded]) -> None:
    """Nobody listens."""
