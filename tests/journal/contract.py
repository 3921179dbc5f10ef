"""What every journal keeps, whatever it is made of. A new adapter is proven by passing this.

An adapter's test module subclasses `JournalContract` and gives a fixture `build`: a function that makes a journal on
storage that outlives it, so that building twice is opening again.
"""

# ruff: noqa: ASYNC240 - a test may look at its own small files from the loop

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from parallax.domain.errors import JournalFailed, QuoteTaken
from parallax.domain.facts import (
    AnswerLost,
    IncidentKind,
    IncidentRaised,
    IncidentResolved,
    OrderRefused,
    OrdersPaused,
    OrdersRead,
    OrdersResumed,
    OrderWithdrawn,
    UserListed,
)
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import State, fold
from parallax.domain.transitions import OrderState
from parallax.journal import SqliteJournal
from parallax.ports.codec import encode
from parallax.ports.journal import (
    GENESIS,
    LINGER,
    MAX_ANSWER_BYTES,
    MAX_PAGE,
    OrderQuery,
    OrderSort,
    SnapshotBounds,
)
from tests.journal.strategies import USERS, history
from tests.journal.support import (
    ANN,
    NOON,
    Scribe,
    accepted,
    at,
    claim,
    completed,
    impossible,
    late_claim,
    quote,
    sent,
    settled_order,
    some_facts,
)

Build = Callable[..., Any]
Open = Callable[..., Awaitable[Scribe]]
SEEDS = range(8)


class JournalContract:
    """The promises of `parallax.ports.journal.Journal`, each a test."""

    @pytest.fixture
    async def opened(self, build: Build) -> AsyncIterator[Open]:
        """Opens journals on the same storage, one after the other, and closes what a test leaves open."""
        scribes: list[Scribe] = []

        async def open_(**options: Any) -> Scribe:
            scribes.append(Scribe(build(**options)))
            return await scribes[-1].open()

        yield open_
        for scribe in scribes:
            await scribe.journal.close()

    # Writing

    async def test_facts_come_back_in_order_under_a_chain_that_anyone_can_follow(self, opened: Open) -> None:
        scribe = await opened()
        facts = some_facts(3)
        await scribe.append(*facts)
        stored = await scribe.journal.facts(0, 100)
        assert [one.fact for one in stored] == facts
        assert [one.position for one in stored] == list(range(1, len(facts) + 1))
        before = GENESIS
        for one in stored:
            digest = hashlib.sha256(encode(one.fact)).digest()
            before = hashlib.sha256(before + digest).digest()
            assert (one.digest, one.hash) == (digest, before)
        assert [one.position for one in await scribe.journal.facts(4, 2)] == [5, 6]
        assert list(await scribe.journal.facts(len(facts), 10)) == []

    async def test_a_future_never_resolves_within_append(self, opened: Open) -> None:
        scribe = await opened()
        future = scribe.append(quote("q"))
        assert not future.done()
        assert not scribe.heard
        [recorded] = await future
        assert recorded.position == 1
        assert list(await scribe.journal.append([])) == []

    async def test_what_nobody_waits_for_is_written_all_the_same_and_in_its_turn(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(quote("q"), claim("o", "q"))
        alone = scribe.append_later(sent("o", "q"))
        [recorded] = await asyncio.wait_for(alone, 20 * LINGER)  # though nothing follows
        assert recorded.position == 3
        ahead = scribe.append_later(quote("r"))
        await scribe.append(quote("s"))
        assert ahead.done(), "what was queued earlier is durable earlier"
        assert [one.position for one in scribe.heard] == [1, 2, 3, 4, 5]

    async def test_closing_does_not_leave_behind_what_nobody_waits_for(self, opened: Open) -> None:
        scribe = await opened()
        future = scribe.append_later(quote("q"))
        await scribe.journal.close()
        assert future.done()
        assert len(await (await opened()).journal.facts(0, 10)) == 1

    async def test_the_sink_hears_everything_in_order_before_any_future_resolves(self, opened: Open) -> None:
        scribe = await opened()
        heard_when_told: list[tuple[int, int]] = []

        def told(done: asyncio.Future[Any]) -> None:
            heard_when_told.append((done.result()[-1].position, len(scribe.heard)))

        futures = [scribe.append(quote(f"q{n}"), quote(f"r{n}")) for n in range(20)]
        for future in futures:
            future.add_done_callback(told)
        await asyncio.gather(*futures)
        await asyncio.sleep(0)
        assert [one.position for one in scribe.heard] == list(range(1, 41))
        assert len(heard_when_told) == 20
        assert all(heard >= position for position, heard in heard_when_told)

    async def test_cancelling_the_future_does_not_take_the_facts_back(self, opened: Open) -> None:
        scribe = await opened()
        scribe.append(quote("q")).cancel()
        await scribe.append(quote("r"))
        assert [one.fact for one in await scribe.journal.facts(0, 9)] == [quote("q"), quote("r")]
        assert len(scribe.heard) == 2

    async def test_closing_writes_what_is_queued_and_then_takes_no_more(self, opened: Open) -> None:
        scribe = await opened()
        futures = [scribe.append(quote(f"q{n}")) for n in range(50)]
        await scribe.journal.close()
        assert [future.result()[0].position for future in futures] == list(range(1, 51))
        with pytest.raises(JournalFailed, match="not open"):
            await scribe.journal.append([])
        with pytest.raises(JournalFailed, match="not open"):
            await scribe.journal.facts(0, 1)
        assert (await opened()).snapshot.position == 50

    async def test_a_fact_without_a_written_form_is_refused_and_stops_nobody_else(self, opened: Open) -> None:
        scribe = await opened()
        odd = OrdersPaused(NOON, "operator", "\ud800")
        with pytest.raises(JournalFailed, match="written down"):
            await scribe.journal.append([fold(State(), odd)])
        assert scribe.journal.failed is None
        await scribe.append(quote("q"))

    # One quote, one order

    async def test_of_claims_on_one_quote_the_first_wins_and_the_others_are_told_whose_it_is(
        self, opened: Open
    ) -> None:
        scribe = await opened()
        await scribe.append(quote("q"), quote("other"))
        first = scribe.append(claim("first", "q", by="ann"))
        late = [scribe.journal.append([late_claim(scribe, f"late{n}", "q")]) for n in range(5)]
        neighbour = scribe.append(claim("neighbour", "other"))
        assert (await first)[0].position == 3
        assert (await neighbour)[0].position == 4
        for future in late:
            with pytest.raises(QuoteTaken) as taken:
                await future
            assert (taken.value.order_id, taken.value.by) == ("first", "ann")
        assert [one.position for one in scribe.heard] == [1, 2, 3, 4]
        assert scribe.journal.failed is None
        assert await scribe.journal.order(OrderId("late0")) is None

    async def test_a_batch_with_a_late_claim_leaves_nothing_behind(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(quote("q"), claim("first", "q"))
        extra = fold(State(), quote("extra"))
        with pytest.raises(QuoteTaken):
            await scribe.journal.append([extra, late_claim(scribe, "late", "q")])
        assert await scribe.journal.quote(QuoteId("extra")) is None
        await scribe.journal.append([extra])
        assert (await scribe.journal.quote(QuoteId("extra"))) is not None

    @pytest.mark.parametrize("freed", ["withdrawn", "refused"])
    async def test_only_an_order_that_was_withdrawn_or_refused_lets_go_of_its_quote(
        self, opened: Open, freed: str
    ) -> None:
        scribe = await opened()
        await scribe.append(quote("q"), claim("first", "q"))
        if freed == "withdrawn":
            await scribe.append(OrderWithdrawn(at(1), OrderId("first"), QuoteId("q"), "too late"))
        else:
            await scribe.append(sent("first", "q"))
            await scribe.append(OrderRefused(at(1), OrderId("first"), QuoteId("q"), 422, ("amount",)))
        await scribe.append(claim("second", "q"))
        with pytest.raises(QuoteTaken) as taken:
            await scribe.journal.append([late_claim(scribe, "third", "q")])
        assert taken.value.order_id == "second"

    async def test_a_claim_that_is_let_go_and_taken_again_within_one_commit(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(quote("q"))
        futures = [
            scribe.append(claim("first", "q")),
            scribe.append(OrderWithdrawn(at(1), OrderId("first"), QuoteId("q"), "too late")),
            scribe.append(claim("second", "q")),
            scribe.journal.append([late_claim(scribe, "third", "q")]),
        ]
        done = await asyncio.gather(*futures, return_exceptions=True)
        assert [isinstance(one, QuoteTaken) for one in done] == [False, False, False, True]

    @pytest.mark.parametrize("state", ["unknown", "completed"])
    async def test_a_quote_stays_taken_whatever_becomes_of_its_order(self, opened: Open, state: str) -> None:
        scribe = await opened()
        await scribe.append(quote("q"), claim("first", "q"), sent("first", "q"))
        if state == "unknown":
            await scribe.append(AnswerLost(at(1), OrderId("first"), QuoteId("q"), "timeout", "", at(400)))
        else:
            await scribe.append(accepted("first", "q"), completed("first", "q"))
        await scribe.journal.close()
        again = await opened()
        with pytest.raises(QuoteTaken):
            await again.journal.append([late_claim(scribe, "late", "q")])

    # What does not follow

    async def test_what_does_not_follow_from_what_is_recorded_stops_the_journal(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*settled_order("o", "q"))
        with pytest.raises(JournalFailed, match="does not follow"):
            await scribe.journal.append([impossible(scribe, "o")])
        assert scribe.journal.failed is not None
        with pytest.raises(JournalFailed):
            await scribe.append(quote("more"))
        await scribe.journal.close()
        again = await opened()
        assert (again.snapshot.position, again.journal.failed) == (5, None)
        assert again.snapshot.orders[0].state is OrderState.COMPLETED

    # State is the fold of the facts

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_what_is_read_back_is_what_the_facts_fold_into(self, opened: Open, seed: int) -> None:
        random = Random(seed)
        scribe = await opened()
        facts = history(random, 150)
        while facts:
            size = random.choice((1, 1, 1, 2, 5))
            scribe.append(*facts[:size])
            facts = facts[size:]
            if random.random() < 0.2:
                await asyncio.sleep(0)
        await scribe.journal.append([])
        await self._agrees(scribe.journal, scribe.state)
        await scribe.journal.close()
        again = await opened()
        state, snapshot = scribe.state, again.snapshot
        assert list(snapshot.users) == list(state.users.values())
        assert list(snapshot.orders) == sorted(state.orders.values(), key=lambda one: one.created_at)
        assert list(snapshot.quotes) == sorted(state.quotes.values(), key=lambda one: one.created_at)
        assert list(snapshot.incidents) == list(state.incidents.values())
        assert (snapshot.position, snapshot.pause) == (150, state.pause)
        await self._agrees(again.journal, state)

    async def _agrees(self, journal: Any, state: State) -> None:
        for order in state.orders.values():
            assert await journal.order(order.id) == order
            about = [one.fact for one in await journal.order_facts(order.id)]
            everything = [one.fact for one in await journal.facts(0, MAX_PAGE)]
            assert about == [fact for fact in everything if getattr(fact, "order_id", None) == order.id]
        for one in state.quotes.values():
            assert await journal.quote(one.id) == one

    # Snapshots

    async def test_a_snapshot_is_bounded_but_for_what_is_live(self, opened: Open) -> None:
        scribe = await opened()
        day = 86_400
        await scribe.append(quote("old-live"), claim("live", "old-live"), quote("old-active"))
        for n in range(6):
            await scribe.append(*settled_order(f"o{n}", f"q{n}", 3 * day + n))
        incidents = [
            IncidentRaised(at(n), IncidentId(f"i{n}"), IncidentKind.QUOTE_CHANGED, "…") for n in range(4)
        ]
        await scribe.append(*incidents)
        await scribe.journal.close()
        small = SnapshotBounds(orders=2, quotes=1, young_quotes=3, incidents=1)
        snapshot = (await opened(bounds=small)).snapshot
        assert [order.id for order in snapshot.orders] == ["live", "o4", "o5"]
        assert [one.id for one in snapshot.quotes] == ["old-live", "q3", "q4", "q5"]
        assert snapshot.quotes_ever == 8
        assert [one.id for one in snapshot.incidents] == ["i0", "i1", "i2", "i3"]

    async def test_a_pause_outlives_a_restart_until_it_is_lifted(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(OrdersPaused(at(1), "ann", "too hot"))
        await scribe.journal.close()
        again = await opened()
        assert again.snapshot.pause == scribe.state.pause
        await again.append(OrdersResumed(at(2), "ann"))
        await again.journal.close()
        assert (await opened()).snapshot.pause is None

    # Reading

    async def test_an_order_is_found_by_either_id(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*settled_order("o", "q"))
        order = scribe.state.orders[OrderId("o")]
        assert await scribe.journal.order(OrderId("o")) == order
        assert await scribe.journal.order(OrderId("venue-o")) == order
        assert await scribe.journal.order(OrderId("nobody")) is None
        asked = [VenueOrderId("venue-o"), VenueOrderId("nobody")]
        assert list(await scribe.journal.orders_at_venue(asked)) == [order]
        assert list(await scribe.journal.orders_at_venue([])) == []

    async def test_pages_of_orders(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*history(Random(5), 400))
        every = list(scribe.state.orders.values())
        assert len(every) > 20

        async def ids(query: OrderQuery, offset: int = 0, limit: int = MAX_PAGE) -> list[str]:
            page = await scribe.journal.orders(query, offset, limit)
            assert list(page.items) == [scribe.state.orders[one.id] for one in page.items]
            return [one.id for one in page.items]

        oldest = [one.id for one in sorted(every, key=lambda one: one.created_at)]
        smallest = [one.id for one in sorted(every, key=lambda one: (one.amount.amount, one.created_at))]
        assert await ids(OrderQuery(sort=OrderSort.OLDEST)) == oldest
        assert await ids(OrderQuery()) == oldest[::-1]
        assert await ids(OrderQuery(sort=OrderSort.SMALLEST)) == smallest
        assert await ids(OrderQuery(sort=OrderSort.LARGEST)) == smallest[::-1]
        for user in USERS:
            own = await ids(OrderQuery(user_id=user))
            assert set(own) == {one.id for one in every if one.user_id == user}
        states = frozenset({OrderState.PENDING, OrderState.UNKNOWN})
        assert set(await ids(OrderQuery(states=states))) == {one.id for one in every if one.state in states}
        assert await ids(OrderQuery(user_id=UserId("nobody"))) == []

        collected: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await scribe.journal.orders(OrderQuery(), offset, 7)
            assert page.total == len(every)
            collected += [one.id for one in page.items]
            offset = page.next_offset
        assert collected == oldest[::-1]

    async def test_a_search_text_is_the_start_of_an_id_or_an_amount(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(
            *settled_order("abc-1", "q-1", 0, "1250.50"), *settled_order("abd-2", "q-2", 1, "100")
        )

        async def found(text: str) -> list[str]:
            page = await scribe.journal.orders(OrderQuery(text=text, sort=OrderSort.OLDEST), 0, 10)
            assert page.total == len(page.items)
            return [one.id for one in page.items]

        assert await found("ab") == ["abc-1", "abd-2"]
        assert await found("abc") == ["abc-1"]
        assert await found("venue-abd") == ["abd-2"]
        assert await found("q-2") == ["abd-2"]
        assert await found("1,250.5") == ["abc-1"]
        assert await found("100.00") == ["abd-2"]
        for nothing in ("bc", "%", "_", "1250", "\ud800", "\x00", "é", "a" * 10_000, "' OR 1=1 --"):
            assert await found(nothing) == []

    async def test_quotes_newest_first_and_which_are_known(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*(quote(f"q{n}", n) for n in (3, 1, 2, 0)))
        page = await scribe.journal.quotes(0, 3)
        assert [one.id for one in page.items] == ["q3", "q2", "q1"]
        assert (page.total, page.next_offset) == (4, 3)
        last = await scribe.journal.quotes(3, 3)
        assert ([one.id for one in last.items], last.next_offset) == (["q0"], None)
        asked = [QuoteId(name) for name in ("q9", "q2", "q0")]
        assert list(await scribe.journal.known_quotes(asked)) == ["q2", "q0"]
        many = [QuoteId(f"x{n}") for n in range(3 * MAX_PAGE)] + [QuoteId("q1")]
        assert list(await scribe.journal.known_quotes(many)) == ["q1"]

    async def test_incidents_are_found_by_their_ids_resolved_or_not(self, opened: Open) -> None:
        scribe = await opened()
        raised = [
            IncidentRaised(NOON, IncidentId(f"i{n}"), IncidentKind.ORDER_VANISHED, "gone") for n in range(3)
        ]
        await scribe.append(*raised, IncidentResolved(NOON, IncidentId("i1"), "ops", "seen"))
        asked = [IncidentId(f"x{n}") for n in range(3 * MAX_PAGE)] + [IncidentId("i2"), IncidentId("i1")]
        found = await scribe.journal.incidents(asked)
        assert {one.id: bool(one.resolved_at) for one in found} == {"i1": True, "i2": False}

    async def test_an_orders_story_holds_its_incidents(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*settled_order("o", "q"), *settled_order("p", "r"))
        raised = IncidentRaised(
            at(20), IncidentId("i"), IncidentKind.SETTLED_ORDER_CHANGED, "…", ANN, QuoteId("q"), OrderId("o")
        )
        await scribe.append(raised)
        story = [one.fact for one in await scribe.journal.order_facts(OrderId("o"))]
        assert story == [*settled_order("o", "q")[1:], raised]
        assert list(await scribe.journal.order_facts(OrderId("nobody"))) == []

    async def test_reads_of_a_user_by_when_they_began(self, opened: Open) -> None:
        scribe = await opened()
        looks = [OrdersRead(at(n + 5), ANN, at(n), 1) for n in (4, 0, 2)]
        await scribe.append(*looks, OrdersRead(at(9), UserId("bob"), at(2), 1))
        found = await scribe.journal.reads(ANN, at(0), at(2), 10)
        assert [one.fact for one in found] == [looks[1], looks[2]]
        assert [one.fact for one in await scribe.journal.reads(ANN, at(0), at(9), 1)] == [looks[1]]

    async def test_settle_times_outlive_a_restart(self, opened: Open) -> None:
        scribe = await opened()
        await scribe.append(*settled_order("o", "q", 0), *settled_order("p", "r", 100))
        await scribe.append(quote("s"), claim("lost", "s"))
        await scribe.journal.close()
        times = await (await opened()).journal.settle_times(10)
        assert [(one.began_at, one.not_before, one.settled_at) for one in times] == [
            (at(102), at(108), at(109)),
            (at(2), at(8), at(9)),
        ]

    # Idempotency keys

    async def test_the_first_answer_under_a_key_stays_for_a_day_also_over_restarts(
        self, opened: Open
    ) -> None:
        scribe = await opened()
        await scribe.journal.remember("k", b"asked", b"answer", NOON)
        await scribe.journal.remember("k", b"other", b"another", at(60))
        await scribe.journal.close()
        journal = (await opened()).journal
        day = timedelta(hours=24)
        kept = await journal.recall("k", NOON + day - timedelta(microseconds=1))
        assert (kept.fingerprint, kept.answer, kept.at) == (b"asked", b"answer", NOON)
        assert await journal.recall("k", NOON + day) is None
        assert await journal.recall("nobody", NOON) is None
        await journal.remember("k", b"third", b"new", NOON + day)
        assert (await journal.recall("k", NOON + day)).answer == b"new"

    async def test_what_is_remembered_is_bounded(self, opened: Open) -> None:
        journal = (await opened()).journal
        await journal.remember("k" * 255, b"", b"x" * MAX_ANSWER_BYTES, NOON)
        for key, answer in (("", b""), ("k" * 256, b""), ("k", b"x" * (MAX_ANSWER_BYTES + 1))):
            with pytest.raises(ValueError, match="has"):
                await journal.remember(key, b"", answer, NOON)

    # Backups

    async def test_a_backup_is_a_journal_of_its_own(self, opened: Open, tmp_path: Path) -> None:
        scribe = await opened()
        await scribe.append(UserListed(NOON, ANN, "Ann", "ann@example.com"), *history(Random(1), 200))
        await scribe.journal.remember("k", b"asked", b"answer", NOON)
        copy = tmp_path / "copy.journal"
        assert await scribe.journal.backup(copy) == 201
        await scribe.append(quote("later"))
        with pytest.raises(JournalFailed, match="never overwrites"):
            await scribe.journal.backup(copy)
        with pytest.raises(JournalFailed, match="could not be written"):
            await scribe.journal.backup(tmp_path / "nowhere" / "copy.journal")
        assert scribe.journal.failed is None
        restored = await Scribe(SqliteJournal(copy)).open()
        try:
            assert await restored.journal.facts(0, 300) == await scribe.journal.facts(0, 201)
            assert (await restored.journal.recall("k", NOON)).answer == b"answer"
        finally:
            await restored.journal.close()
        assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.journal"]
