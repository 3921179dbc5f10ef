"""Single flight: who rides along, who must not, and what leaving does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parallax.domain.errors import VenueUnavailable
from parallax.domain.identity import UserId, VenueOrderId
from parallax.ports.venue import Purpose
from parallax.venues.budget import Limits
from tests.venues.scripted import USER, House, Script, answer, counted, hang
from tests.venues.virtual import spin, virtually

U1 = UserId("u1")


class TestSharing:
    def test_identical_reads_under_way_are_one_call(self) -> None:
        async def main() -> None:
            async with House() as house:
                lists = await asyncio.gather(*(house.gateway.users() for _ in range(50)))
                assert house.api.names() == ["users"]
                assert all(found == [USER] for found in lists)
                assert house.gateway.meter.snapshot().avoided == {"shared": 49}
                await asyncio.gather(
                    house.gateway.orders(U1, Purpose.REFRESH),
                    house.gateway.orders(UserId("u2"), Purpose.REFRESH),
                    house.gateway.quotes(),
                )
                assert sorted(house.api.names()[1:]) == ["orders u1", "orders u2", "quotes"]
                await house.gateway.users()
                assert house.api.names().count("users") == 2

        virtually(main())

    def test_one_who_leaves_does_not_take_the_others_along(self) -> None:
        async def main() -> None:
            async with House() as house:
                first = asyncio.ensure_future(house.gateway.users())
                second = asyncio.ensure_future(house.gateway.users())
                await spin()
                first.cancel()
                assert await second == [USER]
                assert first.cancelled()
                assert len(house.api.calls) == 1

        virtually(main())

    def test_the_last_one_who_leaves_ends_the_call(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = hang
                readers = [asyncio.ensure_future(house.gateway.users()) for _ in range(2)]
                await spin()
                assert house.api.under_way == 1
                for reader in readers:
                    reader.cancel()
                await spin()
                assert house.api.under_way == 0
                house.api.script = None
                assert await house.gateway.users() == [USER]

        virtually(main())

    def test_an_error_reaches_everyone_who_shares(self) -> None:
        async def main() -> None:
            async with House() as house:
                house.api.script = Script(lambda: answer(403))
                reads = (house.gateway.users() for _ in range(3))
                outcomes = await asyncio.gather(*reads, return_exceptions=True)
                assert [type(outcome) for outcome in outcomes] == [VenueUnavailable] * 3

        virtually(main())

    @pytest.mark.parametrize("purpose", [Purpose.RESOLVE, Purpose.FOLLOW])
    def test_evidence_is_never_a_read_that_began_before_it_was_asked_for(self, purpose: Purpose) -> None:
        """Rule 3: a list that was answered before the order arrived is no proof that it is not there."""

        async def main() -> None:
            async with House(delay=1) as house:
                loop = asyncio.get_running_loop()
                old = asyncio.ensure_future(house.gateway.orders(U1, Purpose.REFRESH))
                await asyncio.sleep(0.5)
                fresh = asyncio.ensure_future(house.gateway.orders(U1, purpose))
                await old
                assert loop.time() == pytest.approx(1)
                await fresh
                assert loop.time() == pytest.approx(1.5)
                assert [at for at, _ in house.api.calls] == pytest.approx([0, 0.5])

        virtually(main())

    def test_a_newcomer_may_share_the_newer_of_two_reads(self) -> None:
        async def main() -> None:
            async with House(delay=1) as house:
                reads = [asyncio.ensure_future(house.gateway.orders(U1, Purpose.REFRESH))]
                await asyncio.sleep(0.5)
                reads.append(asyncio.ensure_future(house.gateway.orders(U1, Purpose.RESOLVE)))
                await asyncio.sleep(0.7)
                reads.append(asyncio.ensure_future(house.gateway.orders(U1, Purpose.REFRESH)))
                await asyncio.gather(*reads)
                assert len(house.api.calls) == 2

        virtually(main())

    def test_a_stronger_purpose_pulls_a_waiting_read_forward_and_shares_it(self) -> None:
        async def main() -> None:
            limits = Limits(calls_per_second=1, burst=1)
            async with House(limits=limits) as house:
                gateway = house.gateway
                await gateway.users()
                waiting: list[asyncio.Future[Any]] = [
                    asyncio.ensure_future(gateway.order(VenueOrderId("o1"), Purpose.FOLLOW)),
                    asyncio.ensure_future(gateway.orders(U1, Purpose.REFRESH)),
                ]
                await spin()
                waiting.append(asyncio.ensure_future(gateway.orders(U1, Purpose.RESOLVE)))
                await asyncio.gather(*waiting)
                assert house.api.names() == ["users", "orders u1", "order o1"]
                snapshot = gateway.meter.snapshot()
                assert counted(snapshot, kind="orders", purpose="resolve") == 1
                assert snapshot.avoided == {"shared": 1}

        virtually(main())
