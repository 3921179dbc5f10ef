"""The gateway: order of calls, pauses, retries, breaker, sending once, and what it tells."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from parallax.domain.errors import QuoteExpired, VenueBusy, VenueUnavailable
from parallax.domain.identity import UserId
from parallax.ports.venue import Accepted, Purpose, Refused, Unknown, VenueHealth, VenueStatus
from parallax.venues.api import CallFailed, Reply
from parallax.venues.breaker import BreakerSettings
from parallax.venues.budget import Limits
from parallax.venues.gateway import MAX_PAUSE, Gateway, GatewaySettings
from tests.venues.scripted import QUOTE, USER, House, Script, answer, counted, hang, heard, lost
from tests.venues.virtual import NOON, spin, turns, virtually

U1 = UserId("u1")


class TestBudget:
    def test_a_new_quote_that_cannot_be_served_in_time_is_refused_in_words(self) -> None:
        async def main() -> None:
            limits = Limits(calls_per_second=0.2, burst=1)
            async with House(limits=limits) as house:
                await house.gateway.request_quote()
                with pytest.raises(VenueBusy, match="a new quote") as caught:
                    await house.gateway.request_quote()
                assert caught.value.retry_in == pytest.approx(5, abs=0.2)
                assert asyncio.get_running_loop().time() == pytest.approx(0.1)
                assert house.gateway.meter.snapshot().avoided == {"no_room": 1}

        virtually(main())

    def test_everything_hanging_leaves_room_to_send(self) -> None:
        async def main() -> None:
            limits = Limits(
                calls_per_second=100, burst=100, concurrency=4, kept_for_sends=1, kept_for_resolves=1
            )
            async with House(limits=limits) as house:
                house.api.script = hang
                users = [UserId(f"u{n}") for n in range(20)]
                reads = [asyncio.ensure_future(house.gateway.orders(u, Purpose.FOLLOW)) for u in users]
                await spin()
                assert house.api.under_way == 2
                house.api.script = None
                assert isinstance(await house.send(), Accepted)
                await house.gateway.orders(UserId("u99"), Purpose.RESOLVE)
                for read in reads:
                    read.cancel()
                await asyncio.gather(*reads, return_exceptions=True)

        virtually(main())

    @pytest.mark.parametrize("form", ["seconds", "date", "date without Date"])
    def test_retry_after_is_obeyed_by_everyone(self, form: str) -> None:
        async def main() -> None:
            async with House() as house:
                later = format_datetime(NOON + timedelta(seconds=20), usegmt=True)
                headers: dict[str, Any] = {"retry_after": "20" if form == "seconds" else later}
                if form == "date without Date":
                    headers["date"] = None
                house.api.script = Script(lambda: answer(429, **headers))
                with pytest.raises(VenueBusy):
                    await house.gateway.users()
                status = house.gateway.status
                assert status.health is VenueHealth.LIMITED
                assert status.retry_at is not None
                assert status.retry_at - NOON == pytest.approx(
                    timedelta(seconds=20), abs=timedelta(seconds=1)
                )
                with pytest.raises(VenueBusy, match="asked for a pause"):
                    await house.gateway.request_quote()
                with pytest.raises(VenueBusy):
                    await house.send(5)
                reads: list[asyncio.Future[Any]] = [
                    asyncio.ensure_future(house.gateway.orders(U1, Purpose.RESOLVE)),
                    asyncio.ensure_future(house.send(60)),
                ]
                await asyncio.gather(*reads)
                assert all(at >= 19.9 for at, _ in house.api.calls[1:])
                assert house.gateway.status.health is VenueHealth.WELL

        virtually(main())

    def test_an_exchange_that_never_answered_is_not_called_well(self) -> None:
        async def main() -> None:
            async with House() as house:
                assert house.gateway.status.health is VenueHealth.UNKNOWN
                await house.gateway.users()
                assert house.gateway.status.health is VenueHealth.WELL

        virtually(main())

    def test_a_key_that_is_refused_is_told_until_one_is_accepted(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(lambda: answer(401))
                with pytest.raises(VenueUnavailable):
                    await house.gateway.users()
                status = house.gateway.status
                assert status.health is VenueHealth.REFUSING
                assert "administrator" in status.words
                await house.gateway.users()
                assert house.gateway.status.health is VenueHealth.WELL

        virtually(main())

    def test_a_pause_has_a_bound_and_ends_without_anyone_asking(self) -> None:
        async def main() -> None:
            async with House() as house:
                seen: list[VenueStatus] = []
                house.gateway.on_status(seen.append)
                house.api.script = Script(lambda: answer(429, retry_after="99999999999"))
                with pytest.raises(VenueBusy):
                    await house.gateway.users()
                await asyncio.sleep(MAX_PAUSE + 1)
                assert [status.health for status in seen] == [VenueHealth.LIMITED, VenueHealth.WELL]

        virtually(main())

    @pytest.mark.parametrize("text", [None, "", "soon", "-5", "0", "1.5", "Sun, 06 Nov 1994 08:49:37 GMT"])
    def test_without_a_usable_retry_after_the_pauses_grow(self, text: str | None) -> None:
        async def main() -> None:
            async with House() as house:
                loop = asyncio.get_running_loop()
                pauses: list[float] = []
                for _ in range(9):
                    house.api.script = Script(lambda: answer(429, retry_after=text))
                    with pytest.raises(VenueBusy):
                        await house.gateway.orders(U1, Purpose.RESOLVE)
                    began = loop.time()
                    await house.becomes(VenueHealth.WELL)
                    pauses.append(loop.time() - began)
                for n, pause in enumerate(pauses):
                    assert 0.75 * min(60, 2**n) - 0.1 <= pause <= min(60, 2**n) + 0.1

        virtually(main())

    def test_a_send_that_meets_429_is_refused_and_pauses_everyone(self) -> None:
        async def main() -> None:
            async with House() as house:
                refused = Refused(429, ("slow down",), leaves_quote_usable=True)
                house.api.script = Script(lambda: Reply(heard(429, retry_after="7"), refused))
                assert await house.send() == refused
                assert house.gateway.status.health is VenueHealth.LIMITED

        virtually(main())


class TestRetries:
    def test_a_list_for_a_person_is_tried_again(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(lost(), lambda: answer(503))
                assert await house.gateway.users() == [USER]
                assert house.api.names() == ["users"] * 3
                gaps = [b[0] - a[0] for a, b in zip(house.api.calls, house.api.calls[1:], strict=False)]
                assert 0.12 <= gaps[0] <= 0.4
                assert 0.25 <= gaps[1] <= 0.8

        virtually(main())

    def test_but_a_bounded_number_of_times(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(*(lost() for _ in range(9)))
                with pytest.raises(VenueUnavailable, match="lost"):
                    await house.gateway.quotes()
                assert len(house.api.calls) == 3

        virtually(main())

    @pytest.mark.parametrize("status", [400, 401, 404, 429])
    def test_an_explicit_no_is_not_tried_again(self, status: int) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(lambda: answer(status))
                with pytest.raises(VenueUnavailable):
                    await house.gateway.users()
                assert len(house.api.calls) == 1

        virtually(main())

    def test_what_the_tracker_asks_is_its_own_to_repeat(self) -> None:
        async def main() -> None:
            async with House() as house:
                for purpose in (Purpose.FOLLOW, Purpose.RESOLVE):
                    house.api.script = Script(lost())
                    with pytest.raises(VenueUnavailable):
                        await house.gateway.orders(U1, purpose)
                assert len(house.api.calls) == 2

        virtually(main())

    def test_nothing_that_is_sent_is_tried_again(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(lost(), lambda: answer(503))
                with pytest.raises(VenueUnavailable):
                    await house.gateway.request_quote()
                with pytest.raises(VenueUnavailable):
                    await house.gateway.request_quote()
                house.api.script = Script(lost())
                assert isinstance(await house.send(), Unknown)
                assert house.api.names() == ["quote", "quote", "send"]

        virtually(main())


class TestSending:
    def test_the_last_check_is_made_when_there_is_room_and_right_before_it_leaves(self) -> None:
        async def main() -> None:
            limits = Limits(calls_per_second=1, burst=1)
            async with House(limits=limits) as house:
                await house.gateway.users()
                checked: list[tuple[float, int]] = []

                def check() -> None:
                    checked.append((asyncio.get_running_loop().time(), len(house.api.calls)))

                assert isinstance(await house.send(last_check=check), Accepted)
                sent_at = house.api.calls[-1][0]
                assert checked == [(sent_at, 1)]
                assert sent_at >= 0.99

        virtually(main())

    def test_a_connection_is_made_before_the_last_check_however_long_it_takes(self) -> None:
        async def main() -> None:
            async with House() as house:
                loop = asyncio.get_running_loop()
                checked: list[float] = []
                house.api.connecting = lambda: asyncio.sleep(3.0)
                outcome = await house.send(last_check=lambda: checked.append(loop.time()))
                assert isinstance(outcome, Accepted)
                assert checked == [house.api.calls[-1][0]] == [3.0]

        virtually(main())

    def test_without_a_connection_nothing_was_sent_and_the_breaker_hears_of_it(self) -> None:
        async def main() -> None:
            async with House() as house:
                checked: list[None] = []

                async def fail() -> None:
                    raise CallFailed("not_connected", "exchange cannot be reached: connection refused.", 0.1)

                house.api.connecting = fail
                for _ in range(BreakerSettings().failures):
                    with pytest.raises(VenueUnavailable, match="connection refused"):
                        await house.send(last_check=lambda: checked.append(None))
                assert (house.api.calls, checked) == ([], [])
                assert house.gateway.status.health is VenueHealth.DOWN
                assert not any(house.gateway.snapshot().limiter.running.values())

        virtually(main())

    def test_a_last_check_that_says_no_passes_through_and_costs_nothing(self) -> None:
        async def main() -> None:
            async with House() as house:

                def check() -> None:
                    raise QuoteExpired

                before = house.gateway.snapshot().limiter.tokens
                with pytest.raises(QuoteExpired):
                    await house.send(last_check=check)
                after = house.gateway.snapshot().limiter
                assert house.api.calls == []
                assert after.tokens == before
                assert not any(after.running.values())

        virtually(main())

    def test_it_waits_for_room_until_the_quotes_safe_time_and_no_longer(self) -> None:
        async def main() -> None:
            limits = Limits(
                calls_per_second=100, burst=100, concurrency=3, kept_for_sends=1, kept_for_resolves=1
            )
            async with House(limits=limits) as house:
                house.api.script = hang
                sends = [asyncio.ensure_future(house.send()) for _ in range(2)]
                await spin()
                checked: list[int] = []
                with pytest.raises(VenueBusy, match="sending an order"):
                    await house.send(12.5, lambda: checked.append(1))
                assert asyncio.get_running_loop().time() == pytest.approx(12.5, abs=0.01)
                assert not checked
                for send in sends:
                    send.cancel()
                await asyncio.gather(*sends, return_exceptions=True)

        virtually(main())

    @pytest.mark.parametrize(
        ("happens", "cause"),
        [
            (lost("timeout"), "timeout"),
            (lost("connection_lost"), "connection_lost"),
            (lost("not_connected"), "not_connected"),
            (RuntimeError("a mistake"), "unreadable_answer"),
        ],
    )
    def test_once_it_may_have_left_there_is_an_outcome(self, happens: Exception, cause: str) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(happens)
                outcome = await house.send()
                assert isinstance(outcome, Unknown)
                assert outcome.cause == cause
                assert house.api.names() == ["send"]

        virtually(main())

    def test_cancelling_passes_through_and_frees_the_place(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = hang
                send = asyncio.ensure_future(house.send())
                await spin()
                send.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await send
                assert house.gateway.snapshot().limiter.running["send"] == 0
                assert counted(house.gateway.meter.snapshot(), result="cancelled") == 1

        virtually(main())

    def test_the_margin_is_learned_from_what_sending_took(self) -> None:
        async def main() -> None:
            async with House(delay=0.4) as house:
                gateway = house.gateway
                assert gateway.send_margin == timedelta(
                    seconds=3
                )  # nothing known: 2 s of clock and 1 s to send
                for _ in range(30):
                    await house.send()
                assert gateway.send_margin == gateway.clock.uncertainty + timedelta(seconds=0.4)
                house.api.delay = 0.01
                for _ in range(600):
                    await house.send()
                assert gateway.send_margin == gateway.clock.uncertainty + timedelta(seconds=0.25)
                house.api.delay = 60
                for _ in range(10):
                    await house.send(600)
                assert gateway.send_margin == timedelta(seconds=10)

        virtually(main())


class TestBreaker:
    settings = GatewaySettings(retries=0, breaker=BreakerSettings(failures=3, first_delay=4))

    def test_down_refuses_at_once_tells_at_once_and_comes_back_by_itself(self) -> None:
        async def main() -> None:
            async with House(settings=self.settings) as house:
                loop = asyncio.get_running_loop()
                seen: list[VenueStatus] = []
                house.gateway.on_status(seen.append)
                house.api.script = Script(*(lost("timeout") for _ in range(4)))
                for _ in range(3):
                    with pytest.raises(VenueUnavailable):
                        await house.gateway.users()
                (down,) = seen
                assert down.health is VenueHealth.DOWN
                assert down.retry_at is not None
                assert down == house.gateway.status
                for refused in (house.gateway.request_quote(), house.send(), house.gateway.users()):
                    with pytest.raises(VenueUnavailable, match="tried again in") as caught:
                        await refused
                    assert 2 < (caught.value.retry_in or 0) <= 4
                assert len(house.api.calls) == 3
                await house.becomes(VenueHealth.WELL)
                assert house.api.names() == ["users"] * 5  # one probe failed, the second did not
                assert loop.time() < 15
                assert [status.health for status in seen] == [
                    VenueHealth.DOWN,
                    VenueHealth.DOWN,
                    VenueHealth.WELL,
                ]
                assert seen[1].since == down.since
                assert isinstance(await house.send(), Accepted)

        virtually(main())

    def test_the_read_that_comes_first_is_the_one_probe(self) -> None:
        async def main() -> None:
            async with House(delay=1, settings=self.settings) as house:
                house.api.script = Script(*(lost() for _ in range(3)))
                for _ in range(3):
                    with pytest.raises(VenueUnavailable):
                        await house.gateway.users()
                await house.probe_due()
                probe = asyncio.ensure_future(house.gateway.orders(U1, Purpose.RESOLVE))
                await spin()
                for late in (house.gateway.orders(UserId("u2"), Purpose.RESOLVE), house.send()):
                    with pytest.raises(VenueUnavailable, match="being tried now"):
                        await late
                await probe
                assert house.api.names() == ["users"] * 3 + ["orders u1"]
                assert house.gateway.status.health is VenueHealth.WELL

        virtually(main())

    def test_lost_orders_open_it_and_an_order_is_never_the_probe(self) -> None:
        async def main() -> None:
            async with House(settings=self.settings) as house:
                house.api.script = Script(*(lost("timeout") for _ in range(3)))
                for _ in range(3):
                    await house.send()
                assert house.gateway.status.health is VenueHealth.DOWN
                await house.probe_due()  # and nobody has read
                with pytest.raises(VenueUnavailable):
                    await house.send()
                await asyncio.sleep(1)
                assert house.api.names() == ["send"] * 3 + ["users"]
                assert isinstance(await house.send(), Accepted)

        virtually(main())

    def test_a_probe_that_must_wait_waits_quietly(self) -> None:
        async def main() -> None:
            settings = GatewaySettings(retries=0, breaker=BreakerSettings(failures=1))
            async with House(settings=settings) as house:
                house.api.script = Script(lambda: answer(503, retry_after="60"))
                with pytest.raises(VenueUnavailable):
                    await house.gateway.users()
                before = turns()
                await house.becomes(VenueHealth.WELL)
                assert [at for at, _ in house.api.calls] == pytest.approx([0, 61], abs=2)
                assert turns() - before < 50

        virtually(main())

    def test_calls_waiting_when_it_opens_do_not_leave(self) -> None:
        async def main() -> None:
            settings = GatewaySettings(
                retries=0, breaker=BreakerSettings(failures=1, first_delay=9), limits=Limits(1, 1)
            )
            async with House(settings=settings, delay=0.5) as house:
                house.api.script = Script(lost())
                users = asyncio.ensure_future(house.gateway.users())
                await asyncio.sleep(0)
                sends = [asyncio.ensure_future(house.send()) for _ in range(2)]
                outcomes = await asyncio.gather(users, *sends, return_exceptions=True)
                assert [type(outcome) for outcome in outcomes] == [VenueUnavailable] * 3
                assert house.api.names() == ["users"]

        virtually(main())

    @pytest.mark.parametrize("status", [401, 404, 422])
    def test_an_exchange_that_says_no_is_not_down(self, status: int) -> None:
        async def main() -> None:
            async with House(settings=self.settings) as house:
                house.api.script = Script(*(lambda: answer(status) for _ in range(9)))
                for _ in range(9):
                    with pytest.raises(VenueUnavailable):
                        await house.gateway.users()
                said = VenueHealth.REFUSING if status == 401 else VenueHealth.WELL
                assert house.gateway.status.health is said

        virtually(main())


class TestTelling:
    def test_slow_is_said_and_forgotten(self) -> None:
        async def main() -> None:
            async with House(delay=3) as house:
                for _ in range(4):
                    await house.gateway.orders(U1, Purpose.FOLLOW)
                assert house.gateway.status.health is VenueHealth.SLOW
                await asyncio.sleep(61)
                assert house.gateway.status.health is VenueHealth.WELL

        virtually(main())

    def test_slow_calls_long_ago_are_not_waited_for_in_circles(self) -> None:
        async def main() -> None:
            async with House(delay=3) as house:
                for _ in range(4):
                    await house.gateway.orders(U1, Purpose.FOLLOW)
                await asyncio.sleep(45)
                for _ in range(4):
                    await house.gateway.orders(U1, Purpose.FOLLOW)
                before = turns()
                await house.becomes(VenueHealth.WELL)
                assert turns() - before < 50

        virtually(main())

    def test_the_clock_learns_from_answers_but_not_from_broken_ones(self) -> None:
        async def main() -> None:
            async with House() as house:
                ahead = format_datetime(NOON + timedelta(seconds=90), usegmt=True)
                house.api.script = Script(lambda: answer(503, date=ahead), lambda: answer(503, date=ahead))
                for _ in range(2):
                    with pytest.raises(VenueUnavailable):
                        await house.gateway.orders(U1, Purpose.FOLLOW)
                assert house.gateway.clock.samples == 0
                house.api.script = Script(lambda: Reply(heard(200, date=ahead), QUOTE))
                await house.gateway.request_quote()
                assert house.gateway.clock.samples == 1
                assert house.gateway.clock.offset > timedelta(seconds=89)

        virtually(main())

    def test_calls_waits_and_latencies_are_counted_also_for_prometheus(self) -> None:
        async def main() -> None:
            registry = CollectorRegistry()
            async with House() as house:
                gateway = Gateway(house.api, house.clock, house.gateway._random, registry=registry)
                await gateway.users()
                await gateway.request_quote()
                gateway.meter.avoided("cache", 3)
                house.api.script = Script(lost("timeout"), lambda: answer(429, retry_after="9"))
                for _ in range(2):
                    with pytest.raises(VenueUnavailable):
                        await gateway.orders(U1, Purpose.FOLLOW)
                snapshot = gateway.snapshot()
                assert snapshot.meter.total == 4
                assert counted(snapshot.meter, kind="quote", purpose="quote", result="ok") == 1
                assert counted(snapshot.meter, kind="orders", purpose="follow", result="timeout") == 1
                assert counted(snapshot.meter, result="limited") == 1
                assert snapshot.meter.avoided == {"cache": 3}
                assert snapshot.limiter.paused_for == pytest.approx(9)
                (latency,) = [seen for seen in snapshot.meter.latencies if seen.kind == "users"]
                assert latency.count == 1
                text = generate_latest(registry).decode()
                assert 'calls_total{kind="quote",purpose="quote",result="ok"} 1.0' in text
                assert 'calls_avoided_total{reason="cache"} 3.0' in text
                assert "parallax_venue_paused_seconds 9.0" in text
                assert "parallax_venue_breaker_open 0.0" in text
                await gateway.close()

        virtually(main())

    def test_closing_ends_what_is_under_way_and_says_so(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = hang
                read = asyncio.ensure_future(house.gateway.users())
                await spin()
                await house.gateway.close()
                with pytest.raises(VenueUnavailable, match="stopping"):
                    await read
                assert house.api.closed
                for refused in (house.gateway.users(), house.gateway.request_quote(), house.send()):
                    with pytest.raises(VenueUnavailable, match="stopping"):
                        await refused

        virtually(main())
