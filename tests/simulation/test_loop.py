"""The loop of the simulation: time jumps, order is seeded, and the dead run nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import pytest

from simulation.loop import Process, SimulatedLoop, Stuck

T = TypeVar("T")


def run(main: Callable[[SimulatedLoop], Awaitable[T]], seed: int = 1) -> T:
    loop = SimulatedLoop(Random(seed))
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


def test_waiting_takes_no_time() -> None:
    async def main(loop: SimulatedLoop) -> float:
        await asyncio.sleep(86_400)
        return loop.time()

    assert run(main) == 86_400


def test_a_timeout_is_kept() -> None:
    async def main(loop: SimulatedLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await loop.create_future()
        return loop.time()

    assert run(main) == 20


def order_of_five(seed: int) -> list[int]:
    async def main(_: SimulatedLoop) -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            ran.append(number)

        await asyncio.gather(*(note(number) for number in range(5)))
        return ran

    return run(main, seed)


def test_what_is_ready_at_once_runs_in_an_order_of_the_seed() -> None:
    orders = [tuple(order_of_five(seed)) for seed in range(50)]
    assert len(set(orders)) > 20
    assert orders == [tuple(order_of_five(seed)) for seed in range(50)]


def test_a_race_that_first_in_first_out_hides_is_found() -> None:
    """Look, then act: right in the order of the calls, wrong in half of all others."""

    def winner(seed: int) -> str:
        async def main(_: SimulatedLoop) -> str:
            taken: list[str] = []

            async def claim(who: str) -> None:
                if not taken:
                    await asyncio.sleep(0)
                    taken.append(who)

            await asyncio.gather(claim("first"), claim("second"))
            return taken[-1]

        return run(main, seed)

    assert {winner(seed) for seed in range(20)} == {"first", "second"}


def test_the_killed_take_no_further_step() -> None:
    async def main(loop: SimulatedLoop) -> list[str]:
        process = Process("doomed")
        heard: list[str] = []

        async def live() -> None:
            try:
                while True:
                    await asyncio.sleep(1)
                    heard.append("alive")
            finally:
                heard.append("cleaned up")

        task = loop.create_task(live(), context=process.context())
        await asyncio.sleep(2.5)
        loop.kill(process)
        await asyncio.sleep(10)
        assert not task.done()
        return list(heard)

    assert run(main) == ["alive", "alive"]


def test_a_kill_can_come_between_two_steps_of_one_instant() -> None:
    async def main(loop: SimulatedLoop) -> int:
        process = Process("doomed")
        steps: list[int] = []

        async def live() -> None:
            for number in range(100):
                steps.append(number)
                await asyncio.sleep(0)

        loop.create_task(live(), context=process.context())
        loop.at_step(loop.steps + 10, lambda: loop.kill(process))
        await asyncio.sleep(1)
        return len(steps)

    assert 0 < run(main) <= 10


def test_a_run_that_goes_in_circles_ends() -> None:
    async def main(_: SimulatedLoop) -> None:
        while True:  # noqa: ASYNC110 - going in circles is the point
            await asyncio.sleep(0)

    with pytest.raises(Stuck):
        run(main)


def test_a_run_that_waits_for_nothing_ends() -> None:
    async def main(loop: SimulatedLoop) -> None:
        await loop.create_future()

    with pytest.raises(Stuck):
        run(main)
