"""A journal whose files are moved, removed, replaced or cut short, or reached by another name: said, never missed."""

# ruff: noqa: ASYNC240 - a test may look at its own small files from the loop

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parallax.domain.errors import JournalFailed
from parallax.journal import SqliteJournal, maintenance
from parallax.journal.files import log_path
from parallax.journal.store import Batch, Store
from tests.journal.support import Scribe, quote, some_facts

Mischief = Callable[[Path], object]


def moved(path: Path) -> None:
    path.rename(path.with_name("aside"))
    log_path(path).rename(path.with_name("aside-wal"))


def removed(path: Path) -> None:
    path.unlink()
    log_path(path).unlink()


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def directory_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.mkdir()


def link_turned(path: Path) -> None:
    """The name is a link, which now leads to a copy."""
    shutil.copy(path, path.with_name("copy"))
    path.unlink()
    path.symlink_to("copy")


def cut_short(path: Path) -> None:
    os.truncate(path, 4096)


def log_removed(path: Path) -> None:
    log_path(path).unlink()


def log_replaced(path: Path) -> None:
    log_path(path).unlink()
    shutil.copy(path, log_path(path))


def log_cut_short(path: Path) -> None:
    os.truncate(log_path(path), 32)


MISCHIEF: dict[Mischief, str] = {
    moved: "was moved or removed",
    removed: "was moved or removed",
    directory_moved: "was moved or removed",
    replaced: "Another file has taken the name",
    link_turned: "Another file has taken the name",
    cut_short: "was cut short",
    log_removed: "log .* was moved, removed or replaced",
    log_replaced: "log .* was moved, removed or replaced",
    log_cut_short: "was cut short",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place / "j"


@pytest.mark.parametrize("mischief", MISCHIEF)
async def test_nothing_is_confirmed_once_the_file_is_not_where_it_was(path: Path, mischief: Mischief) -> None:
    if mischief is link_turned:
        path.with_name("real").touch()
        path.symlink_to("real")
    scribe = await Scribe(SqliteJournal(path)).open()
    await scribe.append(quote("before"))
    mischief(path)
    with pytest.raises(JournalFailed, match=MISCHIEF[mischief]) as failed:
        await scribe.append(quote("after"))
    assert "\n" not in failed.value.words
    assert [record.fact for record in scribe.heard] == [quote("before")]
    with pytest.raises(JournalFailed, match=MISCHIEF[mischief]):
        await scribe.append(quote("later"))
    await scribe.journal.close()


async def test_it_is_noticed_also_when_nothing_is_written(path: Path) -> None:
    heard = asyncio.Event()
    journal = SqliteJournal(path)
    await journal.open(lambda records: None if records else heard.set())
    moved(path)
    async with asyncio.timeout(5):
        await heard.wait()
    assert "was moved or removed" in str(journal.failed)
    await journal.close()


async def test_what_was_confirmed_is_whole_where_it_was_moved_to(path: Path) -> None:
    scribe = await Scribe(SqliteJournal(path)).open()
    await scribe.append(*some_facts(3))
    moved(path)
    with pytest.raises(JournalFailed):
        await scribe.append(quote("after"))
    await scribe.journal.close()
    assert maintenance.verify(path.with_name("aside")).facts >= 16


async def test_a_stop_saves_what_a_removed_log_held(path: Path) -> None:
    scribe = await Scribe(SqliteJournal(path)).open()
    await scribe.append(*some_facts(3))
    log_removed(path)
    with pytest.raises(JournalFailed, match="Stop the desk in good order"):
        await scribe.append(quote("after"))
    await scribe.journal.close()
    assert maintenance.verify(path).facts >= 16


async def test_a_stop_leaves_the_files_of_another_desk_alone(path: Path) -> None:
    first = await Scribe(SqliteJournal(path)).open()
    await first.append(quote("mine"))
    directory_moved(path)
    second = await Scribe(SqliteJournal(path)).open()
    await second.append(quote("another's"))
    await first.journal.close()
    await second.append(quote("more"))
    await second.journal.close()
    assert maintenance.verify(path).facts == 2
    assert [one.name for one in path.parent.iterdir()] == ["j"]
    assert maintenance.verify(path.parent.with_name("elsewhere") / "j").facts == 1


async def test_the_name_stays_taken_when_the_file_is_moved_away(path: Path) -> None:
    """A second desk there would know nothing of the claims of the first, and send again on their quotes."""
    first = await Scribe(SqliteJournal(path)).open()
    moved(path)
    with pytest.raises(JournalFailed, match=rf"pid {os.getpid()}\) has the journal"):
        await SqliteJournal(path).open(lambda _: None)
    await first.journal.close()


@pytest.mark.parametrize("link", [os.link, os.symlink])
async def test_another_name_of_a_journal_in_use_is_refused(path: Path, link: Callable[..., None]) -> None:
    first = await Scribe(SqliteJournal(path)).open()
    other = path.parent.with_name("other")
    link(path, other)
    with pytest.raises(JournalFailed, match="in use"):
        await SqliteJournal(other).open(lambda _: None)
    await first.append(quote("q"))
    await first.journal.close()
    again = await Scribe(SqliteJournal(other)).open()
    assert again.snapshot.position == 1
    await again.journal.close()


CRASH = """
import asyncio, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from parallax.journal import SqliteJournal
from tests.journal.support import Scribe, some_facts

async def main():
    scribe = await Scribe(SqliteJournal(Path(sys.argv[1]))).open()
    await scribe.append(*some_facts(3))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def crashed(path: Path) -> Path:
    """The journal of a desk that was killed: what it confirmed is in its log."""
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", CRASH, str(path), root], timeout=60, check=False)
    assert log_path(path).exists()
    return path


@pytest.mark.parametrize("how", [os.link, shutil.copy, os.rename])
async def test_after_a_crash_a_file_without_its_log_is_refused(
    crashed: Path, how: Callable[..., object]
) -> None:
    other = crashed.with_name("other")
    how(crashed, other)
    with pytest.raises(JournalFailed, match="its write-ahead log other-wal is missing"):
        await SqliteJournal(other).open(lambda _: None)
    with pytest.raises(JournalFailed, match="is missing"):  # and the refusal has changed nothing
        maintenance.stats(other)
    log = crashed.with_name("log")
    log_path(crashed).rename(log)
    shutil.copy(other, crashed.with_name("lost"))
    crashed.with_name("lost-wal").touch()  # how a person says that it is lost for good
    assert maintenance.verify(crashed.with_name("lost")).facts == 0
    log.rename(log_path(other))
    assert maintenance.verify(other).facts == 16


async def test_after_a_crash_a_symbolic_link_finds_the_log(crashed: Path) -> None:
    other = crashed.parent.with_name("other")
    other.symlink_to(crashed)
    scribe = await Scribe(SqliteJournal(other)).open()
    assert scribe.snapshot.position == 16
    await scribe.journal.close()


async def test_a_desk_that_stopped_leaves_a_file_that_is_whole_alone(path: Path) -> None:
    store = Store.open(path)
    store.commit([Batch.of([change]) for change in Scribe(None).changes(some_facts(3))])
    store.close()
    assert [one.name for one in path.parent.iterdir()] == ["j"]
    shutil.copy(path, path.with_name("copy"))
    assert maintenance.verify(path.with_name("copy")).facts == 16


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_of_many_that_start_at_once_one_has_the_journal(path: Path, link: Callable[..., None] | None) -> None:
    Store.open(path).close()
    names = [path]
    for n in range(7):
        names.append(path if link is None else path.with_name(f"other{n}"))
        if link is not None:
            link(path, names[-1])
    together = threading.Barrier(len(names))
    reasons: list[str] = []

    def started(name: Path) -> bool:
        together.wait()
        store = None
        try:
            store = Store.open(name)
        except JournalFailed as refused:
            reasons.append(refused.words)
        together.wait()  # nobody lets go before everybody has tried
        if store is not None:
            store.close()
        return store is not None

    with ThreadPoolExecutor(len(names)) as pool:
        assert sum(pool.map(started, names)) == 1
    assert [words for words in reasons if "in use" not in words] == []
