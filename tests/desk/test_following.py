"""Tracker, reconciliation, recovery: following orders to their end, and believing evidence only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from parallax.desk import books, readings, reconciliation
from parallax.domain.errors import NotFound, VenueUnavailable
from parallax.domain.facts import Fact, IncidentKind, OrderMissing, OrdersRead
from parallax.domain.identity import OrderId, UserId
from parallax.domain.transitions import OrderState, QuoteState, QuoteStatus
from parallax.ports.venue import OrderRequest, Outcome, Unknown, VenueOrderStatus
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE, TWO

Play = Callable[[Any], Any]


def test_each_user_sees_only_their_own_orders(play: Play) -> None:
    """The original showed everybody's orders to everyone."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        first, second = await world.quote(desk), await world.quote(desk)
        mine = await desk.execute(first.id, ONE, usd(), "page")
        theirs = await desk.execute(second.id, TWO, usd(), "page")
        assert [order.id for order in desk.books.orders_of(ONE)] == [mine.id]
        assert [order.id for order in desk.books.orders_of(TWO)] == [theirs.id]
        with pytest.raises(NotFound):
            await desk.order(theirs.id, ONE)

    play(scenario)


def test_news_of_one_order_leaves_the_others_alone(play: Play) -> None:
    """In the original one order's news changed another order's page."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        first, second = await world.quote(desk), await world.quote(desk)
        a = await desk.execute(first.id, ONE, usd("1"), "page")
        b = await desk.execute(second.id, ONE, usd("2"), "page")
        with desk.feed.subscribe(lambda change: change.order is not None) as news:
            world.venue.settle(first.id, VenueOrderStatus.FAILED)
            await asyncio.sleep(12)
            told = [record.change.order.id for record in news.take().records if record.change.order]
        assert told == [a.id]
        assert (await desk.order(a.id)).state is OrderState.FAILED
        assert (await desk.order(b.id)).state is OrderState.PENDING

    play(scenario)


def test_failing_looks_lose_nothing_and_it_never_gives_up(play: Play) -> None:
    """In the original four failing polls at once wiped all state."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quotes = [await world.quote(desk) for _ in range(5)]
        orders = [await desk.execute(quote.id, ONE, usd(), "page") for quote in quotes]
        world.venue.down = True
        await asyncio.sleep(1800)
        assert {(await desk.order(order.id)).state for order in orders} == {OrderState.PENDING}
        assert len(desk.books.quotes) == 5
        for quote in quotes:
            world.venue.settle(quote.id)
        world.venue.down = False
        await asyncio.sleep(130)
        assert {(await desk.order(order.id)).state for order in orders} == {OrderState.COMPLETED}

    play(scenario)


def test_many_orders_of_one_user_share_a_look(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        for _ in range(50):
            quote = await world.quote(desk)
            await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.calls.clear()
        for order in list(world.venue.order_list):
            world.venue.settle(order.quote_id)
        await asyncio.sleep(20)
        assert not desk.books.open_orders(ONE)
        assert world.calls("orders") <= 3
        await asyncio.sleep(30)
        assert world.calls("orders") <= 4  # nothing is followed any more

    play(scenario)


def test_what_has_settled_and_looks_the_same_is_not_looked_through_again_until_it_looks_otherwise(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_through: list[str] = []
    known = reconciliation._Reading._known

    def noted(self: Any, order: Any, listed: Any) -> None:
        looked_through.append(listed.quote_id)
        known(self, order, listed)

    monkeypatch.setattr(reconciliation._Reading, "_known", noted)

    async def scenario(world: World) -> None:
        desk = await world.desk()
        old, young = await world.quote(desk), await world.quote(desk)
        await desk.execute(old.id, ONE, usd(), "page")
        world.venue.settle(old.id)
        await asyncio.sleep(30)
        assert not desk.books.open_count
        looked_through.clear()
        await desk.execute(young.id, ONE, usd(), "page")
        await asyncio.sleep(30)
        assert set(looked_through) == {young.id}
        reads = [stored.fact for stored in await desk.facts(0, 1_000) if isinstance(stored.fact, OrdersRead)]
        assert reads[-1].listed == 2  # the list is still known to be whole
        world.venue.settle(old.id, VenueOrderStatus.FAILED)
        await asyncio.sleep(60)
        (incident,) = desk.books.open_incidents()
        assert (incident.kind, incident.quote_id) == (IncidentKind.SETTLED_ORDER_CHANGED, old.id)

    play(scenario)


def test_orders_of_a_crowd_that_open_in_one_commit_are_all_followed(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        at_once: list[int] = []
        desk.feed.hook(
            lambda records: at_once.append(sum(bool(r.change.order and r.change.order.open) for r in records))
        )
        quotes = [await world.quote(desk) for _ in range(20)]
        users = (ONE, TWO)
        await asyncio.gather(
            *(desk.execute(quote.id, users[n % 2], usd(), "page") for n, quote in enumerate(quotes))
        )
        assert max(at_once) > 2  # or this has not been tried
        for quote in quotes:
            world.venue.settle(quote.id)
        await asyncio.sleep(20)
        assert not desk.books.open_count

    play(scenario)


def test_an_order_that_opens_later_and_is_urgent_pulls_the_next_look_forward(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quotes = [await world.quote(desk) for _ in range(3)]
        await desk.execute(quotes[0].id, ONE, usd(), "page")
        planned = desk.tracker.next_look(ONE)
        assert planned is not None
        await asyncio.sleep(1)
        await desk.execute(quotes[1].id, ONE, usd(), "page")
        assert desk.tracker.next_look(ONE) == pytest.approx(planned - 1, abs=0.2)  # not later for the second

        async def lose(_: OrderRequest) -> Outcome:
            return Unknown("connection_lost", "")

        world.venue.answer = lose
        await desk.execute(quotes[2].id, ONE, usd(), "page")
        assert desk.tracker.next_look(ONE) == pytest.approx(0.5, abs=0.1)

    play(scenario)


def test_a_used_quote_stays_used_after_a_restart(play: Play) -> None:
    """In the original it became active again."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        await desk.stop()
        again = await world.desk()
        assert (await again.quote(quote.id)).status(again.venue_now()) is QuoteStatus.EXECUTED
        assert (await again.order(order.id, ONE)).state is OrderState.PENDING
        world.venue.settle(quote.id)
        await asyncio.sleep(15)
        assert (await again.order(order.id, ONE)).state is OrderState.COMPLETED

    play(scenario)


def test_deep_links_work_at_once_after_a_restart_and_while_the_venue_is_down(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        await desk.stop()
        world.venue.down = True
        again = world.build()
        await again.start()
        assert (await again.user(ONE)).name == "User One"
        assert (await again.quote(quote.id)).id == quote.id
        assert (await again.order(order.id, ONE)).id == order.id

    play(scenario)


def test_unknown_ids_are_not_found_and_say_when_that_cannot_be_known(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        with pytest.raises(NotFound):
            await desk.user(UserId("nobody"))
        with pytest.raises(NotFound):
            await desk.order(OrderId("nothing"), ONE)
        world.venue.down = True
        with pytest.raises(VenueUnavailable):
            await desk.order(OrderId("nothing"), TWO)

    play(scenario)


def test_orders_placed_elsewhere_are_adopted_and_their_quotes_executed(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = world.venue.quote()
        placed = world.venue.place(quote.id, ONE, "250.5")
        await desk.know_orders(ONE)
        (order,) = desk.books.orders_of(ONE)
        assert order.adopted
        assert order.venue_order_id == placed.id
        assert str(order.result) == "13632.21 PHP"
        assert (await desk.quote(quote.id)).state is QuoteState.EXECUTED
        world.venue.settle(quote.id)
        await asyncio.sleep(15)
        assert (await desk.order(order.id, ONE)).state is OrderState.COMPLETED
        assert not desk.books.open_incidents()

    play(scenario)


def test_a_settled_order_never_changes_and_a_contradiction_is_an_incident_once(play: Play) -> None:
    """Rule 4."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id, VenueOrderStatus.COMPLETED)
        await asyncio.sleep(15)
        world.venue.settle(quote.id, VenueOrderStatus.FAILED)
        for _ in range(3):
            await asyncio.sleep(6)
            await desk.refresh("orders", ONE)
        assert (await desk.order(order.id)).state is OrderState.COMPLETED
        assert [incident.kind for incident in desk.books.open_incidents()] == [
            IncidentKind.SETTLED_ORDER_CHANGED
        ]
        incident = desk.books.open_incidents()[0]
        await desk.resolve_incident(incident.id, "page", "confirmed by phone")
        await asyncio.sleep(6)
        await desk.refresh("orders", ONE)
        assert not desk.books.open_incidents()

    play(scenario)


def test_two_orders_on_one_quote_and_one_under_another_user_are_incidents(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        first = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.place(quote.id, TWO, "100")
        await desk.know_orders(TWO)
        (incident,) = desk.books.open_incidents()
        assert (incident.kind, incident.order_id) == (IncidentKind.TWO_ORDERS_ON_ONE_QUOTE, first.id)
        assert len(desk.books.orders_of(TWO)) == 1

    play(scenario)


def test_an_order_for_another_amount_where_ours_had_no_answer_is_an_incident(play: Play) -> None:
    """Somebody else was first, or the venue holds ours for another amount: a person has to ask which."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def lost(_: OrderRequest) -> Outcome:
            world.venue.place(quote.id, ONE, "999.00")
            return Unknown("timeout", "no answer")

        world.venue.answer = lost
        order = await desk.execute(quote.id, ONE, usd(), "page")
        await asyncio.sleep(5)
        (incident,) = desk.books.open_incidents()
        assert (incident.kind, incident.order_id) == (IncidentKind.AMOUNT_DIFFERS, order.id)
        assert "999.00" in incident.words
        assert (await desk.order(order.id)).state is OrderState.UNKNOWN
        await asyncio.sleep(500)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED
        assert len(desk.books.open_incidents()) == 1

    play(scenario)


def test_a_second_order_on_a_quote_is_an_incident_also_when_the_first_is_only_history(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "MAX_SETTLED_ORDERS", 0)

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        first = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.settle(quote.id)
        await asyncio.sleep(600)
        assert desk.books.order(first.id) is None
        world.venue.place(quote.id, TWO, "100")
        await desk.refresh("orders", TWO)
        (incident,) = desk.books.open_incidents()
        assert (incident.kind, incident.order_id) == (IncidentKind.TWO_ORDERS_ON_ONE_QUOTE, first.id)

    play(scenario)


@pytest.mark.parametrize("amount", ["9" * 64, "0." + "0" * 61 + "1", "0"])
def test_an_absurd_amount_of_an_order_placed_elsewhere_holds_up_no_other(play: Play, amount: str) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        mine, other = await world.quote(desk), await world.quote(desk)
        order = await desk.execute(mine.id, ONE, usd(), "page")
        elsewhere = world.venue.place(other.id, ONE, amount)
        world.venue.settle(mine.id)
        await asyncio.sleep(30)
        assert (await desk.order(order.id)).state is OrderState.COMPLETED
        assert (await desk.order(OrderId(elsewhere.id))).amount.wire == amount

    play(scenario)


def test_a_look_that_fails_by_a_mistake_of_ours_is_not_repeated_all_the_time(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        await desk.execute((await world.quote(desk)).id, ONE, usd(), "page")
        monkeypatch.setattr(readings, "orders_facts", mistaken)
        await asyncio.sleep(600)
        assert world.calls("orders") < 40

    def mistaken(*_: object) -> list[Fact]:
        raise ZeroDivisionError

    play(scenario)


def test_an_order_that_appears_after_its_absence_was_proven_is_an_incident(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def lost(_: OrderRequest) -> Outcome:
            return Unknown("timeout", "no answer")

        world.venue.answer = lost
        order = await desk.execute(quote.id, ONE, usd(), "page")
        await asyncio.sleep(500)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED
        world.venue.place(quote.id, ONE, "100")
        await desk.refresh("orders", ONE)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED
        assert [incident.kind for incident in desk.books.open_incidents()] == [
            IncidentKind.ORDER_AFTER_ABSENCE
        ]
        assert [o.adopted for o in desk.books.orders_of(ONE)] == [False, True]

    play(scenario)


def test_failed_reads_and_early_reads_prove_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def lost(_: OrderRequest) -> Outcome:
            world.venue.down = True
            return Unknown("timeout", "no answer")

        world.venue.answer = lost
        order = await desk.execute(quote.id, ONE, usd(), "page")
        await asyncio.sleep(3000)
        still = await desk.order(order.id)
        assert (still.state, still.absences) == (OrderState.UNKNOWN, 0)
        world.venue.down = False
        await asyncio.sleep(90)
        assert (await desk.order(order.id)).state is OrderState.NOT_PLACED

    play(scenario)


def test_absence_is_proven_also_where_the_list_is_read_all_the_time(play: Play) -> None:
    """A busy user's list is read every second or two, and none of these reads is five seconds after the one before."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.answer = no_answer
        lost = await desk.execute(quote.id, ONE, usd(), "page")
        world.venue.answer = world.venue.accept
        placed = world.venue.sent
        for _ in range(200):
            await desk.execute((await world.quote(desk)).id, ONE, usd(), "page")
            await asyncio.sleep(2)
            world.venue.settle(placed[max(1, len(placed) - 5)].quote_id)
        assert (await desk.order(lost.id)).state is OrderState.NOT_PLACED
        facts = [stored.fact for stored in await desk.order_facts(lost.id)]
        assert sum(isinstance(fact, OrderMissing) and fact.counts for fact in facts) == 3

    async def no_answer(_: OrderRequest) -> Outcome:
        return Unknown("timeout", "POST /orders was not answered within 10 s.")

    play(scenario)


def test_a_clock_that_jumps_ahead_proves_nothing_early(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def lost(_: OrderRequest) -> Outcome:
            return Unknown("timeout", "no answer")

        world.venue.answer = lost
        order = await desk.execute(quote.id, ONE, usd(), "page")
        world.clock.shift = timedelta(hours=1)
        await asyncio.sleep(240)
        assert (await desk.order(order.id)).state is OrderState.UNKNOWN

    play(scenario)


def test_a_crash_between_claim_and_answer_is_unknown_then_found(play: Play) -> None:
    """Rule 5."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        reached = asyncio.Event()

        async def crash(request: OrderRequest) -> Outcome:
            await world.venue.accept(request)
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        world.venue.answer = crash
        caller = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "page"))
        await reached.wait()
        me = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task not in (me, caller):
                task.cancel()
        world.venue.answer = world.venue.accept
        again = await world.desk()
        (order,) = again.books.orders_of(ONE)
        assert order.state in (OrderState.UNKNOWN, OrderState.PENDING)
        await asyncio.sleep(3)
        assert (await again.order(order.id)).state is OrderState.PENDING
        assert len(world.venue.sent) == 1

    play(scenario)


def test_fifty_readers_cost_one_call_a_list(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        await asyncio.gather(*(desk.know_orders(ONE) for _ in range(50)))
        await asyncio.gather(*(desk.know_orders(ONE) for _ in range(50)))
        assert (world.calls("users"), world.calls("quotes"), world.calls("orders")) == (1, 1, 1)

    play(scenario)


def test_a_hanging_venue_holds_nobody_up(play: Play) -> None:
    """In the original a hanging exchange hung the page for ever."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        never = asyncio.Event()
        world.venue.before_reply = lambda: never.wait()  # type: ignore[assignment, return-value]
        began = asyncio.get_running_loop().time()
        await desk.know_orders(ONE)
        assert asyncio.get_running_loop().time() - began <= 2.5
        assert desk.books.orders_of(ONE) == []
        assert len(desk.users()) == 2

    play(scenario)


def test_calls_that_were_not_needed_are_counted(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        for _ in range(10):
            quote = await world.quote(desk)
            await desk.execute(quote.id, ONE, usd(), "page")
            world.venue.settle(quote.id)
        await asyncio.sleep(20)
        assert world.venue.spared["one_list"] >= 9
        desk.users()
        await desk.know_orders(ONE)
        assert world.venue.spared["cache"] >= 2

    play(scenario)
