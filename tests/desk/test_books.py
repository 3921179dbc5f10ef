"""What is live is in memory once; what is history can leave and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from parallax.desk import books
from parallax.desk.books import Books
from parallax.desk.feed import MAX_WAITING, Feed, FeedClosed, SubscriberTooSlow, every_record
from parallax.desk.registry import AlreadyLive, Registry
from parallax.domain.entities import QUOTE_VALIDITY, Quote
from parallax.domain.errors import QuoteExpired, QuoteTaken
from parallax.domain.facts import OrdersResumed
from parallax.domain.identity import QuoteId
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState, QuoteState
from parallax.ports.journal import Snapshot
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE, RATE, START

Play = Callable[[Any], Any]


def test_a_registry_lets_each_entity_in_once() -> None:
    registry: Registry[str, int] = Registry()
    registry.add("a", 1)
    with pytest.raises(AlreadyLive):
        registry.add("a", 2)
    assert registry.replace("a", 3) == 1
    with pytest.raises(KeyError):
        registry.replace("b", 1)
    assert list(registry) == [3]


def test_history_leaves_memory_and_is_still_there(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MAX_PAST_QUOTES", 3)
    monkeypatch.setattr(books, "MAX_SETTLED_ORDERS", 2)

    async def scenario(world: World) -> None:
        desk = await world.desk()
        placed = []
        for _ in range(6):
            quote = await world.quote(desk)
            placed.append((quote, await desk.execute(quote.id, ONE, usd(), "page")))
            world.venue.settle(quote.id)
        unused = await world.quote(desk)
        await asyncio.sleep(1200)
        assert len(desk.books.quotes) == 3
        assert len(desk.books.orders) == 2
        page = await desk.past_quotes(0, 2)
        assert (len(page.items), page.total, page.next_offset) == (2, 7, 2)
        quote, order = placed[0]
        assert (await desk.order(order.id, ONE)).state is OrderState.COMPLETED
        with pytest.raises(QuoteTaken):
            await desk.execute(quote.id, ONE, usd(), "page")
        with pytest.raises(QuoteExpired):
            await desk.execute(unused.id, ONE, usd(), "page")
        await desk.refresh("orders", ONE)  # the venue lists them all; none is taken for a new one
        assert not desk.books.open_incidents()
        assert not any(known.adopted for known in desk.books.orders_of(ONE))

    play(scenario)


def test_a_slow_listener_is_cut_off_and_resumes(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        slow = desk.feed.subscribe(key=every_record, limit=3)
        before = desk.feed.position
        for _ in range(5):
            await world.quote(desk)
        with pytest.raises(SubscriberTooSlow):
            slow.take()
        missed = desk.feed.since(before)
        assert missed is not None
        assert [record.position for record in missed] == list(range(before + 1, before + 6))

    play(scenario)


def test_listeners_get_the_newest_state_of_an_entity_not_a_backlog(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        with desk.feed.subscribe(lambda change: change.order is not None) as news:
            await desk.execute(quote.id, ONE, usd(), "page")
            records = news.take().records
        assert [record.change.order.state for record in records if record.change.order] == [
            OrderState.PENDING
        ]
        assert MAX_WAITING > 100

    play(scenario)


def test_a_feed_that_closes_ends_every_subscription(play: Play) -> None:
    async def scenario(_: World) -> None:
        feed = Feed()
        with feed.subscribe() as news:
            feed.close()
            with pytest.raises(FeedClosed):
                await news.next()

    play(scenario)


def test_a_quote_that_is_used_is_not_counted_as_live() -> None:
    books = Books()
    books.load(Snapshot(quotes=[_quote(n, QuoteState.ACTIVE) for n in range(5)]))
    assert books.live_count(START) == 5
    for n, state in ((0, QuoteState.CLAIMED), (1, QuoteState.EXECUTED), (0, QuoteState.EXECUTED)):
        books.put(Change(_FACT, quote=_quote(n, state)))
    assert (books.live_count(START), books.young_count(START)) == (3, 5)
    books.put(Change(_FACT, quote=_quote(0, QuoteState.ACTIVE)))
    assert books.live_count(START) == 4
    assert books.live_count(START + QUOTE_VALIDITY) == 0


def test_the_quote_before_is_found_at_once_among_very_many_of_one_second() -> None:
    books = Books()
    quotes = [_quote(n, QuoteState.ACTIVE) for n in range(100_000)]
    books.load(Snapshot(quotes=quotes))
    began = time.perf_counter()
    assert [books.quote_before(quote) for quote in quotes[50_000:51_000]] == quotes[49_999:50_999]
    assert books.quote_before(quotes[0]) is None
    assert time.perf_counter() - began < 0.5


_FACT = OrdersResumed(START, "test")


def _quote(number: int, state: QuoteState) -> Quote:
    return Quote(QuoteId(f"q{number}"), RATE, START, state)
