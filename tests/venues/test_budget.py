"""The call budget: rate, priorities, kept room, bounded waits, pauses for everyone."""

from __future__ import annotations

import asyncio

import pytest

from parallax.domain.errors import VenueBusy, VenueUnavailable
from parallax.ports.venue import Purpose
from parallax.venues.budget import Entry, Limiter, Limits
from tests.venues.virtual import spin, virtually


async def go(limiter: Limiter, purpose: Purpose, patience: float = 60.0) -> Entry:
    entry = limiter.enter(purpose, patience)
    try:
        await entry.admitted()
    except BaseException:
        entry.leave()
        raise
    entry.use()
    return entry


def test_the_rate_holds_in_the_long_run_and_a_burst_at_first() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=5, burst=3))
        loop = asyncio.get_running_loop()
        left: list[float] = []
        for _ in range(13):
            (await go(limiter, Purpose.REFRESH)).leave()
            left.append(loop.time())
        assert left[:3] == [0, 0, 0]
        assert left[-1] == pytest.approx(2.0, abs=0.02)
        await asyncio.sleep(100)
        assert limiter.state().tokens == 3

    virtually(main())


def test_stronger_purposes_go_first_and_equals_in_order() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=1))
        (await go(limiter, Purpose.REFRESH)).leave()
        order: list[str] = []

        async def call(name: str, purpose: Purpose) -> None:
            entry = await go(limiter, purpose)
            order.append(name)
            entry.leave()

        names = ["refresh1", "follow1", "quote1", "send1", "resolve1", "refresh2", "send2", "resolve2"]
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(call(name, Purpose[name[:-1].upper()]))
        assert order == [
            "resolve1",
            "resolve2",
            "send1",
            "send2",
            "quote1",
            "follow1",
            "refresh1",
            "refresh2",
        ]

    virtually(main())


def test_a_waiting_call_can_be_pulled_forward() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=1))
        (await go(limiter, Purpose.REFRESH)).leave()
        first = limiter.enter(Purpose.QUOTE, 60)
        second = limiter.enter(Purpose.REFRESH, 60)
        second.promote(Purpose.RESOLVE, 90)
        await second.admitted()
        assert first.future is not None
        assert not first.future.done()
        second.leave()
        await first.admitted()
        first.leave()

    virtually(main())


def test_hanging_reads_leave_room_for_sends_and_resolves() -> None:
    async def main() -> None:
        limiter = Limiter(
            Limits(calls_per_second=1_000, burst=1_000, concurrency=6, kept_for_sends=2, kept_for_resolves=1)
        )
        hanging = [await go(limiter, Purpose.FOLLOW) for _ in range(3)]
        with pytest.raises(VenueBusy):
            await go(limiter, Purpose.REFRESH, 1)
        sends = [await go(limiter, Purpose.SEND, 1) for _ in range(2)]
        with pytest.raises(VenueBusy):
            await go(limiter, Purpose.SEND, 1)
        resolve = await go(limiter, Purpose.RESOLVE, 1)
        hanging.pop().leave()
        sends.append(await go(limiter, Purpose.SEND, 1))
        for entry in (*hanging, *sends, resolve):
            entry.leave()
        assert limiter.running() == 0

    virtually(main())


def test_whoever_cannot_be_served_in_time_is_told_at_once() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=1))
        (await go(limiter, Purpose.REFRESH)).leave()
        waiting = [limiter.enter(Purpose.QUOTE, 60) for _ in range(5)]
        with pytest.raises(VenueBusy, match="a new quote") as caught:
            limiter.enter(Purpose.QUOTE, 3)
        assert caught.value.retry_in == pytest.approx(6, abs=0.1)
        assert asyncio.get_running_loop().time() == 0
        for entry in waiting:
            entry.leave()

    virtually(main())


def test_a_wait_ends_when_patience_does() -> None:
    async def main() -> None:
        limiter = Limiter(
            Limits(calls_per_second=100, burst=100, concurrency=3, kept_for_sends=1, kept_for_resolves=1)
        )
        held = await go(limiter, Purpose.REFRESH)
        with pytest.raises(VenueBusy, match="refreshing a list"):
            await go(limiter, Purpose.REFRESH, 2.5)
        assert asyncio.get_running_loop().time() == pytest.approx(2.5)
        held.leave()
        assert limiter.waiting() == 0

    virtually(main())


def test_the_queue_is_bounded() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=1, queue=2))
        (await go(limiter, Purpose.REFRESH)).leave()
        waiting = [limiter.enter(Purpose.REFRESH, 60) for _ in range(2)]
        with pytest.raises(VenueBusy):
            limiter.enter(Purpose.REFRESH, 60)
        waiting.append(limiter.enter(Purpose.SEND, 60))  # other purposes have queues of their own
        for entry in waiting:
            entry.leave()

    virtually(main())


def test_a_pause_holds_everyone_and_sends_away_who_cannot_wait() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=10))
        loop = asyncio.get_running_loop()
        for _ in range(10):
            (await go(limiter, Purpose.REFRESH)).leave()
        hasty = asyncio.ensure_future(go(limiter, Purpose.QUOTE, 3))
        patient = asyncio.ensure_future(go(limiter, Purpose.RESOLVE, 30))
        await spin()
        limiter.pause(10)
        with pytest.raises(VenueBusy, match="asked for a pause"):
            await hasty
        assert loop.time() == 0
        with pytest.raises(VenueBusy) as caught:
            limiter.enter(Purpose.SEND, 5)
        assert caught.value.retry_in == pytest.approx(12, abs=0.1)  # one stronger is ahead
        (await patient).leave()
        assert loop.time() >= 10

    virtually(main())


def test_after_a_pause_there_is_no_burst() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=2, burst=50))
        limiter.pause(10)
        loop = asyncio.get_running_loop()
        left: list[float] = []

        async def call() -> None:
            (await go(limiter, Purpose.FOLLOW)).leave()
            left.append(loop.time())

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(call())
        assert left == pytest.approx([10, 10.5, 11, 11.5, 12], abs=0.02)

    virtually(main())


@pytest.mark.parametrize("moment", ["waiting", "just admitted"])
def test_a_cancelled_call_gives_everything_back(moment: str) -> None:
    async def main() -> None:
        limiter = Limiter(
            Limits(calls_per_second=10, burst=5, concurrency=3, kept_for_sends=1, kept_for_resolves=1)
        )
        held = await go(limiter, Purpose.REFRESH)
        task = asyncio.ensure_future(go(limiter, Purpose.REFRESH))
        await spin()
        if moment == "just admitted":
            held.leave()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.leave()
        assert (limiter.running(), limiter.waiting()) == (0, 0)
        assert limiter.state().tokens == pytest.approx(4)  # what never left cost nothing
        (await go(limiter, Purpose.REFRESH, 0)).leave()

    virtually(main())


def test_closing_sends_everyone_away() -> None:
    async def main() -> None:
        limiter = Limiter(Limits(calls_per_second=1, burst=1))
        (await go(limiter, Purpose.REFRESH)).leave()
        waiting = asyncio.ensure_future(go(limiter, Purpose.RESOLVE))
        await spin()
        limiter.close()
        with pytest.raises(VenueUnavailable, match="stopping"):
            await waiting
        with pytest.raises(VenueUnavailable, match="stopping"):
            limiter.enter(Purpose.SEND, 1)

    virtually(main())


@pytest.mark.parametrize(
    "wrong", [{"calls_per_second": 0}, {"burst": 0}, {"concurrency": 3}, {"kept_for_sends": 0}, {"queue": 0}]
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"budget|calls at once|room"):
        Limits(**wrong)
