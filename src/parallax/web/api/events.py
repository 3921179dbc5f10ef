"""The event stream: every fact of the journal, in order, to whoever listens; resumable from any position.

A reader is first brought up to date (from the journal, page by page, then from the feed's memory) and then hears facts
as they become durable. It holds a bounded queue: one that reads too slowly is cut off, and resumes from its last
position like one that lost its connection. Each fact is put into its written form once, whoever reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import Receive, Send

from parallax.desk.desk import Desk
from parallax.desk.feed import MAX_REPLAY, FeedClosed, SubscriberTooSlow, Subscription, every_record
from parallax.domain.errors import DeskStopping, NotFound
from parallax.domain.facts import FACT_TYPES, Fact, OrderFact
from parallax.domain.identity import OrderId, UserId, is_identifier
from parallax.domain.state import Change
from parallax.ports.codec import encode
from parallax.ports.journal import MAX_PAGE, Journal, Recorded
from parallax.web.api.errors import ApiError
from parallax.web.api.paging import choice, flag, invalid, whole
from parallax.web.api.wire import Headers, Reply, Request

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a reader is told that the stream is alive, and how far it has come."""

SEND_PATIENCE: Final = 20.0
"""Seconds that one piece may take to leave: a reader that takes nothing for so long is cut off."""

RECONNECT: Final = 2_000
"""Milliseconds that a reader should wait before it connects again."""

MAX_READERS: Final = 4_096
"""Event streams open at one time; each holds a connection and at most a megabyte."""

MAX_FRAMES: Final = MAX_REPLAY
"""Facts kept in their written form, about 0.4 KB each: as many as the feed remembers."""

MAX_POSITION: Final = 2**53 - 1
"""No journal gets there, and every language's numbers do."""

NOW: Final = "now"

log = structlog.get_logger()

CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"


def frame(position: int, fact: Fact) -> bytes:
    """A fact as an event: its position as `id`, its name as `event`, its fields as `data`.

    `["` + event + `",` + data + `]` is the record whose SHA-256 the journal's chain holds.
    """
    name = type(fact).__name__
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (position, name.encode(), encode(fact)[len(name) + 4 : -1])


class Frames:
    """The newest facts as events, shared by all readers."""

    def __init__(self) -> None:
        self._made: dict[int, bytes] = {}

    def of(self, record: Recorded) -> bytes:
        """The event of a record."""
        made = self._made.get(record.position)
        if made is None:
            made = self._made[record.position] = frame(record.position, record.fact)
            if len(self._made) > MAX_FRAMES:
                del self._made[next(iter(self._made))]
        return made


@dataclass(frozen=True, slots=True)
class Filter:
    """Which facts a reader wants; empty means any. A user's facts are those of their orders, of reads of their
    list, of incidents about them, and of how they are listed."""

    user_id: UserId | None = None
    kinds: frozenset[str] = frozenset()

    def wants(self, change: Change) -> bool:
        """Whether it wants a change. Called for each fact and reader."""
        if self.kinds and type(change.fact).__name__ not in self.kinds:
            return False
        if self.user_id is None:
            return True
        return self.user_id == (change.order.user_id if change.order else named_user(change.fact))


def named_user(fact: Fact) -> UserId | None:
    """The user that a fact names by itself."""
    return getattr(fact, "user_id", None)


class Events:
    """The call for the event stream."""

    def __init__(self, desk: Desk, journal: Journal) -> None:
        self._desk = desk
        self._journal = journal
        self._frames = Frames()
        self._readers = 0

    async def listen(self, request: Request) -> Reply:
        """A stream from a position on. Raises `ApiError`, `DeskStopping` or `JournalFailed`."""
        asked = request.parameters
        if self._desk.status.stopping:
            raise DeskStopping
        if self._readers >= MAX_READERS:
            raise ApiError("too_many_readers", f"{MAX_READERS} event streams are open already.")
        wanted = Filter(_user(asked.get("user", "")), _kinds(asked.get("kind", "")))
        follow = flag("follow", asked["follow"]) if "follow" in asked else True
        after = await self._position(asked.get("after"), request.text(b"last-event-id"))
        return _Stream(self, request.receive, wanted, after, follow)

    async def _position(self, after: str | None, last_seen: str | None) -> int:
        """Where to begin: what the reader saw last goes before what its address says, as it reconnects to the same
        address; without either, now."""
        newest = self._desk.position
        if last_seen:
            position = whole("Last-Event-ID", last_seen, 0, MAX_POSITION)
        elif after is not None and after != NOW:
            position = whole("after", after, 0, MAX_POSITION)
        else:
            return newest
        # A fact is durable a moment before it is told: such a position is ahead of the feed, and known.
        if position > newest and not await self._journal.facts(position - 1, 1):
            raise ApiError(
                "position_unknown",
                f"The journal ends at {newest}: this position is of another journal, or was never reached.",
            )
        return position

    # What a stream is made of

    async def run(self, stream: _Stream, send: Send) -> None:
        """Send facts until the reader leaves, the desk stops or, without `follow`, all is told."""
        self._readers += 1
        try:
            await stream.write(send, b"retry: %d\nid: %d\n\n" % (RECONNECT, stream.position))
            await self._catch_up(stream, send)
            # From here to the subscription there is no await: no fact falls between what has been sent,
            # what the feed remembers and what it tells from now on.
            behind = self._desk.feed.since(stream.position) or []
            if not stream.follow:
                await self._tell(stream, send, behind)
                return
            with self._desk.feed.subscribe(stream.wanted.wants, every_record) as subscription:
                stream.subscription = subscription
                if self._desk.status.stopping or stream.gone:
                    return
                await self._tell(stream, send, behind)
                await self._follow(stream, send, subscription)
        except FeedClosed:
            return
        except SubscriberTooSlow:
            await stream.write(send, b": cut off: too slow; resume with Last-Event-ID\n\n")
        finally:
            self._readers -= 1

    async def _catch_up(self, stream: _Stream, send: Send) -> None:
        """Read the journal from the reader's position to what the feed remembers."""
        owners: dict[OrderId, UserId | None] = {}
        while not stream.gone and self._desk.feed.since(stream.position) is None:
            page = await self._journal.facts(stream.position, MAX_PAGE)
            if not page:
                return
            pieces = [
                frame(stored.position, stored.fact)
                for stored in page
                if await self._wanted(stream.wanted, stored.fact, owners)
            ]
            stream.position = page[-1].position
            await stream.write(send, b"".join(pieces) or _progress(stream.position))

    async def _wanted(self, wanted: Filter, fact: Fact, owners: dict[OrderId, UserId | None]) -> bool:
        if wanted.kinds and type(fact).__name__ not in wanted.kinds:
            return False
        if wanted.user_id is None:
            return True
        owner = named_user(fact)
        if owner is None and isinstance(fact, OrderFact):
            if fact.order_id not in owners:
                if len(owners) >= MAX_PAGE:
                    owners.clear()
                owners[fact.order_id] = await self._owner(fact.order_id)
            owner = owners[fact.order_id]
        return owner == wanted.user_id

    async def _owner(self, order_id: OrderId) -> UserId | None:
        try:
            return (await self._desk.order(order_id)).user_id
        except NotFound:
            return None

    async def _tell(self, stream: _Stream, send: Send, records: Sequence[Recorded]) -> None:
        pieces = [
            self._frames.of(record)
            for record in records
            if record.position > stream.position and stream.wanted.wants(record.change)
        ]
        if pieces:
            await stream.write(send, b"".join(pieces))
        if records:
            stream.position = max(stream.position, records[-1].position)

    async def _follow(self, stream: _Stream, send: Send, subscription: Subscription) -> None:
        frames = self._frames.of
        while True:
            silent = False
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await subscription.wait()
            except TimeoutError:
                silent = True
            news = subscription.take()
            pieces = [frames(record) for record in news.records if record.position > stream.position]
            stream.position = max(stream.position, news.position)
            if pieces:
                await stream.write(send, b"".join(pieces))
            elif silent:
                await stream.write(send, b": heartbeat\n" + _progress(stream.position))


class _Stream:
    """One reader: what it wants and how far it has come."""

    def __init__(
        self,
        events: Events,
        receive: Receive,
        wanted: Filter,
        position: int,
        follow: bool,
    ) -> None:
        self._events = events
        self._receive = receive
        self.wanted = wanted
        self.position = position
        self.follow = follow
        self.gone = False
        self.subscription: Subscription | None = None

    async def deliver(self, send: Send, extra: Headers) -> None:
        """Send the stream until its end."""
        headers = [
            (b"content-type", CONTENT_TYPE),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # or a proxy would hold facts back
            *extra,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        watch = asyncio.create_task(self._watch(), name="event stream's reader")
        try:
            await self._events.run(self, send)
            if not self.gone:
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("an event stream's reader took nothing and was cut off", position=self.position)
        finally:
            watch.cancel()

    async def write(self, send: Send, piece: bytes) -> None:
        """Send a piece. Raises `TimeoutError` when the reader does not take it: its connection is given up."""
        async with asyncio.timeout(SEND_PATIENCE):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self.subscription is not None:
            self.subscription.close()


def _progress(position: int) -> bytes:
    """Moves the reader's position without an event: an event without data only sets the id."""
    return b"id: %d\n\n" % position


def _user(text: str) -> UserId | None:
    if text and not is_identifier(text):
        raise invalid("user", "This is no user's id.")
    return UserId(text) if text else None


def _kinds(text: str) -> frozenset[str]:
    return choice("kind", text, frozenset(FACT_TYPES)) if text else frozenset()
