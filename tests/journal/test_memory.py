"""The journal in memory, and the disk that the simulation gives it."""

from __future__ import annotations

import asyncio
import doctest
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from parallax.domain.errors import JournalFailed
from parallax.journal import MemoryDisk, MemoryJournal, SimulatedDisk, memory
from parallax.ports.journal import GENESIS
from tests.journal.contract import JournalContract
from tests.journal.strategies import history
from tests.journal.support import NOON, Scribe, claim, quote, some_facts


class TestInMemory(JournalContract):
    @pytest.fixture
    def build(self) -> Callable[..., MemoryJournal]:
        disk = MemoryDisk()
        return lambda **options: MemoryJournal(disk, **options)


class TestOnSimulatedDisk(JournalContract):
    @pytest.fixture
    def build(self) -> Callable[..., MemoryJournal]:
        delays = random.Random(7)
        disk = SimulatedDisk(lambda: delays.choice((0.0, 0.0002)))
        return lambda **options: MemoryJournal(disk, **options)


class TestUnhashed(JournalContract):
    @pytest.fixture
    def build(self) -> Callable[..., MemoryJournal]:
        disk = MemoryDisk()
        return lambda **options: MemoryJournal(disk, hashed=False, **options)

    async def test_a_fact_without_a_written_form_is_refused_and_stops_nobody_else(self, opened: Any) -> None:
        """Unhashed, nothing is written down."""


class ShufflingLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in any order, as the simulation's loop does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        shuffled = list(ready)
        self._random.shuffle(shuffled)
        ready.clear()
        ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(20))
def test_order_holds_under_a_loop_that_shuffles_what_is_ready(seed: int) -> None:
    async def main() -> None:
        scribe = await Scribe(MemoryJournal(SimulatedDisk(lambda: 0.0), hashed=False)).open()
        for fact in history(random.Random(seed), 60):
            scribe.append(fact)
            if seed % 2:
                await asyncio.sleep(0)
        await scribe.journal.close()
        assert [one.position for one in scribe.heard] == list(range(1, 61))

    loop = ShufflingLoop(seed)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("survives", [False, True])
async def test_a_crash_loses_what_was_not_synced_and_nothing_else(survives: bool) -> None:
    disk = SimulatedDisk(lambda: 0.001)
    scribe = await Scribe(MemoryJournal(disk)).open()
    await scribe.append(quote("q"))
    under_way = scribe.append(claim("o", "q"))
    queued = scribe.append(quote("r"))
    disk.crash(survives=survives)
    await asyncio.sleep(0.005)
    assert not under_way.done()
    assert not queued.done()
    again = await Scribe(MemoryJournal(disk)).open()
    assert again.snapshot.position == (2 if survives else 1)
    again.state = scribe.state
    await again.append(quote("s"))
    stored = await again.journal.facts(0, 10)
    assert [one.position for one in stored] == list(range(1, len(stored) + 1))


async def test_only_what_is_durable_is_read() -> None:
    scribe = await Scribe(MemoryJournal(SimulatedDisk(lambda: 0.001))).open()
    future = scribe.append(quote("q"))
    assert list(await scribe.journal.facts(0, 10)) == []
    await future
    assert len(await scribe.journal.facts(0, 10)) == 1


async def test_waiting_batches_share_a_sync() -> None:
    disk = SimulatedDisk(lambda: 0.001)
    scribe = await Scribe(MemoryJournal(disk)).open()
    await asyncio.gather(*(scribe.append(quote(f"q{n}")) for n in range(100)))
    assert disk.syncs == 2


async def test_a_full_disk_stops_the_journal() -> None:
    disk = SimulatedDisk(lambda: 0.0)
    scribe = await Scribe(MemoryJournal(disk)).open()
    await scribe.append(quote("q"))
    disk.full = True
    with pytest.raises(JournalFailed, match="No space left"):
        await scribe.append(quote("r"))
    disk.full = False
    with pytest.raises(JournalFailed):
        await scribe.append(quote("s"))
    assert (await Scribe(MemoryJournal(disk)).open()).snapshot.position == 1


async def test_a_sink_that_breaks_stops_the_journal() -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    def broken(_: object) -> None:
        raise RuntimeError("the books are on fire")

    journal = MemoryJournal()
    await journal.open(broken)
    with pytest.raises(JournalFailed, match="not taken over"):
        await journal.append(Scribe(journal).changes([quote("q")]))
    assert journal.failed is not None
    assert len(problems) == 1


async def test_unhashed_costs_nothing_until_someone_looks() -> None:
    scribe = await Scribe(MemoryJournal(hashed=False)).open()
    recorded = await scribe.append(*some_facts(2))
    assert {one.hash for one in recorded} == {b""}
    hashed = await Scribe(MemoryJournal()).open()
    wanted = await hashed.append(*some_facts(2))
    assert [one.hash for one in await scribe.journal.facts(0, 99)] == [one.hash for one in wanted]
    assert wanted[0].hash != GENESIS


async def test_a_damaged_record_is_refused_at_the_start() -> None:
    disk = MemoryDisk()
    disk.sync([b'["OrderSent",{}]'], lambda: None)
    with pytest.raises(JournalFailed, match="damaged at fact 1"):
        await MemoryJournal(disk).open(lambda _: None)


async def test_answers_expire_by_the_time_they_are_given() -> None:
    journal = MemoryJournal()
    await journal.open(lambda _: None)
    await journal.remember("k", b"", b"1", NOON)
    assert await journal.recall("k", NOON + timedelta(hours=25)) is None


def test_the_example_in_the_docs_runs() -> None:
    assert doctest.testmod(memory).failed == 0
