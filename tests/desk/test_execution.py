"""Claim, last check, send once, learn; and what the original got wrong there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from parallax.desk.execution import UNDECIDED
from parallax.domain.entities import Order
from parallax.domain.errors import (
    DeskPaused,
    DeskStopping,
    JournalFailed,
    NotFound,
    QuoteExpired,
    QuoteTaken,
    VenueUnavailable,
)
from parallax.domain.facts import OrderClaimed, OrderSent
from parallax.domain.identity import OrderId, QuoteId, UserId
from parallax.domain.transitions import OrderState, QuoteState, QuoteStatus
from parallax.ports.venue import OrderRequest, Outcome, Refused, Unknown, VenueHealth, VenueStatus
from parallax.server import ANSWER_SECONDS
from tests.desk.conftest import World, usd
from tests.desk.scripted import ONE, START, TWO

Play = Callable[[Any], Any]


def test_an_order_is_accepted_followed_and_settled(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd("1.08"), "page")
        assert order.state is OrderState.PENDING
        assert desk.books.quotes.get(quote.id).state is QuoteState.EXECUTED  # type: ignore[union-attr]
        world.venue.settle(quote.id)
        await asyncio.sleep(15)
        settled = await desk.order(order.id, ONE)
        assert settled.state is OrderState.COMPLETED
        assert str(settled.result) == "58.77 PHP"
        await desk.stop()

    play(scenario)


def test_a_second_order_on_a_used_quote_names_the_first(play: Play) -> None:
    """The original crashed the page without a reason."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        first = await desk.execute(quote.id, ONE, usd(), "page")
        with pytest.raises(QuoteTaken) as refused:
            await desk.execute(quote.id, ONE, usd(), "api")
        assert (refused.value.order_id, refused.value.by) == (first.id, "page")
        assert len(world.venue.sent) == 1

    play(scenario)


def test_a_thousand_at_once_send_one_request(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        answers = await asyncio.gather(
            *(desk.execute(quote.id, ONE if n % 2 else TWO, usd(), f"api:{n}") for n in range(1000)),
            return_exceptions=True,
        )
        placed = [answer for answer in answers if not isinstance(answer, BaseException)]
        refused = [answer for answer in answers if isinstance(answer, QuoteTaken)]
        assert (len(placed), len(refused), len(world.venue.sent)) == (1, 999, 1)
        assert {error.order_id for error in refused} == {placed[0].id}

    play(scenario)


def test_whoever_hears_that_a_quote_is_taken_is_shown_by_whom(play: Play) -> None:
    """Not before the claim is on the disk: the ticket's page would show a free quote and no word of what went wrong."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def shown(tab: str) -> tuple[bool, Order | None]:
            """Whether this tab has placed the order, and which order it is shown."""
            try:
                return True, await desk.place(quote.id, ONE, usd(), tab)
            except QuoteTaken as taken:
                assert desk.books.quote(quote.id) != quote
                return False, desk.books.order(OrderId(taken.order_id or ""))

        (placed, order), (placed_too, same) = await asyncio.gather(shown("tab-1"), shown("tab-2"))
        assert (placed, placed_too).count(True) == 1
        assert order is not None
        assert same is not None
        assert (order.id, order.by) == (same.id, "tab-1" if placed else "tab-2")

    play(scenario)


def test_a_quote_is_not_called_taken_by_a_claim_that_could_not_be_written(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.disk.sync = full
        told = await asyncio.gather(
            *(desk.place(quote.id, ONE, usd(), f"tab-{n}") for n in range(3)), return_exceptions=True
        )
        assert {type(error) for error in told} == {JournalFailed}

    def full(entries: Any, durable: Any) -> None:
        raise OSError(28, "No space left on device")

    play(scenario)


def test_the_claim_is_durable_before_the_request_leaves(play: Play) -> None:
    """Rule 1."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        durable: list[str] = []

        async def answer(request: OrderRequest) -> Outcome:
            durable.extend(type(stored.fact).__name__ for stored in await world.journal.facts(0, 1000))
            return await world.venue.accept(request)

        world.venue.answer = answer
        await desk.execute(quote.id, ONE, usd(), "page")
        assert OrderClaimed.__name__ in durable

    play(scenario)


def test_an_expired_quote_is_neither_active_nor_executable(play: Play) -> None:
    """The original kept a quote that was loaded late active past its time ("0m -32s") and executed it."""

    async def scenario(world: World) -> None:
        late = world.venue.quote(age=timedelta(minutes=5, seconds=32))
        desk = await world.desk()
        quote = await desk.quote(late.id)
        assert quote.status(desk.venue_now()) is QuoteStatus.EXPIRED
        with pytest.raises(QuoteExpired):
            await desk.execute(late.id, ONE, usd(), "page")
        assert not world.venue.sent

    play(scenario)


def test_too_late_to_be_safe_is_too_late(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.send_margin = timedelta(seconds=3)
        await asyncio.sleep((quote.expires_at - desk.venue_now()).total_seconds() - 2)
        with pytest.raises(QuoteExpired):
            await desk.execute(quote.id, ONE, usd(), "page")
        assert not world.venue.sent

    play(scenario)


def test_expiry_goes_by_the_venues_clock(play: Play) -> None:
    """Rule 8: the desk's own clock may be wrong by minutes."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.clock.shift = timedelta(minutes=-10)
        await asyncio.sleep(301)
        with pytest.raises(QuoteExpired):
            await desk.execute(quote.id, ONE, usd(), "page")

    play(scenario)


def test_the_last_check_withdraws_what_came_too_late(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        await asyncio.sleep(290)
        slow = world.journal.append

        def appended(changes: Any) -> Any:  # the claim takes long to become durable
            world.venue.clock.offset = timedelta(seconds=60)
            return slow(changes)

        world.journal.append = appended
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.WITHDRAWN
        assert not world.venue.sent

    play(scenario)


@pytest.mark.parametrize("cause", ["timeout", "connection_lost", "status_503", "unreadable_answer"])
def test_no_clear_answer_is_unknown_and_never_sent_again(play: Play, cause: str) -> None:
    """Rule 3."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def answer(_: OrderRequest) -> Outcome:
            return Unknown(cause, "no clear answer")

        world.venue.answer = answer
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.UNKNOWN
        with pytest.raises(QuoteTaken):
            await desk.execute(quote.id, ONE, usd(), "page")
        await asyncio.sleep(200)
        assert (await desk.order(order.id)).state is OrderState.UNKNOWN
        assert len(world.venue.sent) == 1
        await asyncio.sleep(250)
        proven = await desk.order(order.id)
        assert (proven.state, proven.absences) == (OrderState.NOT_PLACED, 3)
        assert len(world.venue.sent) == 1

    play(scenario)


def test_a_lost_answer_is_found_by_the_quotes_id(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def answer(request: OrderRequest) -> Outcome:
            await world.venue.accept(request)
            return Unknown("connection_lost", "the connection was lost")

        world.venue.answer = answer
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.UNKNOWN
        await asyncio.sleep(3)
        found = await desk.order(order.id)
        assert found.state is OrderState.PENDING
        assert found.venue_order_id == world.venue.order_list[0].id
        assert len(desk.books.orders_of(ONE)) == 1

    play(scenario)


def test_an_explicit_refusal_of_the_amount_frees_the_quote(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def refuse(_: OrderRequest) -> Outcome:
            return Refused(422, ("from_amount: is too small",), leaves_quote_usable=True, about_amount=True)

        world.venue.answer = refuse
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert (order.state, order.reasons) == (OrderState.REFUSED, ("from_amount: is too small",))
        world.venue.answer = world.venue.accept
        again = await desk.execute(quote.id, ONE, usd("200"), "page")
        assert again.state is OrderState.PENDING

    play(scenario)


def test_a_refusal_that_our_own_twin_caused_is_not_believed(play: Play) -> None:
    """A proxy sent our one request twice; the second copy was refused because the first was accepted."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def twice(request: OrderRequest) -> Outcome:
            await world.venue.accept(request)
            return Refused(422, ("quote_id: has been used",), leaves_quote_usable=False)

        world.venue.answer = twice
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.PENDING
        assert (await desk.quote(quote.id)).state is QuoteState.EXECUTED

    play(scenario)


def test_a_refusal_is_confirmed_when_someone_else_is_seen_to_have_the_quote(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        world.venue.place(quote.id, ONE, "7")

        async def used(_: OrderRequest) -> Outcome:
            return Refused(422, ("quote_id: has been used",), leaves_quote_usable=False)

        world.venue.answer = used
        order = await desk.execute(quote.id, ONE, usd(), "page")
        assert order.state is OrderState.REFUSED
        assert (await desk.quote(quote.id)).state is QuoteState.EXECUTED
        assert [o.adopted for o in desk.books.orders_of(ONE)].count(True) == 1

    play(scenario)


def test_a_caller_who_goes_away_does_not_stop_the_order(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        for delay in (0.0, 0.0001, 0.01, 0.05):
            quote = await world.quote(desk)
            caller = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "page"))
            await asyncio.sleep(delay)
            caller.cancel()
            await asyncio.sleep(1)
            orders = [order for order in desk.books.orders_of(ONE) if order.quote_id == quote.id]
            assert [order.state for order in orders] in ([], [OrderState.PENDING])
            assert sum(request.quote_id == quote.id for request in world.venue.sent) == len(orders)

    play(scenario)


def test_a_stop_while_an_answer_is_awaited_leaves_the_order_unknown(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def hang(request: OrderRequest) -> Outcome:
            await world.venue.accept(request)
            await asyncio.Event().wait()
            raise AssertionError

        world.venue.answer = hang
        caller = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "page"))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await desk.stop()
        assert asyncio.get_running_loop().time() - began <= 10
        await asyncio.gather(caller, return_exceptions=True)
        (order,) = desk.books.orders_of(ONE)
        assert order.state is OrderState.UNKNOWN
        world.venue.answer = world.venue.accept
        again = await world.desk()
        await asyncio.sleep(3)
        assert (await again.order(order.id)).state is OrderState.PENDING
        assert len(world.venue.sent) == 1

    play(scenario)


def test_nobody_is_kept_waiting_for_an_answer_to_the_end_of_a_stop(play: Play) -> None:
    """They are told what is known while there is still a connection to tell it over."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        async def hang(_: OrderRequest) -> Outcome:
            await asyncio.sleep(3600)
            raise AssertionError

        world.venue.answer = hang
        waiting = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "api"))
        await asyncio.sleep(0.5)
        desk.drain()
        desk.drain()
        async with asyncio.timeout(ANSWER_SECONDS):
            assert (await waiting).state is OrderState.SENT
        await desk.stop(grace=1)
        assert desk.books.orders_of(ONE)[0].state is OrderState.UNKNOWN

    play(scenario)


def test_a_stopping_desk_and_a_paused_one_take_nothing_new(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        await desk.pause("  month-end\naudit ", "page")
        with pytest.raises(DeskPaused, match="month-end audit"):
            await desk.execute(quote.id, ONE, usd(), "page")
        await desk.resume("page")
        desk.drain()
        with pytest.raises(DeskStopping):
            await desk.execute(quote.id, ONE, usd(), "page")
        with pytest.raises(DeskStopping):
            await desk.request_quote("page")
        assert not world.venue.sent

    play(scenario)


def test_unknown_users_and_quotes_are_not_found(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        with pytest.raises(NotFound, match="user"):
            await desk.execute(quote.id, UserId("nobody"), usd(), "page")
        with pytest.raises(NotFound, match="quote"):
            await desk.execute(QuoteId("nothing"), ONE, usd(), "page")

    play(scenario)


def test_what_was_sent_is_written_down(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        order = await desk.execute(quote.id, ONE, usd("12.50"), "page")
        facts = [stored.fact for stored in await desk.order_facts(order.id)]
        sent = next(fact for fact in facts if isinstance(fact, OrderSent))
        assert sent.request == (f'{{"quote_id":"{quote.id}","user_id":"{ONE}","from_amount":"12.50"}}')

    play(scenario)


def test_a_failed_journal_sends_nothing_and_says_so(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)

        def full(entries: Any, durable: Any) -> None:
            raise OSError(28, "No space left on device")

        world.disk.sync = full
        with desk.feed.subscribe() as news:
            with pytest.raises(JournalFailed, match="No space left"):
                await desk.execute(quote.id, ONE, usd(), "page")
            await asyncio.sleep(1)
            assert "desk" in news.take().signals
        assert not world.venue.sent
        assert desk.status.journal_failed is not None
        assert desk.books.quote(quote.id) == quote  # nothing is shown that is not on disk
        with pytest.raises(JournalFailed):
            await desk.request_quote("page")

    play(scenario)


@pytest.mark.parametrize("moment", ["start", "claim", "answer"])
def test_a_failed_journal_is_one_line_of_the_log_and_asks_the_exchange_for_nothing(
    play: Play, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    """Neither duties nor orders under way end in a traceback, and no list is read that could not be written down."""

    async def scenario(world: World) -> None:
        desk = world.build()
        await desk.start()
        if moment == "start":
            world.disk.sync = full
        await asyncio.sleep(0.1)
        if moment != "start":
            quote = await world.quote(desk)

            async def answer(request: OrderRequest) -> Outcome:
                if moment == "claim":
                    await asyncio.sleep(1)  # that it was sent is written down meanwhile, or not
                world.disk.sync = full
                return await world.venue.accept(request)

            world.venue.answer = answer
            order = await desk.execute(quote.id, ONE, usd(), "page")
            # An error would say that nothing was sent: nobody knows what came of it, and the state says so.
            assert order.state in UNDECIDED
        await asyncio.sleep(1)
        asked = len(world.venue.calls)
        await asyncio.sleep(300)
        assert len(world.venue.calls) == asked
        assert {duty.restarts for duty in desk.duties} == {0}
        await desk.stop()

    def full(entries: Any, durable: Any) -> None:
        raise OSError(28, "No space left on device")

    play(scenario)
    said = capsys.readouterr().out
    assert "Traceback" not in said
    assert said.count("[error") == said.count("the journal failed") == 1


def test_while_the_exchange_is_known_to_be_down_nothing_is_claimed(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        retry_at = world.clock.now() + timedelta(seconds=7)
        world.venue.status = VenueStatus(VenueHealth.DOWN, START, "It is down.", retry_at)
        with pytest.raises(VenueUnavailable, match=r"It is down\. Nothing was sent") as refused:
            await desk.execute(quote.id, ONE, usd(), "page")
        assert refused.value.retry_in == pytest.approx(7)
        assert not desk.books.orders_of(ONE)
        assert (await desk.quote(quote.id)).state is QuoteState.ACTIVE

    play(scenario)


def test_a_claim_that_was_being_written_when_the_desk_stopped_is_withdrawn(play: Play) -> None:
    async def scenario(world: World) -> None:
        desk = await world.desk()
        quote = await world.quote(desk)
        caller = asyncio.create_task(desk.execute(quote.id, ONE, usd(), "page"))
        await asyncio.sleep(0)
        await desk.stop(grace=0)
        await asyncio.gather(caller, return_exceptions=True)
        assert not world.venue.sent
        again = await world.desk()
        assert {order.state for order in again.books.orders_of(ONE)} <= {OrderState.WITHDRAWN}

    play(scenario)
