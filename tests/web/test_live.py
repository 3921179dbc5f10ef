"""The event stream: every change reaches every page that shows it, once, and nothing is missed."""

from __future__ import annotations

import asyncio

import pytest

from parallax.desk import feed
from parallax.domain.facts import QuoteIssued
from parallax.ports.venue import VenueHealth, VenueStatus
from parallax.web import views
from parallax.web.live import BEAT
from tests.desk.scripted import ONE, START, TWO
from tests.web.conftest import Browser, Play


def test_a_new_quote_reaches_every_users_open_desk(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{ONE}/exchange")
        async with (
            browser.stream("exchange", user=ONE, after=after) as one,
            browser.stream("exchange", user=TWO, after=after) as two,
        ):
            quote = await browser.quote()
            for stream, user in ((one, ONE), (two, TWO)):
                message = await stream.until(f"quote-{quote}")
                assert f"/u/{user}/exchange/{quote}" in message.data
                assert 'hx-swap="upsert"' in message.data
                assert "rate-chart" in message.data

    surf(scenario)


def test_news_of_one_order_is_told_to_its_own_page_alone(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        mine = await browser.order(await browser.quote())
        other = await browser.order(await browser.quote())
        await asyncio.sleep(1)
        after = await browser.position(f"/u/{ONE}/orders/{mine}")
        async with browser.stream("order", user=ONE, order=mine, after=after) as stream:
            browser.venue.settle(browser.quote_of(other))
            await asyncio.sleep(20)
            browser.venue.settle(browser.quote_of(mine))
            message = await stream.until("Completed")
            assert mine in message.data
            assert other not in message.data

    surf(scenario)


def test_a_stream_of_one_user_never_carries_anothers_orders(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{TWO}/orders")
        async with browser.stream("orders", user=TWO, after=after) as stream:
            order = await browser.order(await browser.quote())
            await asyncio.sleep(15)
            assert order.encode() not in stream._bytes

    surf(scenario)


def test_an_open_ticket_hears_at_once_that_the_quote_is_taken(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        after = await browser.position(f"/u/{TWO}/exchange/{quote}")
        async with browser.stream("exchange", user=TWO, after=after) as stream:
            await browser.order(quote, tab="tabone")
            message = await stream.until(f"ticket-{quote}")
            assert "A page (tab tabone) is ordering on this quote" in message.data

    surf(scenario)


def test_what_was_missed_is_replayed_once_with_the_newest_state(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{ONE}/orders")
        order = await browser.order(await browser.quote())
        await asyncio.sleep(1)
        async with browser.stream("orders", user=ONE, after=after, wait="0") as stream:
            messages = await stream.all()
        rows = [message for message in messages if f"order-{order}" in message.data]
        assert len(rows) == 1
        assert "Pending" in rows[0].data
        async with browser.stream("orders", user=ONE, after=rows[0].id, wait="0") as stream:
            assert not [message for message in await stream.all() if "order-rows" in message.data]

    surf(scenario)


@pytest.mark.parametrize(
    "after", ["", "zzz.5", "nonsense", "{boot}.999999", "{boot}.-1", "{boot}." + "9" * 40]
)
def test_a_position_that_means_nothing_here_has_the_page_fetched_again(surf: Play, after: str) -> None:
    async def scenario(browser: Browser) -> None:
        given = after.format(boot=browser.app.state.site.boot)
        async with browser.stream("users", after=given, wait="0") as stream:
            hello, refresh, *_ = await stream.all()
        assert (hello.event, refresh.event) == ("hello", "refresh")
        assert refresh.id == browser.app.state.site.at()

    surf(scenario)


def test_a_reader_who_was_away_too_long_fetches_the_page_again(
    surf: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_REPLAY", 3)

    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{ONE}/exchange")
        for _ in range(4):
            await browser.quote()
        async with browser.stream("exchange", user=ONE, after=after, wait="0") as stream:
            assert (await stream.all())[1].event == "refresh"

    surf(scenario)


def test_a_reader_who_is_too_slow_is_cut_off_and_can_resume(
    surf: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{ONE}/exchange")
        async with browser.stream("exchange", user=ONE, after=after) as stream:
            await stream.next()
            (subscription,) = browser.desk.feed._subscriptions
            subscription._cut_off = True
            subscription._ready.set()
            await stream.all()
            assert stream.ended
        quote = await browser.quote()
        async with browser.stream("exchange", user=ONE, after=after) as stream:
            await stream.until(f"quote-{quote}")

    surf(scenario)


def test_a_change_is_rendered_once_however_many_look(surf: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(browser: Browser) -> None:
        made: list[str] = []
        render = views.quote_row
        monkeypatch.setattr(views, "quote_row", lambda *given: (made.append(given[1].id), render(*given))[1])
        after = await browser.position(f"/u/{ONE}/exchange")
        streams = [browser.stream("exchange", user=ONE, after=after) for _ in range(20)]
        for stream in streams:
            await stream.__aenter__()
            await stream.next()
        made.clear()
        quote = await browser.desk.request_quote("test")
        for stream in streams:
            await stream.until(f"quote-{quote.id}")
        assert made == [quote.id]
        for stream in streams:
            await stream.__aexit__()

    surf(scenario)


def test_an_idle_stream_costs_a_few_bytes_a_second(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        digest = browser.app.state.site.frame().digest
        after = await browser.position(f"/u/{ONE}/exchange")
        async with browser.stream("exchange", user=ONE, after=after, frame=digest) as stream:
            await stream.next()
            before = stream.taken
            await asyncio.sleep(50 * BEAT)
            assert 0 < (stream.taken - before) / (50 * BEAT) < 50

    surf(scenario)


def test_the_frame_changes_on_every_page_when_the_exchange_goes_down(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        digest = browser.app.state.site.frame().digest
        async with browser.stream("frame", after=await browser.position("/"), frame=digest) as stream:
            browser.venue.status = VenueStatus(VenueHealth.DOWN, START, "It does not answer")
            browser.desk.feed.signal("venue")
            message = await stream.until("The exchange is down")
            assert "frame-banners" in message.data
            browser.venue.status = VenueStatus(VenueHealth.WELL, START)
            browser.desk.feed.signal("venue")
            assert "is down" not in (await stream.until("frame-banners")).data

    surf(scenario)


def test_a_stop_ends_open_streams_and_refuses_new_ones(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        async with browser.stream("users", after=await browser.position("/")) as stream:
            await stream.next()
            browser.desk.drain()
            await stream.all()
            assert stream.ended
        assert (await browser.get("/live?page=users")).status_code == 503

    surf(scenario)


def test_a_reader_who_leaves_is_forgotten(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        async with browser.stream("users", after="") as stream:
            await stream.next()
            assert (browser.desk.feed.listeners, len(browser.app.state.shared.streams)) == (1, 1)
        assert (browser.desk.feed.listeners, len(browser.app.state.shared.streams)) == (0, 0)

    surf(scenario)


def test_a_page_gets_the_place_of_the_oldest_stream_when_all_are_taken(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        streams = browser.app.state.shared.streams
        streams.limit = 1
        async with browser.stream("users", after="") as oldest:
            await oldest.next()
            async with browser.stream("users", after="") as stream:
                await stream.next()
                assert len(streams) == 1

    surf(scenario)


def test_a_stream_for_no_page_is_not_found(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        assert (await browser.get("/live?page=nothing")).status_code == 404
        assert (await browser.get("/live?page=orders&user=%0d%0ax")).status_code == 404

    surf(scenario)


def test_what_others_do_at_the_exchange_is_told_too(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        await browser.get(f"/u/{ONE}/orders")
        after = await browser.position(f"/u/{ONE}/orders")
        async with browser.stream("orders", user=ONE, after=after) as stream:
            placed = browser.venue.place(quote)
            await asyncio.sleep(6)
            await browser.desk.refresh("orders", ONE)
            await stream.until(placed.id)
            records = browser.desk.feed.since(0)
            assert any(isinstance(record.fact, QuoteIssued) for record in records or ())

    surf(scenario)


def test_a_list_of_new_quotes_has_the_page_fetch_itself_again(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        after = await browser.position(f"/u/{ONE}/exchange")
        async with browser.stream("exchange", user=ONE, after=after) as stream:
            browser.venue.quote()
            await browser.desk.refresh("quotes")
            while (message := await stream.next()).event != "refresh":
                pass
            assert message.id == browser.app.state.site.at()

    surf(scenario)
