"""After a lost answer: the same idempotency key is the same order, and whoever asks by it is told the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parallax.domain.errors import KeyReused, QuoteTaken
from parallax.domain.transitions import OrderState
from parallax.ports.venue import OrderRequest, Outcome
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE, TWO

Play = Callable[[Any], Any]


def test_the_same_key_is_the_same_order_and_never_another(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote, other = await world.quote(desk), await world.quote(desk)
        first, again = await asyncio.gather(
            *(desk.execute(quote.id, ONE, usd(), "page", key="k") for _ in range(2))
        )
        assert first == again
        await desk.stop()
        desk = await world.desk()
        assert (await desk.execute(quote.id, ONE, usd(), "page", key="k")).id == first.id
        for content in ((other.id, ONE, usd()), (quote.id, TWO, usd()), (quote.id, ONE, usd("100.01"))):
            with pytest.raises(KeyReused) as refused:
                await desk.execute(*content, "page", key="k")
            assert refused.value.order_id == first.id
        assert len(world.venue.sent) == 1
        await desk.stop()

    play(scenario)


def test_whoever_asks_by_key_waits_for_a_claim_on_its_way(play: Play) -> None:
    """A "there is none" would have them order again, on another quote."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        sync, held = world.disk.sync, list[Any]()

        def hold(entries: Any, durable: Any) -> None:
            held.append((entries, durable))

        world.disk.sync = hold
        placing = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "page", key="k"))
        await asyncio.sleep(0.1)
        asking = asyncio.create_task(desk.order_by_key("k"))
        await asyncio.sleep(5)
        assert not asking.done()
        world.disk.sync = sync
        for entries in held:
            sync(*entries)
        order = await asking
        assert order is not None
        assert order.id == (await placing).id
        assert await desk.order_by_key("another") is None
        await desk.stop()

    play(scenario)


def test_a_quote_that_is_under_way_says_that_its_outcome_is_unknown(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def slow(request: OrderRequest) -> Outcome:
            await asyncio.sleep(5)
            return await world.venue.accept(request)

        world.venue.answer = slow
        placed = await desk.place(quote.id, ONE, usd(), "page", key="k")
        await asyncio.sleep(1)
        with pytest.raises(QuoteTaken, match="Outcome unknown: do not order again") as refused:
            await desk.execute(quote.id, ONE, usd(), "api", key="another")
        assert (refused.value.order_id, refused.value.undecided) == (placed.id, True)
        await asyncio.sleep(5)
        with pytest.raises(QuoteTaken, match=placed.id) as refused:
            await desk.execute(quote.id, ONE, usd(), "api", key="another")
        assert not refused.value.undecided
        assert (await desk.order(placed.id)).state is OrderState.PENDING
        await desk.stop()

    play(scenario)
