"""The journal on disk: what the contract cannot ask of every adapter."""

# ruff: noqa: ASYNC240 - a test may look at its own small files from the loop

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from parallax.domain.errors import JournalFailed
from parallax.domain.facts import Fact
from parallax.domain.identity import OrderId, QuoteId
from parallax.journal import SqliteJournal, maintenance, schema, sqlite
from parallax.journal.store import CHECKPOINT_PAGES, FRAME, Batch, Store
from parallax.ports.journal import OrderQuery
from tests.journal.contract import JournalContract
from tests.journal.strategies import histories, history
from tests.journal.support import NOON, Scribe, claim, quote, settled_order, some_facts


class TestOnDisk(JournalContract):
    @pytest.fixture
    def build(self, tmp_path: Path) -> Callable[..., SqliteJournal]:
        return lambda **options: SqliteJournal(tmp_path / "test.journal", **options)


def written(path: Path, facts: list[Fact]) -> Path:
    """A journal file that holds `facts`, let go of."""
    store = Store.open(path)
    changes = Scribe(None).changes(facts)
    store.commit([Batch.of([change]) for change in changes])
    store.close()
    return path


async def scribe_on(path: Path) -> Scribe:
    return await Scribe(SqliteJournal(path)).open()


# Group commit


async def test_everything_that_waits_shares_a_commit(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    blocked = threading.Event()
    waiting = threading.Event()

    def block(_: object) -> None:
        waiting.set()
        assert blocked.wait(10)

    hold = asyncio.ensure_future(scribe.journal._ask(block))
    await asyncio.to_thread(waiting.wait, 10)
    before = scribe.journal.commits
    futures = [scribe.append(quote(f"q{n}")) for n in range(500)]
    assert scribe.journal.commits == before
    blocked.set()
    await asyncio.gather(hold, *futures)
    assert scribe.journal.commits == before + 1
    await scribe.journal.close()


@pytest.mark.parametrize(("rate", "waits"), [(sqlite.BUSY - 1, False), (sqlite.BUSY, True)])
def test_commits_are_spaced_out_when_it_is_busy_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, waits: bool
) -> None:
    journal = SqliteJournal(tmp_path / "j")
    now = [100.0]
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(sqlite.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sqlite.time, "sleep", sleep)
    journal._last_commit = 99.999
    journal._rate = rate
    journal._writes.append(sqlite._Write(Batch((), ()), asyncio.Future(loop=asyncio.new_event_loop())))
    journal._gather()
    assert (sum(naps) > 0) == waits
    assert sum(naps) <= sqlite.SPACING
    journal._writes[0].future.get_loop().close()


# Reads make room for claims


async def test_a_read_gives_way_to_a_claim_and_is_done_after_it(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    await scribe.append(quote("q"))
    order: list[str] = []
    started = threading.Event()

    def long_read(db: sqlite3.Connection) -> int:
        order.append("read begins")
        started.set()
        # Some seconds of counting, unless it is broken off.
        bound = 300_000_000 if len(order) == 1 else 10
        [(count,)] = db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT count(*) FROM n",
            (bound,),
        ).fetchall()
        order.append("read ends")
        return count

    reading = asyncio.ensure_future(scribe.journal._ask(long_read))
    await asyncio.to_thread(started.wait, 10)
    claiming = scribe.append(claim("o", "q"))
    claiming.add_done_callback(lambda _: order.append("claimed"))
    assert await asyncio.wait_for(reading, 20) == 10
    await claiming
    assert order.count("read begins") == 2
    assert await scribe.journal.order(OrderId("o")) is not None
    await scribe.journal.close()


async def test_a_read_is_not_put_off_for_ever(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    stop = False

    async def write() -> None:
        n = 0
        while not stop:
            n += 1
            await scribe.append(quote(f"q{n}"))

    writing = asyncio.ensure_future(write())
    page = await asyncio.wait_for(scribe.journal.orders(OrderQuery(), 0, 10), 10)
    stop = True
    await writing
    assert page.total == 0
    await scribe.journal.close()


# One process at a time


async def test_a_second_journal_on_the_file_is_refused_in_one_line(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    with pytest.raises(JournalFailed) as refused:
        await SqliteJournal(tmp_path / "j").open(lambda _: None)
    assert refused.value.words == (
        f"Another process (pid {os.getpid()}) has the journal {tmp_path / 'j'} in use; "
        "stop it first, or name another journal."
    )
    await scribe.append(quote("q"))
    await scribe.journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


OPEN_AND_SAY = """
import asyncio, sys
from pathlib import Path
from parallax.domain.errors import JournalFailed
from parallax.journal import SqliteJournal, maintenance

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.open(lambda records: None)
    await journal.close()

try:
    if len(sys.argv) > 2:
        getattr(maintenance, sys.argv[2])(Path(sys.argv[1]))
    else:
        asyncio.run(main())
except JournalFailed as failed:
    print(failed.words)
    sys.exit(3)
"""


def in_process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OPEN_AND_SAY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("command", [(), ("verify",), ("stats",)])
async def test_a_second_process_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    scribe = await scribe_on(tmp_path / "j")
    done = await asyncio.to_thread(in_process, str(tmp_path / "j"), *command)
    assert done.returncode == 3
    assert f"(pid {os.getpid()}) has the journal" in done.stdout
    assert done.stdout.count("\n") == 1
    await scribe.append(quote("q"))
    await scribe.journal.close()
    assert in_process(str(tmp_path / "j"), *command).returncode == 0


def test_a_number_left_behind_by_a_crash_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "j.pid").write_text("999999999\n")
    assert in_process(str(tmp_path / "j")).returncode == 0


# Trouble with the file


async def test_a_full_disk_is_said_in_words_and_nothing_more_is_taken(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    await scribe.append(quote("q"))
    store = scribe.journal._store
    await scribe.journal._ask(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    assert store is not None
    futures = [scribe.append(*(quote(f"{n}-{m}") for m in range(50))) for n in range(10)]
    for done in await asyncio.gather(*futures, return_exceptions=True):
        assert isinstance(done, JournalFailed)
        assert "disk is full" in done.words
    assert "disk is full" in str(scribe.journal.failed)
    with pytest.raises(JournalFailed, match="disk is full"):
        await scribe.append(quote("later"))
    await scribe.journal.close()
    again = await scribe_on(tmp_path / "j")
    assert again.snapshot.position == 1
    await again.journal.close()


FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from parallax.domain.errors import JournalFailed
from parallax.journal import SqliteJournal
from tests.journal.support import Scribe, quote

def fill_the_disk():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

async def main():
    if sys.argv[3] == "before the start":
        fill_the_disk()
    scribe = await Scribe(SqliteJournal(Path(sys.argv[1]))).open()
    fill_the_disk()
    confirmed = 0
    try:
        while True:
            await scribe.append(*(quote(f"{confirmed}-{n}") for n in range(20)))
            confirmed += 20
    except JournalFailed as failed:
        print(confirmed)
        print(failed.words)
    await scribe.journal.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("filled", ["before the start", "later"])
def test_a_disk_that_takes_no_more_loses_nothing_that_was_confirmed(tmp_path: Path, filled: str) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "j"), root, filled],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    confirmed, words = done.stdout.splitlines()
    assert "disk" in words
    assert int(confirmed) > 0
    assert maintenance.verify(tmp_path / "j").facts >= int(confirmed)


async def test_the_log_has_its_size_from_the_start_whatever_a_crash_left_of_it(tmp_path: Path) -> None:
    first = await scribe_on(tmp_path / "first")
    log = tmp_path / "first-wal"
    whole = log.stat().st_size
    assert whole == CHECKPOINT_PAGES * FRAME
    await asyncio.gather(*(first.append(quote(f"q{n}")) for n in range(20)))
    assert log.stat().st_size == whole
    frames = log.read_bytes().rstrip(b"\0")
    for name, left in (("laid out", whole), ("as it grew", -(-len(frames) // FRAME) * FRAME + 32)):
        (tmp_path / name).write_bytes((tmp_path / "first").read_bytes())
        (tmp_path / f"{name}-wal").write_bytes(log.read_bytes()[:left])
        crashed = await scribe_on(tmp_path / name)
        assert (crashed.snapshot.position, len(crashed.snapshot.quotes)) == (20, 20)
        assert (tmp_path / f"{name}-wal").stat().st_size == whole
        await crashed.append(quote("another"))
        await crashed.journal.close()
        assert maintenance.verify(tmp_path / name).facts == 21
    await first.journal.close()


AS_SOMEONE_ELSE = """
import os
if os.geteuid() == 0:  # root writes everywhere: become someone who does not
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


@pytest.mark.parametrize("which", ["directory", "file"])
def test_a_read_only_place_is_said_in_words(which: str) -> None:
    # Not in pytest's own directory, which nobody else may enter.
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        journal = written(place / "j", some_facts(1))
        journal.chmod(0o444 if which == "file" else 0o666)
        place.chmod(0o777 if which == "file" else 0o555)
        begin = OPEN_AND_SAY.index("try:")
        code = OPEN_AND_SAY[:begin] + AS_SOMEONE_ELSE + OPEN_AND_SAY[begin:]
        done = subprocess.run(
            [sys.executable, "-c", code, str(journal)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        place.chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("\n") == 1
    assert "read-only" in done.stdout or "cannot be opened" in done.stdout


async def test_there_is_no_directory_or_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="there is no"):
        await SqliteJournal(tmp_path / "nowhere" / "j").open(lambda _: None)
    with pytest.raises(JournalFailed, match="is not a file"):
        await SqliteJournal(tmp_path).open(lambda _: None)
    with pytest.raises(JournalFailed, match="There is no journal"):
        maintenance.stats(tmp_path / "j")


async def test_another_programs_file_is_left_as_it_is(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(JournalFailed, match="not a journal"):
        await SqliteJournal(tmp_path / "other.db").open(lambda _: None)
    assert (tmp_path / "other.db").read_bytes() == before
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(JournalFailed, match="not a journal"):
        await SqliteJournal(tmp_path / "text").open(lambda _: None)


async def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    await scribe.append(quote("q"))
    for path in tmp_path.glob("j*"):
        if not path.name.endswith(".pid"):
            assert path.stat().st_mode & 0o077 == 0
    await scribe.journal.close()


async def test_a_loop_that_is_gone_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from parallax.journal import SqliteJournal\n"
        "asyncio.run(SqliteJournal(Path(sys.argv[1])).open(lambda records: None))"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(tmp_path / "j")], timeout=30, check=False
    )
    assert done.returncode == 0


# The schema


def old_journal(path: Path, number: int) -> Path:
    """A journal as a program of schema `number` left it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    for n, sql in schema.migrations()[:number]:
        db.executescript(f"BEGIN;{sql};PRAGMA user_version = {n};COMMIT;")
    db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    db.close()
    return path


@pytest.mark.parametrize("number", range(schema.current() + 1))
async def test_an_older_journal_is_brought_up_to_date_once(tmp_path: Path, number: int) -> None:
    path = old_journal(tmp_path / "j", number) if number else tmp_path / "j"
    if 0 < number < schema.current():
        with pytest.raises(JournalFailed, match=f"has format {number}; start the desk"):
            maintenance.verify(path)
    scribe = await scribe_on(path)
    await scribe.append(*some_facts(2))
    await scribe.journal.remember("k", b"", b"", some_facts(1)[0].at)
    await scribe.journal.close()
    assert maintenance.verify(path).ok
    assert maintenance.stats(path).format == schema.current()


async def test_a_migration_that_fails_leaves_the_format_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = schema.migrations()
    bad = (*good, (len(good) + 1, "CREATE TABLE extra (a) STRICT; CREATE TABLE users (a);"))
    monkeypatch.setattr(schema, "migrations", lambda: bad)
    with pytest.raises(JournalFailed, match="failed"):
        await SqliteJournal(tmp_path / "j").open(lambda _: None)
    monkeypatch.undo()
    scribe = await scribe_on(tmp_path / "j")
    await scribe.journal.close()
    assert maintenance.verify(tmp_path / "j").ok


async def test_a_journal_of_a_newer_program_is_refused_in_words(tmp_path: Path) -> None:
    path = written(tmp_path / "j", some_facts(1))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(JournalFailed, match="has format 999, made by a newer program"):
        await SqliteJournal(path).open(lambda _: None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET kind = 'Nothing'",
        "DELETE FROM facts",
        "UPDATE orders SET amount = '2'",
        "DELETE FROM orders",
    ],
)
async def test_the_file_itself_keeps_facts_and_settled_orders_as_they_are(
    tmp_path: Path, statement: str
) -> None:
    path = written(tmp_path / "j", some_facts(1))
    db = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        db.execute(statement)
    db.close()


async def test_a_changed_trigger_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "j", some_facts(1))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER facts_are_never_deleted")
    db.close()
    with pytest.raises(JournalFailed, match="triggers"):
        await SqliteJournal(path).open(lambda _: None)


# State is the fold of facts


@settings(max_examples=40)
@given(histories())
def test_the_tables_are_what_any_legal_history_folds_into(batches: list[list[Fact]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "j")
        store = Store.open(path)
        scribe = Scribe(None)
        try:
            groups = [Batch.of(changes) for changes in map(scribe.changes, batches)]
            half = len(groups) // 2
            for group in (groups[:half], groups[half:]):
                if group:
                    store.commit(group)
        finally:
            store.close()
        found = maintenance.verify(path)
        assert found.ok, found.words
        assert found.facts == sum(map(len, batches))


# Backups while it runs


async def test_a_backup_under_writes_is_whole(tmp_path: Path) -> None:
    scribe = await scribe_on(tmp_path / "j")
    await scribe.append(*history(Random(3), 3_000))
    stop = False

    async def write() -> int:
        n = 0
        while not stop:
            n += 1
            await scribe.append(*settled_order(f"during-{n}", f"quote-during-{n}", 10**6 + n))
        return n

    writing = asyncio.ensure_future(write())
    copied = [await scribe.journal.backup(tmp_path / f"copy{n}") for n in range(3)]
    stop = True
    written_meanwhile = await writing
    assert written_meanwhile > 0
    await scribe.journal.close()
    whole = list(maintenance.export(tmp_path / "j"))
    for n, facts in enumerate(copied):
        assert facts >= 3_000
        assert list(maintenance.export(tmp_path / f"copy{n}")) == whole[:facts]


async def test_commits_go_on_between_the_steps_of_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallax.journal.copies.COPY_PAGES", 1)
    scribe = await scribe_on(tmp_path / "j")
    await scribe.append(*history(Random(4), 500))
    copying = asyncio.ensure_future(scribe.journal.backup(tmp_path / "copy"))
    await asyncio.gather(*(scribe.append(quote(f"during-{n}")) for n in range(20)))
    facts = await copying
    await scribe.journal.close()
    assert maintenance.verify(tmp_path / "copy").ok
    assert list(maintenance.export(tmp_path / "copy")) == list(maintenance.export(tmp_path / "j"))[:facts]


async def test_too_many_facts_waiting_is_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_QUEUED_FACTS", 10)
    scribe = await scribe_on(tmp_path / "j")
    with pytest.raises(JournalFailed, match="does not answer"):
        await scribe.append(*(quote(f"q{n}") for n in range(11)))
    await scribe.journal.close()


async def test_too_many_reads_waiting_are_refused_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_QUEUED_READS", 0)
    scribe = await scribe_on(tmp_path / "j")
    with pytest.raises(JournalFailed, match="Too many reads"):
        await scribe.journal.quote(QuoteId("q"))
    assert scribe.journal.failed is None
    await scribe.journal.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda journal: journal.orders(OrderQuery(), 10**30, 10),
        lambda journal: journal.quotes(10**30, 10),
        lambda journal: journal.order(OrderId("\ud800")),
        lambda journal: journal.quote(QuoteId("\ud800")),
        lambda journal: journal.recall("\ud800", NOON),
    ],
)
async def test_what_nobody_can_have_written_is_refused_and_leaves_the_journal_in_use(
    tmp_path: Path, ask: Callable[[SqliteJournal], Awaitable[Any]]
) -> None:
    scribe = await Scribe(SqliteJournal(tmp_path / "journal")).open()
    with pytest.raises(JournalFailed, match="cannot be looked for"):
        await ask(scribe.journal)
    assert scribe.journal.failed is None
    await scribe.append(quote("q"))
    await scribe.journal.close()
