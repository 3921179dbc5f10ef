"""The tables of quotes and orders follow the facts: no reader can tell, and a kill in between costs nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallax.domain.errors import JournalFailed, QuoteTaken
from parallax.domain.facts import Fact, IncidentKind, IncidentRaised, OrderWithdrawn
from parallax.domain.identity import IncidentId, OrderId, QuoteId
from parallax.journal import SqliteJournal, following, maintenance, queries, schema, sqlite
from parallax.journal.files import log_path
from parallax.journal.store import Batch, Store
from tests.journal.strategies import histories, history
from tests.journal.support import (
    NOON,
    Scribe,
    accepted,
    at,
    claim,
    impossible,
    late_claim,
    quote,
    sent,
    some_facts,
)


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    with closing(Store.open(tmp_path / "j")) as opened:
        yield opened


def write(store: Store, scribe: Scribe, *facts: Fact) -> None:
    """One commit."""
    store.commit([Batch.of(scribe.changes(facts))])


def as_killed(store: Store) -> Path:
    """The journal's files as they are at this moment, which is what a kill leaves."""
    copy = store.path.with_name(f"killed-{store.position}-{store.behind}")
    shutil.copy(store.path, copy)
    shutil.copy(log_path(store.path), log_path(copy))
    return copy


def rows(store: Store, table: str) -> int:
    return store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608


# Killed in between


@settings(max_examples=30)
@given(histories(), st.randoms(use_true_random=False))
def test_a_kill_at_any_moment_leaves_a_journal_that_catches_up(
    batches: list[list[Fact]], random: Random
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr(following, "PIECE", 3)
        scribe = Scribe(None)
        with closing(Store.open(Path(directory, "j"))) as store:
            for facts in batches:
                write(store, scribe, *facts)
                for _ in range(random.randrange(3)):
                    store.follow()
                if random.random() < 0.2:
                    found = maintenance.verify(as_killed(store))
                    assert (found.problem, found.facts) == ("", store.position)
            killed = as_killed(store)
        with closing(Store.open(killed)) as again:
            assert (again.position, again.behind) == (store.position, 0)
            orders = queries.snapshot(again.db, again.position, sqlite.SnapshotBounds()).orders
        assert {order.id: order for order in orders} == scribe.state.orders
        assert maintenance.verify(killed).ok


def test_a_long_list_is_caught_up_with_after_a_kill(store: Store) -> None:
    scribe = Scribe(None)
    write(store, scribe, *(quote(f"q{n}") for n in range(2 * following.PIECE)), claim("o", "q7"))
    assert rows(store, "quotes") == 0
    store.follow()
    assert rows(store, "quotes") == following.PIECE
    with closing(Store.open(as_killed(store))) as again:
        assert rows(again, "quotes") == 2 * following.PIECE
        order = queries.order(again.db, OrderId("o"))
        assert order == scribe.state.orders[OrderId("o")]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE followed SET position = 12, mirror = ~12", "fact 13 cannot follow what is in the tables"),
        ("UPDATE followed SET position = 99, mirror = ~99", "the last ones were lost"),
        ("DELETE FROM followed", "how far its tables follow"),
        ("UPDATE followed SET mirror = 5", "(how far its tables follow|CHECK constraint failed in followed)"),
    ],
)
def test_what_was_followed_is_not_taken_on_trust(
    store: Store, statement: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallax.journal.store.THOROUGH_BYTES", 0)
    write(store, Scribe(None), *some_facts(3))
    store.close()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(statement)
    with pytest.raises(JournalFailed, match=words):
        Store.open(store.path)
    assert re.search(words, maintenance.verify(store.path).problem)


# The next fact is judged by what is recorded, wherever it stands


@pytest.mark.parametrize(
    "followed", [0, 1, 2], ids=["nothing followed", "the claim followed", "all followed"]
)
def test_a_late_claim_is_refused_whether_the_rows_show_the_first_or_not(store: Store, followed: int) -> None:
    scribe = Scribe(None)
    write(store, scribe, quote("q"), claim("first", "q", by="ann"))
    if followed:
        store.follow_all()
    write(store, scribe, sent("first", "q"), accepted("first", "q"))
    if followed == 2:
        store.follow_all()
    before = store.position
    [taken] = store.commit([Batch.of([late_claim(scribe, "late", "q")])])
    assert isinstance(taken, QuoteTaken)
    assert (taken.order_id, taken.by, store.position) == ("first", "ann", before)


@pytest.mark.parametrize("followed", [False, True])
def test_a_quote_that_was_let_go_is_free_whether_the_rows_show_it_or_not(
    store: Store, followed: bool
) -> None:
    scribe = Scribe(None)
    write(store, scribe, quote("q"), claim("first", "q"))
    store.follow_all()
    write(store, scribe, OrderWithdrawn(at(1), OrderId("first"), QuoteId("q"), "too late"))
    if followed:
        store.follow_all()
    write(store, scribe, claim("second", "q"))
    [taken] = store.commit([Batch.of([late_claim(scribe, "third", "q")])])
    assert isinstance(taken, QuoteTaken)
    assert taken.order_id == "second"
    store.follow_all()
    assert maintenance.verify(as_killed(store)).ok


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("what", ["a settled order moves", "a quote begins twice", "an order begins twice"])
def test_what_does_not_follow_is_not_written(store: Store, what: str, followed: bool) -> None:
    scribe = Scribe(None)
    write(store, scribe, *some_facts(2), quote("other"))
    if followed:
        store.follow_all()
    if what == "a settled order moves":
        change = impossible(scribe, "order-000")
    elif what == "a quote begins twice":
        [change] = Scribe(None).changes([quote("quote-000")])
    else:
        [_, change] = Scribe(None).changes([quote("other"), claim("order-000", "other")])
    before = store.position
    with pytest.raises(JournalFailed, match="does not follow"):
        store.commit([Batch.of([change])])
    store.close()
    found = maintenance.verify(store.path)
    assert (found.ok, found.facts) == (True, before)


def test_a_row_in_no_state_at_all_is_damage(store: Store) -> None:
    scribe = Scribe(None)
    write(store, scribe, quote("q"), claim("o", "q"))
    store.follow_all()
    store.db.execute("PRAGMA ignore_check_constraints = ON")
    store.db.execute("UPDATE orders SET state = 'odd'")
    with pytest.raises(JournalFailed, match="damaged"):
        write(store, scribe, sent("o", "q"))


# Readers see everything


async def test_a_reader_sees_what_was_confirmed_a_moment_ago(tmp_path: Path) -> None:
    scribe = await Scribe(SqliteJournal(tmp_path / "j")).open()
    for n in range(50):
        await scribe.append(quote(f"q{n}"), claim(f"o{n}", f"q{n}"))
        order = await scribe.journal.order(OrderId(f"o{n}"))
        assert order == scribe.state.orders[OrderId(f"o{n}")]
        assert len(await scribe.journal.order_facts(OrderId(f"o{n}"))) == 1
    await scribe.journal.close()


async def test_a_reader_sees_it_also_when_nothing_more_can_be_written(tmp_path: Path) -> None:
    scribe = await Scribe(SqliteJournal(tmp_path / "j")).open()
    await scribe.append(quote("q"), claim("o", "q"))
    raised = IncidentRaised(NOON, IncidentId("i"), IncidentKind.AMOUNT_DIFFERS, "odd", order_id=OrderId("o"))
    await scribe.append(sent("o", "q"), raised)
    [_, again] = Scribe(None).changes([quote("other"), claim("o", "other")])
    with pytest.raises(JournalFailed, match="does not follow"):
        await scribe.journal.append([again])
    story = await scribe.journal.order_facts(OrderId("o"))
    assert [stored.position for stored in story] == [2, 3, 4]
    assert await scribe.journal.order(OrderId("o")) == scribe.state.orders[OrderId("o")]
    assert scribe.journal._store.behind > 0
    await scribe.journal.close()
    assert maintenance.verify(tmp_path / "j").facts == 4


async def test_a_long_backlog_does_not_hold_up_a_claim(tmp_path: Path) -> None:
    """A read that needs the rows of a long list waits for them; a claim that comes meanwhile does not."""
    scribe = await Scribe(SqliteJournal(tmp_path / "j")).open()
    await scribe.append(*(quote(f"q{n}") for n in range(20 * following.PIECE)))
    done: list[str] = []
    asked = asyncio.ensure_future(scribe.journal.quote(QuoteId("q9")))
    asked.add_done_callback(lambda _: done.append("the read"))
    await asyncio.sleep(0)
    claimed = scribe.append(claim("o", "q9"))
    claimed.add_done_callback(lambda _: done.append("the claim"))
    assert (await asked) is not None
    assert done == ["the claim", "the read"]
    await scribe.journal.close()


# When they follow


async def test_the_tables_follow_when_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "IDLE", 0.01)
    scribe = await Scribe(SqliteJournal(tmp_path / "j")).open()
    await scribe.append(*some_facts(3))
    for _ in range(1_000):
        if not scribe.journal._store.behind:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the tables do not follow")
    await scribe.journal.close()


async def test_they_follow_also_when_there_is_always_something_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "IDLE", 1_000)
    monkeypatch.setattr(sqlite, "FAR_BEHIND", 64)
    scribe = await Scribe(SqliteJournal(tmp_path / "j")).open()
    most = 0
    for n in range(100):
        await scribe.append(quote(f"q{n}"), claim(f"o{n}", f"q{n}"))
        most = max(most, scribe.journal._store.behind)
    assert 0 < most <= 66
    await scribe.journal.close()


def test_a_journal_that_gets_no_orders_notes_how_far_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallax.journal.store.UNFOLLOWED", 10)
    scribe = Scribe(None)
    users: Sequence[Fact] = [fact for fact in history(Random(1), 200) if type(fact).__name__ == "OrdersRead"]
    for fact in users:
        write(store, scribe, fact)
        store.follow()
    (followed,) = store.db.execute("SELECT position FROM followed").fetchone()
    assert store.position - followed <= 11


# Journals of before


def test_a_journal_of_before_is_taken_over_with_all_that_it_holds(store: Store) -> None:
    scribe = Scribe(None)
    raised = IncidentRaised(
        NOON, IncidentId("i"), IncidentKind.AMOUNT_DIFFERS, "odd", order_id=OrderId("order-001")
    )
    write(store, scribe, *some_facts(3), raised)
    store.close()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.executescript(
            "DROP TABLE log_in_use; DROP TABLE followed; DROP TABLE order_facts; DROP INDEX incidents_of_order;"
            "CREATE INDEX facts_of_order ON facts (order_id) WHERE order_id IS NOT NULL; PRAGMA user_version = 2;"
        )
        assert schema.intact(db, 2)
    with closing(Store.open(store.path)) as again:
        story = queries.order_facts(again.db, OrderId("order-001"), 0)
        assert [type(stored.fact).__name__ for stored in story][-2:] == ["OrderCompleted", "IncidentRaised"]
        queries.complete(again.db, OrderId("order-001"), story)
    assert maintenance.verify(store.path).ok
