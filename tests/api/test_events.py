"""The event stream: every fact in order, from any position, without gap or duplicate."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from starlette.types import Message

from parallax.domain.facts import FACT_TYPES
from parallax.ports.codec import chained, decode, encode
from parallax.ports.journal import GENESIS
from parallax.web.api import events
from tests.api.support import OTHER_USER, USER, World


async def test_facts_arrive_with_their_position_name_and_fields(world: World) -> None:
    async with world.client.events() as reader:
        assert reader.status == 200
        assert reader.headers["content-type"].startswith("text/event-stream")
        quote = await world.quote()
        await reader.until(lambda: reader.events)
        position, name, fields = reader.events[0]
        assert (position, name) == (world.desk.position, "QuoteIssued")
        assert fields["quote_id"] == quote["id"]
        assert fields["by"] == "api"


async def test_the_stream_is_the_journals_chain(world: World) -> None:
    """Anyone can check the stream against a receipt: hash = SHA-256(hash before + SHA-256(record))."""
    await world.order()
    await world.settled()
    async with world.client.events("/api/events?after=0&follow=false") as reader:
        await reader.ended.wait()
    link = GENESIS
    lines = [block.split("\n") for block in reader.text.split("\n\n") if "event: " in block]
    for _, event, data in lines:
        record = f'["{event.removeprefix("event: ")}",{data.removeprefix("data: ")}]'.encode()
        assert encode(decode(record)) == record
        link = chained(link, hashlib.sha256(record).digest())
    stored = await world.journal.facts(0, 1_000)
    assert len(lines) == len(stored)
    assert link == stored[-1].hash


@pytest.mark.parametrize("replay", [1, 5_000])
@pytest.mark.parametrize("after", [0, 1, 7])
async def test_from_any_position_there_is_no_gap_and_no_duplicate(
    world: World, after: int, replay: int
) -> None:
    """Facts come while the reader catches up, from the journal and from the feed's memory alike."""
    world.desk.feed._recent = type(world.desk.feed._recent)(world.desk.feed._recent, maxlen=replay)
    for _ in range(20):
        await world.quote()
    making = asyncio.create_task(_quotes(world, 30))
    async with world.client.events(f"/api/events?after={after}") as reader:
        await making
        await reader.until(lambda: reader.last_id == world.desk.position)
    assert [position for position, _, _ in reader.events] == list(range(after + 1, world.desk.position + 1))


async def test_a_reader_that_reconnects_misses_nothing(world: World) -> None:
    seen: list[int] = []
    last: int = world.desk.position
    for _ in range(5):
        async with world.client.events(headers={"Last-Event-ID": str(last)}) as reader:
            await _quotes(world, 3)
            await reader.until(lambda reader=reader: len(reader.events) >= 2)
        seen += [position for position, _, _ in reader.events]
        last = reader.last_id
        await _quotes(world, 2)
    assert seen == list(range(seen[0], seen[-1] + 1))


async def test_a_first_connection_has_a_position_to_resume_from(world: World) -> None:
    async with world.client.events() as reader:
        await reader.until(lambda: "id: " in reader.text)
        assert reader.last_id == world.desk.position
        assert reader.events == []


async def test_last_event_id_goes_before_the_address(world: World) -> None:
    await _quotes(world, 3)
    newest = world.desk.position
    path = "/api/events?after=0&follow=false"
    async with world.client.events(path, {"Last-Event-ID": str(newest - 1)}) as reader:
        await reader.ended.wait()
    assert [position for position, _, _ in reader.events] == [newest]


@pytest.mark.parametrize("replay", [1, 5_000])
async def test_a_users_stream_has_what_is_theirs_alone(world: World, replay: int) -> None:
    """From the journal, where most facts of an order do not name its user, as from memory."""
    await world.order(user=USER)
    await world.order(user=OTHER_USER)
    await world.settled()
    world.desk.feed._recent = type(world.desk.feed._recent)(world.desk.feed._recent, maxlen=replay)
    async with world.client.events(f"/api/events?user={OTHER_USER}&after=0&follow=false") as reader:
        await reader.ended.wait()
    theirs = (await world.call("GET", f"/api/users/{OTHER_USER}/orders")).data[0]["id"]
    names = [name for _, name, fields in reader.events if fields.get("order_id") == theirs]
    assert names[:3] == ["OrderClaimed", "OrderSent", "OrderAccepted"]
    assert names[-1] in ("OrderCompleted", "OrderFailed")
    for _, _, fields in reader.events:
        assert fields.get("user_id", OTHER_USER) == OTHER_USER
        assert fields.get("order_id", theirs) == theirs


async def test_kinds_are_chosen_and_the_position_moves_on(world: World) -> None:
    path = "/api/events?kind=QuoteIssued,OrderCompleted&kind=OrderFailed"
    async with world.client.events(f"{path}&after=0") as reader:
        await world.order()
        await world.settled()
        await reader.until(lambda: len(reader.events) == 2)
        assert {name for _, name, _ in reader.events} <= {"QuoteIssued", "OrderCompleted", "OrderFailed"}


async def test_silence_is_broken_and_says_how_far_the_stream_has_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    async with world.client.events("/api/events?kind=OrderCompleted") as reader:
        await world.quote()
        await reader.until(lambda: reader.text.count(": heartbeat") >= 2)
        assert reader.last_id == world.desk.position
        assert reader.events == []


async def test_a_slow_reader_is_cut_off_and_resumes_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_BEHIND", 10)
    async with world.client.events() as quick, world.client.events() as slow:
        await slow.until(lambda: "id: " in slow.text)
        slow.hold()
        await _quotes(world, 40)
        await quick.until(lambda: len(quick.events) == 40)
        slow.go_on()
        await slow.until(lambda: slow.finished)
        assert "cut off" in slow.text
        async with world.client.events(headers={"Last-Event-ID": str(slow.last_id)}) as again:
            await again.until(lambda: "id: " in again.text and again.last_id == world.desk.position)
        positions = [position for position, _, _ in (*slow.events, *again.events)]
        assert positions == [position for position, _, _ in quick.events]


async def test_streams_end_at_once_when_the_desk_stops(world: World) -> None:
    async with world.client.events() as one, world.client.events("/api/events?kind=QuoteIssued") as other:
        for reader in (one, other):
            await reader.until(lambda reader=reader: "id: " in reader.text)
        world.desk.drain()
        for reader in (one, other):
            async with asyncio.timeout(1):
                await reader.ended.wait()
            assert reader.finished
    got = await world.call("GET", "/api/events")
    assert (got.status, got.json["code"]) == (503, "desk_stopping")


async def test_readers_that_leave_leave_nothing_behind(world: World) -> None:
    listeners = world.desk.feed.listeners
    for _ in range(3):
        async with world.client.events() as one, world.client.events(f"/api/events?user={USER}"):
            await one.until(lambda one=one: "id: " in one.text)
    assert world.desk.feed.listeners == listeners


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "after=1e3",
        "after=99999999999999999999",
        "after=%D9%A1",
        "kind=Nothing",
        "kind=QuoteIssued,",
        "user=..%2F",
        "follow=maybe",
        "follow=",
    ],
)
async def test_absurd_values_are_422(world: World, query: str) -> None:
    got = await world.call("GET", f"/api/events?{query}".encode().decode("latin-1"))
    assert got.status == 422
    assert got.json["errors"]


async def test_a_position_that_was_never_reached_is_told_and_not_waited_for(world: World) -> None:
    got = await world.call("GET", f"/api/events?after={world.desk.position + 1000}")
    assert (got.status, got.json["code"]) == (404, "position_unknown")


async def test_a_reader_gets_the_place_of_the_oldest_when_all_are_taken(world: World) -> None:
    world.streams.limit = 1
    async with world.client.events() as oldest:
        await oldest.until(lambda: "id: " in oldest.text)
        async with world.client.events() as reader:
            await reader.until(lambda: "id: " in reader.text)
            async with asyncio.timeout(5):
                await oldest.ended.wait()
            assert (reader.status, len(world.streams)) == (200, 1)


async def test_a_reader_who_catches_up_is_made_no_more_than_it_takes(world: World) -> None:
    await _quotes(world, 40)
    await world.desk.refresh("quotes")
    made = world.desk.position
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body"):
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(world.api(world.client.scope("GET", "/api/events?after=0"), receive, send))
    await asyncio.sleep(0.05)
    assert made > 40
    assert sum(len(message.get("body", b"")) for message in sent) < 2 * events.MAX_PIECE
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_description_knows_every_fact() -> None:
    from parallax.web.api.openapi import document

    parameters: list[dict[str, Any]] = document()["paths"]["/events"]["get"]["parameters"]
    kinds = next(one for one in parameters if one["name"] == "kind")
    assert kinds["schema"]["items"]["enum"] == sorted(FACT_TYPES)


async def _quotes(world: World, count: int) -> None:
    for _ in range(count):
        await world.quote()
