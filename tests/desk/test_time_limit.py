"""A limit on many waits: each ends in time, as with asyncio's own, and all of them need one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parallax.ports.time_limit import TimeLimit

Play = Callable[[Any], Any]
"""Under virtual time."""


async def waited(limit: TimeLimit, seconds: float) -> float | None:
    """When the wait was over, by the loop; None when it was cut short."""
    loop = asyncio.get_running_loop()
    try:
        with limit():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return None
    return loop.time()


def test_each_wait_ends_when_its_own_time_is_over(play: Play) -> None:
    async def scenario(_: object) -> None:
        loop = asyncio.get_running_loop()
        limit = TimeLimit(10)
        began = loop.time()
        cut: dict[int, float] = {}

        async def wait(number: int, seconds: float) -> None:
            await asyncio.sleep(number)
            if await waited(limit, seconds) is None:
                cut[number] = loop.time() - began

        await asyncio.gather(wait(0, 60), wait(1, 2), wait(3, 60), wait(3, 9.9), wait(15, 60))
        assert cut == pytest.approx({0: 10, 3: 13, 15: 25})

    play(scenario)


def test_one_timer_serves_all_and_none_is_left_behind(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_: object) -> None:
        loop = asyncio.get_running_loop()
        limit = TimeLimit(10)
        made: list[float] = []
        call_at = loop.call_at

        def counted(when: float, call: Callable[..., object], *given: Any, **named: Any) -> Any:
            if call == limit._look:
                made.append(when)
            return call_at(when, call, *given, **named)

        monkeypatch.setattr(loop, "call_at", counted)
        for _n in range(100):
            with limit():
                await asyncio.sleep(0)
        assert len(made) == 1
        timer = limit._timer
        assert timer is not None
        limit.close()
        assert timer.cancelled()

    play(scenario)


def test_whoever_is_cancelled_by_others_is_not_late(play: Play) -> None:
    async def scenario(_: object) -> None:
        limit = TimeLimit(10)
        task = asyncio.create_task(waited(limit, 60))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await waited(limit, 8) is not None

    play(scenario)


def test_cancelled_by_others_and_late_at_once_is_cancelled(play: Play) -> None:
    async def scenario(_: object) -> None:
        limit = TimeLimit(10)
        task = asyncio.create_task(waited(limit, 60))
        asyncio.get_running_loop().call_later(10, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    play(scenario)


def test_one_within_another(play: Play) -> None:
    async def scenario(_: object) -> None:
        loop = asyncio.get_running_loop()
        outer, inner = TimeLimit(5), TimeLimit(10)
        began = loop.time()
        with pytest.raises(TimeoutError), outer():
            await waited(inner, 60)
        assert loop.time() - began == pytest.approx(5)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    play(scenario)


def test_an_error_of_the_wait_itself_passes_through(play: Play) -> None:
    async def scenario(_: object) -> None:
        async def failing() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), TimeLimit(1)():
            await failing()

    play(scenario)
