"""The event stream of an open page: whatever changes in what it shows, as fragments to put in place.

A page says what it shows (`page=orders&user=…`) and from which position on it needs news; each message carries the
position it brings the page to. What was missed is replayed from the feed's memory; where that does not reach, or the
desk has been started anew, the page is told to fetch itself again. A message of a few bytes every `BEAT` seconds lets
a page notice a dead connection, and keeps its clock right. The first one says that all that was missed has been told.

A change is rendered once and its bytes are shared by everyone who is shown the same thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from parallax.desk.feed import FeedClosed, SubscriberTooSlow, newest_of_entity
from parallax.domain.errors import NotFound
from parallax.domain.facts import QuoteIssued
from parallax.domain.identity import is_identifier
from parallax.domain.state import Change
from parallax.ports.journal import Recorded
from parallax.web import format as shown
from parallax.web.site import Site, TheSite
from parallax.web.streams import Streams
from parallax.web.topics import Topic, of_frame, topic_of

BEAT: Final = 2.0
"""Seconds between two signs of life on a quiet stream, some 20 bytes a second: what a page says is last known when two
of them have not come (`live.js`)."""

GATHER: Final = 0.008
"""Seconds in which what happens is gathered, so that an order that is claimed, sent and accepted in one breath is
told once: telling two hundred viewers takes longer than this."""

MAX_SHARED: Final = 2_000
"""Rendered fragments kept for sharing: each is wanted by every viewer within a moment, and then never again."""

router = APIRouter(include_in_schema=False)


class Shared:
    """What open streams share."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self._shared: dict[tuple[str, int], asyncio.Future[bytes]] = {}
        self._gathering: asyncio.Event | None = None

    async def gathered(self) -> None:
        """Wait a moment for more to happen; everyone who waits goes on at once, with one timer."""
        if self._gathering is None:
            self._gathering = asyncio.Event()
            asyncio.get_running_loop().call_later(GATHER, self._let_go)
        await self._gathering.wait()

    def _let_go(self) -> None:
        if self._gathering is not None:
            self._gathering.set()
            self._gathering = None

    async def message(self, site: Site, topic: Topic, record: Recorded) -> bytes:
        """What a change means to a topic, as it is sent: made once, also when many ask at the same moment."""
        key = (topic.key, record.position)
        if (made := self._shared.get(key)) is not None:
            return made.result() if made.done() else await asyncio.shield(made)
        made = self._shared[key] = asyncio.get_running_loop().create_future()
        while len(self._shared) > MAX_SHARED:
            del self._shared[next(iter(self._shared))]
        # The first who asks makes it, without a task: it is there before anyone else asks, unless it has to read.
        try:
            html = await topic.render(site, record)
        except BaseException:
            self._shared.pop(key, None)
            made.cancel()  # whoever waits is cut off as well, and resumes
            raise
        at = f"{site.boot}.{record.position}"
        made.set_result(
            _message("refresh", "", at) if html is None else _message("", html, at) if html else b""
        )
        return made.result()


@router.get("/live")
async def live(request: Request, site: TheSite) -> Response:
    """The stream of one page, or with `wait=0` only what was missed."""
    shared: Shared = request.app.state.shared
    query = request.query_params
    user, order = query.get("user", ""), query.get("order", "")
    if not all(is_identifier(given) for given in (user, order) if given):
        raise NotFound("page", query.get("page", ""))
    topic = topic_of(query.get("page", ""), user, order)
    if site.desk.status.stopping:
        return PlainTextResponse("No more streams now.", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "3"})
    after = request.headers.get("last-event-id") or query.get("after", "")
    wait = query.get("wait") != "0"
    return EventStream(
        shared.streams, _messages(site, shared, topic, after, query.get("frame", ""), wait=wait)
    )


async def _messages(
    site: Site, shared: Shared, topic: Topic, after: str, frame: str, *, wait: bool
) -> AsyncGenerator[bytes]:
    desk = site.desk
    with desk.feed.subscribe(topic.wanted, newest_of_entity) as news:
        missed = _missed(site, after, topic.wanted)
        yield _message("hello", f"{shown.milliseconds(desk.latest_venue_now())} {site.assets.version}")
        if missed is None:
            yield _message("refresh", "", site.at())
        else:
            for record in missed:
                yield await shared.message(site, topic, record)
        while True:
            if (current := site.frame()).digest != frame:
                frame = current.digest
                yield _message("", current.html)
            yield _beat(site)  # the exchange's clock may be what has changed
            if not wait:
                return
            look_at_frame = False
            while not look_at_frame:
                try:
                    async with asyncio.timeout(BEAT):
                        await news.wait()
                except TimeoutError:
                    break
                await shared.gathered()
                taken = news.take()
                told = [await shared.message(site, topic, record) for record in taken.records]
                yield b"".join(told)
                look_at_frame = bool(taken.signals) or any(_tells_of_frame(each) for each in taken.records)


def _missed(site: Site, after: str, wanted: Callable[[Change], bool]) -> Sequence[Recorded] | None:
    """The newest record of each entity since a position, or None when only a fresh page will do."""
    boot, _, number = after.partition(".")
    if boot != site.boot or not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    position = int(number)
    records = site.desk.feed.since(position) if position <= site.desk.position else None
    if records is None:
        return None
    newest: dict[object, Recorded] = {}
    for record in records:
        if wanted(record.change):
            key = newest_of_entity(record)
            newest.pop(key, None)
            newest[key] = record
    return list(newest.values())


def _tells_of_frame(record: Recorded) -> bool:
    """Whether the frame may have changed with a fact; a new quote comes with news of the exchange's clock."""
    return of_frame(record.change) or isinstance(record.fact, QuoteIssued)


def _beat(site: Site) -> bytes:
    return _message("beat", str(shown.milliseconds(site.desk.latest_venue_now())))


def _message(event: str, data: str, position: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    identifier = f"id: {position}\n" if position else ""
    return f"{head}{identifier}data: {data}\n\n".encode()


class EventStream(Response):
    """An answer that goes on until the reader leaves, is cut off, or the desk stops."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, messages: AsyncGenerator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._streams.run(scope, receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._messages) as messages:
            with suppress(SubscriberTooSlow, FeedClosed, OSError):
                async for message in messages:
                    if not message:
                        continue  # it concerned the frame alone
                    await send({"type": "http.response.body", "body": message, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
