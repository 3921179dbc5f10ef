"""Bytes that rot: whatever byte of a journal changes, it is reported, or nothing that is read is different."""

# ruff: noqa: ASYNC240 - a test may look at its own small files from the loop

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from parallax.domain.errors import JournalFailed
from parallax.journal import SqliteJournal, maintenance, store
from parallax.journal.store import Batch, Store
from parallax.ports.codec import encode
from parallax.ports.journal import MAX_PAGE, OrderQuery, OrderSort
from tests.journal.strategies import USERS, history
from tests.journal.support import NOON, Scribe

FLIPS = 150


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with everything in it, closed."""
    path = tmp_path_factory.mktemp("sound") / "j"
    made = Store.open(path)
    for change in (changes := Scribe(None).changes(history(Random(11), 700))):
        assert change
    made.commit([Batch.of([change]) for change in changes])
    made.close()
    return path


async def everything(path: Path) -> list[Any]:
    """All that a journal can be asked. Raises `JournalFailed`."""
    journal = SqliteJournal(path)
    try:
        snapshot = await journal.open(lambda _: None)
        answers: list[Any] = [snapshot, await journal.facts(0, MAX_PAGE), await journal.quotes(0, MAX_PAGE)]
        answers += [await journal.orders(OrderQuery(sort=sort), 0, MAX_PAGE) for sort in OrderSort]
        for user in USERS:
            answers.append(await journal.orders(OrderQuery(user_id=user), 0, MAX_PAGE))
            answers.append(await journal.reads(user, NOON, NOON.replace(year=2030), MAX_PAGE))
        for order in answers[3].items:
            answers.append(await journal.order_facts(order.id))
            answers.append(await journal.order(order.id))
        return answers
    finally:
        await journal.close()


def flipped(sound: Path, path: Path, random: Random, where: Callable[[int], int]) -> None:
    data = bytearray(sound.read_bytes())
    at = where(len(data))
    data[at] ^= 1 << random.randrange(8)
    path.write_bytes(data)


@pytest.mark.parametrize("part", range(4))
def test_no_flipped_byte_gives_a_wrong_answer(sound: Path, tmp_path: Path, part: int) -> None:
    expected = asyncio.run(everything(sound))
    random = Random(part)
    words: list[tuple[str, Path]] = []
    for n in range(FLIPS // 4):
        path = tmp_path / f"j{n}"
        flipped(sound, path, random, random.randrange)
        try:
            assert asyncio.run(everything(path)) == expected, f"flip {n} of part {part}"
        except JournalFailed as failed:
            words.append((failed.words, path))
        path.unlink()
    assert len(words) > FLIPS // 4 // 2
    assert all(str(path) in said and "\n" not in said for said, path in words)


def test_verify_reports_every_flip_that_changes_anything(sound: Path, tmp_path: Path) -> None:
    whole = list(maintenance.export(sound))
    random = Random(99)
    reported = 0
    for n in range(FLIPS // 4):
        path = tmp_path / f"j{n}"
        flipped(sound, path, random, random.randrange)
        try:
            found = maintenance.verify(path)
        except JournalFailed:
            reported += 1
            continue
        if found.ok:
            assert list(maintenance.export(path)) == whole
        else:
            assert found.exit_status == maintenance.DAMAGED
            reported += 1
    assert reported > FLIPS // 4 // 2


async def test_a_large_journal_is_not_read_whole_at_the_start_but_what_is_read_is_checked(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "THOROUGH_BYTES", 0)
    expected = await everything(sound)
    old = expected[1][5]
    data = sound.read_bytes()
    record = encode(old.fact)
    assert data.count(record) == 1
    path = tmp_path / "j"
    path.write_bytes(data.replace(record, record[:-3] + bytes([record[-3] ^ 1]) + record[-2:]))
    journal = SqliteJournal(path)
    monkeypatch.setattr(store, "TAIL", 100)
    await journal.open(lambda _: None)
    assert (await journal.facts(600, 10))[0].position == 601
    with pytest.raises(JournalFailed, match="fact 6 is not what was written"):
        await journal.facts(0, 10)
    # A journal that has read damage is not written any more: nothing can be sent on the strength of it.
    assert journal.failed is not None
    with pytest.raises(JournalFailed, match="damaged"):
        await journal.append([])
    await journal.close()


async def test_a_changed_amount_of_an_order_is_noticed(sound: Path, tmp_path: Path) -> None:
    expected = await everything(sound)
    order = next(one for one in expected[3].items if one.amount.wire == "999999999999999.99")
    data = sound.read_bytes()
    key = b"15999999999999999.99".replace(b".", b"")
    assert key in data
    path = tmp_path / "j"
    path.write_bytes(data.replace(b"999999999999999.9915", b"999999999999999.1915"))
    assert path.read_bytes() != data
    with pytest.raises(JournalFailed, match="damaged"):
        await everything(path)
    assert order.id


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_cut_short_is_noticed(sound: Path, tmp_path: Path, kept: float) -> None:
    data = sound.read_bytes()
    path = tmp_path / "j"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(JournalFailed):
        asyncio.run(everything(path))
    assert maintenance.verify(path).exit_status == maintenance.DAMAGED


def test_an_empty_file_beside_a_log_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    (tmp_path / "j-wal").write_bytes(b"something")
    with pytest.raises(JournalFailed, match="empty, but its write-ahead log is not"):
        asyncio.run(everything(tmp_path / "j"))


@pytest.mark.parametrize("byte", [0x00, 0x27, 0x7F, 0xBB, 0xFF])
def test_a_changed_byte_of_the_schema_is_one_sentence(sound: Path, tmp_path: Path, byte: int) -> None:
    whole = sound.read_bytes()
    at = whole.find(b"seal INTEGER NOT NULL")
    for offset in range(0, 22, 3):
        path = tmp_path / f"{offset}.db"
        path.write_bytes(whole[: at + offset] + bytes([byte]) + whole[at + offset + 1 :])
        for work in (maintenance.verify, maintenance.stats, lambda path: list(maintenance.export(path))):
            with suppress(JournalFailed):
                work(path)
