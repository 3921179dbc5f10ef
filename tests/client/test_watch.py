"""The event stream over lost connections and restarts of the desk: no gap, no duplicate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import parallax
from parallax import AsyncClient, Client
from parallax.client.calls import Reply
from parallax.client.stream import FIRST_GAP, LONGEST_GAP, MAX_LINE, Events, refused
from tests.client.running import running

PATIENCE = 30.0


def stream(*pieces: bytes, after: int | None = None) -> tuple[Events, list[tuple[int, str]]]:
    events = Events(after, None, ())
    return events, [(event.position, event.kind) for piece in pieces for event in events.feed(piece)]


STARTED = b'id: 7\nevent: DeskStarted\ndata: {"at":"2026-01-31T12:00:00Z","version":"1","venue":"v"}\n\n'


def test_a_stream_is_read_wherever_it_is_cut() -> None:
    whole = b"retry: 2000\nid: 6\n\n" + STARTED + b": heartbeat\nid: 9\n\n"
    for size in (1, 2, 3, 7, 50, len(whole)):
        pieces = [whole[begin : begin + size] for begin in range(0, len(whole), size)]
        events, told = stream(*pieces)
        assert told == [(7, "DeskStarted")]
        assert events.position == 9


def test_what_was_told_is_not_told_again() -> None:
    events, told = stream(STARTED, STARTED)
    assert told == [(7, "DeskStarted")]
    ask = events.ask()
    assert ask.headers["Last-Event-ID"] == "7"
    assert list(events.feed(STARTED)) == []


def test_half_an_event_is_forgotten_with_its_connection() -> None:
    events, _ = stream(STARTED[:40])
    events.ask()
    assert [event.position for event in events.feed(STARTED)] == [7]


def test_a_fact_of_a_later_version_is_told_with_its_fields() -> None:
    events = Events(None, None, ())
    [event] = events.feed(b'id: 3\nevent: MoonSeen\ndata: {"at":"2026-01-31T12:00:00Z","phase":"full"}\n\n')
    assert (event.kind, event.fact, event.data["phase"]) == ("MoonSeen", None, "full")


@pytest.mark.parametrize(
    "piece", [b"x" * (MAX_LINE + 1), b"id: 1\nevent: X\ndata: nonsense\n\n", b"id: 1\ndata: {}\n\n"]
)
def test_what_is_no_stream_of_a_desk_is_said_so(piece: bytes) -> None:
    with pytest.raises(parallax.DeskUnavailable):
        list(Events(None, None, ()).feed(piece))


def test_gaps_grow_while_the_desk_is_away_and_begin_anew() -> None:
    events = Events(None, None, ())
    gaps = [events.gap() for _ in range(8)]
    assert gaps[0] == FIRST_GAP
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_GAP
    list(events.feed(STARTED))
    assert events.gap() == FIRST_GAP


def test_a_stream_that_is_refused_for_now_is_asked_for_again() -> None:
    body = b'{"code":"desk_stopping","detail":"The desk is stopping.","retry":true}'
    assert "stopping" in refused(Reply(503, body))
    assert refused(Reply(502, b"<html>"))
    with pytest.raises(parallax.DeskUnavailable):
        refused(Reply(200, b"<html>"))
    with pytest.raises(parallax.DeskUnavailable):
        refused(Reply(404, b"<html>"))
    with pytest.raises(parallax.JournalFailed):
        refused(Reply(503, b'{"code":"journal_failed","detail":"The disk is full.","retry":false}'))


def test_a_watcher_goes_on_over_restarts_without_gap_or_duplicate(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with running(tmp_path, free_port) as own, Client(own.url) as desk:
        seen: list[int] = []
        quotes: list[str] = []
        enough = threading.Event()

        def watch() -> None:
            with Client(own.url) as mine:
                for event in mine.watch(after=0, give_up_after=PATIENCE):
                    seen.append(event.position)
                    if event.kind == "QuoteIssued":
                        quotes.append(event.data["quote_id"])
                    if len(quotes) == 3:
                        enough.set()
                        return

        watching = threading.Thread(target=watch)
        watching.start()
        asked = [desk.request_quote().id]
        own.stop(kill=True)
        own.start()
        asked.append(desk.request_quote().id)
        own.stop()
        own.start()
        asked.append(desk.request_quote().id)
        assert enough.wait(PATIENCE)
        watching.join()
        assert quotes == asked
        assert seen == list(range(1, len(seen) + 1))


async def test_an_async_watcher_gives_up_when_told_to(free_port: Callable[[], int]) -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port()}") as desk:
        with pytest.raises(parallax.DeskUnavailable, match="cannot be reached"):
            await anext(desk.watch(give_up_after=0.3))
