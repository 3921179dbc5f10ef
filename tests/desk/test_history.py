"""What only the journal remembers: the exchange may show it again at any time, and nothing fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from parallax.domain.errors import VenueMisbehaved
from parallax.ports.journal import SnapshotBounds
from parallax.ports.venue import VenueOrderStatus, VenueQuote
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE, RATE

Play = Callable[[Any], Any]

NOTHING_OLD = SnapshotBounds(orders=0, quotes=0, young_quotes=0, incidents=0)
"""A start with all that is past left on disk."""


class Forgetful(World):
    """Each desk begins with what is live alone."""

    def build(self) -> Any:
        desk = super().build()
        self.journal._bounds = NOTHING_OLD
        return desk


async def read(desk: Any, what: str) -> None:
    """Read a list again as soon as a person may."""
    await asyncio.sleep(10)
    await desk.refresh(what, ONE if what == "orders" else None)


def test_what_is_only_history_is_not_raised_again_and_stops_no_journal(play: Play) -> None:
    """Settled orders and a quote are contradicted, a person resolves it all, and every later start reads it anew."""

    async def scenario(_: World) -> None:
        world = Forgetful()
        desk = await world.desk()
        for _each in range(3):
            quote = await world.quote(desk)
            await desk.execute(quote.id, ONE, usd(), "page")
            world.venue.settle(quote.id)
        await read(desk, "orders")
        for each in world.venue.quote_list:
            world.venue.settle(each.id, VenueOrderStatus.FAILED)
        await read(desk, "orders")
        first = world.venue.quote_list[0]
        world.venue.quote_list[0] = VenueQuote(first.id, RATE, first.created_at - timedelta(hours=1))
        await read(desk, "quotes")
        raised = desk.books.open_incidents()
        assert len(raised) == 4
        for incident in raised:
            await desk.resolve_incident(incident.id, "ops", "seen")
        await desk.stop()
        for _start in range(2):
            desk = await world.desk()
            assert len(desk.books.incidents) == 0
            await read(desk, "orders")
            await desk.quote(first.id)
            await read(desk, "quotes")
            assert desk.books.open_incidents() == []
            quote = await world.quote(desk)
            await desk.execute(quote.id, ONE, usd(), "page")
            world.venue.settle(quote.id)
            await read(desk, "orders")
            assert desk.status.journal_failed is None
            await desk.stop()

    play(scenario)


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("changed", [True, False])
def test_a_quote_id_that_is_known_is_no_new_quote(play: Play, *, remembered: bool, changed: bool) -> None:
    """Whether memory holds the known quote or the journal alone, and whatever the second answer says of it."""

    async def scenario(_: World) -> None:
        world = World() if remembered else Forgetful()
        desk = await world.desk()
        quote = await world.quote(desk)
        await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id)
        await read(desk, "orders")
        await desk.stop()
        desk = await world.desk()
        moved = timedelta(minutes=1) if changed else timedelta()
        again = VenueQuote(quote.id, RATE, quote.created_at + moved)

        async def repeated() -> VenueQuote:
            return again

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(world.venue, "request_quote", repeated)
            with pytest.raises(VenueMisbehaved, match="known already"):
                await desk.request_quote("page")
        sent = len(world.venue.sent)
        fresh = await world.quote(desk)
        await desk.execute(fresh.id, ONE, usd("7"), "page")
        assert len(world.venue.sent) == sent + 1
        assert desk.status.journal_failed is None
        await desk.stop()

    play(scenario)


def test_a_new_quote_that_a_list_showed_first_is_taken(play: Play) -> None:
    """The list and the answer cross: the quote is nobody's yet, and new to whoever asked."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        listed = world.venue.quote()
        await read(desk, "quotes")

        async def late() -> VenueQuote:
            await asyncio.sleep(0)
            return listed

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(world.venue, "request_quote", late)
            assert (await desk.request_quote("page")).id == listed.id
        await desk.stop()

    play(scenario)
