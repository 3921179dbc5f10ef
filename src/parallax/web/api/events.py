"""The event stream: every fact of the journal, in order, to whoever listens; resumable from any position.

A reader is first brought up to date (from the journal, page by page, then from the feed's memory) and then follows a
channel: the newest pieces for everyone with the same filter, in a ring that all of them read at their own pace. One
that falls behind the ring, or takes nothing for a while, is cut off, and resumes from its last position like one that
lost its connection. A fact is put into its written form once, and a piece is joined once, whoever reads it: a thousand
readers cost a thousand writes to sockets and little else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from starlette.types import Receive, Send

from parallax.desk.desk import Desk
from parallax.desk.feed import MAX_REPLAY, Feed, FeedClosed, SubscriberTooSlow, every_record
from parallax.domain.errors import DeskStopping, NotFound
from parallax.domain.facts import FACT_TYPES, Fact, OrderFact
from parallax.domain.identity import OrderId, UserId, is_identifier
from parallax.domain.state import Change
from parallax.ports.codec import encode
from parallax.ports.journal import MAX_PAGE, Recorded
from parallax.web.api.errors import ApiError
from parallax.web.api.paging import choice, flag, invalid, whole
from parallax.web.api.wire import Headers, Reply, Request

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a reader is told that the stream is alive, and how far it has come."""

SEND_PATIENCE: Final = 20.0
"""Seconds that one piece may take to leave: a reader that takes nothing for so long is cut off."""

STUCK_CHECK: Final = 5.0
"""Seconds between two looks for such readers."""

MAX_BEHIND: Final = 1_000
"""Facts that a reader may be behind the newest, about 0.4 MB (14 where all are long lists of quotes): a channel holds
them once for all of its readers."""

MAX_BURST: Final = 20_000
"""Facts that may become durable in one moment: ten full commits of the journal."""

RECONNECT: Final = 2_000
"""Milliseconds that a reader should wait before it connects again."""

MAX_READERS: Final = 4_096
"""Event streams open at one time; each holds a connection and some 20 KB."""

MAX_FRAMES: Final = MAX_REPLAY
"""Facts kept in their written form, about 0.4 KB each (14 for a long list of quotes): as many as the feed remembers."""

MAX_POSITION: Final = 2**53 - 1
"""No journal gets there, and every language's numbers do."""

NOW: Final = "now"

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

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._frames = Frames()
        self._channels: dict[Filter, _Channel] = {}
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
        return _Stream(self, request.receive, wanted, after, follow=follow)

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
        if position > newest and not await self._desk.facts(position - 1, 1):
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
            await _write(send, b"retry: %d\nid: %d\n\n" % (RECONNECT, stream.position))
            await self._catch_up(stream, send)
            # From here until the reader has its place in the channel there is no await: no fact falls between
            # what has been sent, what the feed remembers and what it tells from now on.
            behind = [
                self._frames.of(record)
                for record in self._desk.feed.since(stream.position) or ()
                if stream.wanted.wants(record.change)
            ]
            # A feed that has been closed would never end a new subscription.
            follow = stream.follow and not self._desk.status.stopping
            channel = self._channel(stream.wanted) if follow else None
            if channel is None:
                await _write(send, b"".join(behind))
                return
            place = channel.enter(stream)
            try:
                if behind:
                    await stream.write(send, b"".join(behind))
                await self._follow(stream, send, channel, place)
            finally:
                channel.leave(stream)
        except FeedClosed:
            return
        except SubscriberTooSlow:
            await _write(send, b": cut off: too slow; resume with Last-Event-ID\n\n")
        finally:
            self._readers -= 1

    async def _follow(self, stream: _Stream, send: Send, channel: _Channel, place: int) -> None:
        """Send what the channel holds and what comes. It runs for each fact and reader, hence in one coroutine."""
        now = asyncio.get_running_loop().time
        while True:
            if place == channel.next:
                await channel.news()
                continue
            piece = channel.since(place)
            place = channel.next
            stream.sending_since = now()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            stream.sending_since = 0.0

    def _channel(self, wanted: Filter) -> _Channel:
        channel = self._channels.get(wanted)
        if channel is None or channel.ended:
            channel = self._channels[wanted] = _Channel(self._desk.feed, wanted, self._frames, self._close)
        return channel

    def _close(self, channel: _Channel) -> None:
        if self._channels.get(channel.wanted) is channel:
            del self._channels[channel.wanted]

    async def _catch_up(self, stream: _Stream, send: Send) -> None:
        """Read the journal from the reader's position to what the feed remembers."""
        owners: dict[OrderId, UserId | None] = {}
        while not stream.gone and self._desk.feed.since(stream.position) is None:
            page = await self._desk.facts(stream.position, MAX_PAGE)
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


class _Channel:
    """What everyone with one filter hears: a ring of pieces, each numbered, that readers follow at their own pace."""

    def __init__(
        self, feed: Feed, wanted: Filter, frames: Frames, on_end: Callable[[_Channel], None]
    ) -> None:
        self.wanted = wanted
        self.ended = False
        self._frames = frames
        self._on_end = on_end
        self._readers: set[_Stream] = set()
        self._ring: deque[tuple[int, bytes]] = deque()
        self._facts = 0
        self.next = 0
        self._more = asyncio.Event()
        self._looked = asyncio.get_running_loop().time()
        self._subscription = feed.subscribe(wanted.wants, every_record, MAX_BURST)
        self._pump = asyncio.create_task(self._run(), name="event channel")

    def enter(self, reader: _Stream) -> int:
        """The reader's place: right behind everything that the feed has told."""
        self._drain()
        self._readers.add(reader)
        return self.next

    def leave(self, reader: _Stream) -> None:
        """Forget a reader; without any the channel ends."""
        self._readers.discard(reader)
        if not self._readers:
            self._pump.cancel()
            self._end()

    async def news(self) -> None:
        """Wait for more. Raises `FeedClosed` when there will be none."""
        if self.ended:
            raise FeedClosed
        await self._more.wait()

    def since(self, place: int) -> bytes:
        """All that there is from a place on. Raises `SubscriberTooSlow` when the ring no longer reaches back there."""
        behind = self.next - place
        if behind > len(self._ring):
            raise SubscriberTooSlow
        if behind == 1:  # the usual case, for all readers the same bytes
            return self._ring[-1][1]
        return b"".join(piece for _, piece in islice(self._ring, len(self._ring) - behind, None))

    async def _run(self) -> None:
        """Take what the feed tells, and break the silence when it tells nothing."""
        try:
            while True:
                silent = False
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await self._subscription.wait()
                except TimeoutError:
                    silent = True
                if not self._drain() and silent:
                    self._put(1, b": heartbeat\n" + _progress(self._subscription.take().position))
                self._let_go_of_the_stuck()
        except (FeedClosed, SubscriberTooSlow):
            self._end()

    def _drain(self) -> bool:
        """Whether there was anything."""
        records = self._subscription.take().records
        if records:
            self._put(len(records), b"".join(map(self._frames.of, records)))
        return bool(records)

    def _put(self, facts: int, piece: bytes) -> None:
        self._ring.append((facts, piece))
        self.next += 1
        self._facts += facts
        while self._facts > MAX_BEHIND and len(self._ring) > 1:
            self._facts -= self._ring.popleft()[0]
        self._wake()

    def _wake(self) -> None:
        waiting, self._more = self._more, asyncio.Event()
        waiting.set()

    def _let_go_of_the_stuck(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked < STUCK_CHECK:
            return
        self._looked = now
        for reader in self._readers:
            if reader.sending_since and now - reader.sending_since > SEND_PATIENCE:
                reader.cut_off()

    def _end(self) -> None:
        self.ended = True
        self._subscription.__exit__(None, None, None)
        self._on_end(self)
        self._wake()


class _Stream:
    """One reader: what it wants and how far it has come."""

    def __init__(
        self, events: Events, receive: Receive, wanted: Filter, position: int, *, follow: bool
    ) -> None:
        self._events = events
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self.wanted = wanted
        self.position = position
        self.follow = follow
        self.gone = False
        self.sending_since = 0.0

    async def deliver(self, send: Send, extra: Headers) -> None:
        """Send the stream until its end."""
        headers = [
            (b"content-type", CONTENT_TYPE),
            (b"x-accel-buffering", b"no"),  # or a proxy would hold facts back
            *extra,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._task = asyncio.current_task()
        watch = asyncio.create_task(self._watch(), name="event stream's reader")
        try:
            await self._events.run(self, send)
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not self.gone or self._task is None:
                raise
            self._task.uncancel()  # it was us: the reader has left, or was cut off
        finally:
            watch.cancel()

    async def write(self, send: Send, piece: bytes) -> None:
        """Send a piece; the channel sees for how long that takes."""
        self.sending_since = asyncio.get_running_loop().time()
        await _write(send, piece)
        self.sending_since = 0.0

    def cut_off(self) -> None:
        """End the stream where it waits; its connection is closed."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cut_off()


async def _write(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


def _progress(position: int) -> bytes:
    """Moves the reader's position without an event: an event without data only sets the id."""
    return b"id: %d\n\n" % position


def _user(text: str) -> UserId | None:
    if text and not is_identifier(text):
        raise invalid("user", "This is no user's id.")
    return UserId(text) if text else None


def _kinds(text: str) -> frozenset[str]:
    return choice("kind", text, frozenset(FACT_TYPES)) if text else frozenset()
