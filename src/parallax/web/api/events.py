"""The event stream: every fact of the journal, in order, to whoever listens; resumable from any position.

A reader is first brought up to date (from the journal, page by page, then from the feed's memory) and then follows a
channel: the newest pieces for everyone with the same filter, in a ring that all of them read at their own pace. One
that falls behind the ring is cut off, and resumes from its last position like one that lost its connection; one that
takes nothing at all is cut off by the server. A fact is put into its written form once, and a piece is joined once,
whoever reads it: a thousand readers cost a thousand writes to sockets and little else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from starlette.types import Send

from parallax.desk.desk import Desk
from parallax.desk.feed import Feed, FeedClosed, SubscriberTooSlow, every_record
from parallax.domain.errors import DeskStopping, NotFound
from parallax.domain.facts import FACT_TYPES, Fact, OrderFact
from parallax.domain.identity import OrderId, UserId, is_identifier
from parallax.domain.state import Change
from parallax.ports.codec import encode
from parallax.ports.journal import Recorded
from parallax.web.api.errors import ApiError
from parallax.web.api.paging import choice, flag, invalid, whole
from parallax.web.api.wire import Reply, Request
from parallax.web.streams import Streams

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a reader is told that the stream is alive, and how far it has come."""

MAX_BEHIND: Final = 1_000
"""Facts that a reader may be behind the newest, about 0.4 MB: a channel holds them once for all of its readers."""

MAX_RINGS: Final = 33_554_432
"""Bytes that all channels hold together: a fact may be a list of quotes of 14 KB. Beyond it readers may be less far
behind."""

MAX_PIECE: Final = 65_536
"""Bytes that are made at once for a reader who catches up, unless one fact is longer."""

CATCH_UP_PAGE: Final = 250
"""Facts that are read from the journal at once for a reader who catches up, at most."""

CATCH_UPS: Final = 2
"""Readers for whom the journal is read at the same time; the others take turns with them."""

MAX_BURST: Final = 20_000
"""Facts that may become durable in one moment: ten full commits of the journal."""

RECONNECT: Final = 2_000
"""Milliseconds that a reader should wait before it connects again."""

MAX_FRAMES: Final = 8_388_608
"""Bytes of facts that are kept in their written form: about as many as the feed remembers, where few are long lists
of quotes."""

MAX_OWNERS: Final = 1_000
"""Orders of which a reader who catches up remembers whose they are."""

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
        self._size = 0

    def of(self, record: Recorded) -> bytes:
        """The event of a record."""
        made = self._made.get(record.position)
        if made is None:
            made = self._made[record.position] = frame(record.position, record.fact)
            self._size += len(made)
            while self._size > MAX_FRAMES:
                self._size -= len(self._made.pop(next(iter(self._made))))
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

    def __init__(self, desk: Desk, streams: Streams) -> None:
        self._desk = desk
        self._streams = streams
        self._frames = Frames()
        self._rings = _Rings()
        self._channels: dict[Filter, _Channel] = {}
        self._catching_up = asyncio.Semaphore(CATCH_UPS)

    async def listen(self, request: Request) -> Reply:
        """A stream from a position on. Raises `ApiError`, `DeskStopping` or `JournalFailed`."""
        asked = request.parameters
        if self._desk.status.stopping:
            raise DeskStopping
        wanted = Filter(_user(asked.get("user", "")), _kinds(asked.get("kind", "")))
        follow = flag("follow", asked["follow"]) if "follow" in asked else True
        after = await self._position(asked.get("after"), request.text(b"last-event-id"))
        return _Stream(self, self._streams, request, wanted, after, follow=follow)

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
        """Send facts until the desk stops or, without `follow`, all is told."""
        try:
            await _write(send, b"retry: %d\nid: %d\n\n" % (RECONNECT, stream.position))
            last = await self._catch_up(stream, send)
            # From the end of the catching-up until the reader has its place in the channel there is no await: no fact
            # falls between what has been sent, what the feed remembers and what it tells from now on.
            # A feed that has been closed would never end a new subscription.
            if not stream.follow or self._desk.status.stopping:
                await _write(send, last)
                return
            channel = self._channel(stream.wanted)
            place = channel.enter(stream)
            try:
                if last:
                    await _write(send, last)
                await self._follow(send, channel, place)
            finally:
                channel.leave(stream)
        except FeedClosed:
            return
        except SubscriberTooSlow:
            await _write(send, b": cut off: too slow; resume with Last-Event-ID\n\n")

    async def _follow(self, send: Send, channel: _Channel, place: int) -> None:
        """Send what the channel holds and what comes. It runs for each fact and reader, hence in one coroutine."""
        while True:
            if place == channel.next:
                await channel.news()
                continue
            piece = channel.since(place)
            place = channel.next
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    def _channel(self, wanted: Filter) -> _Channel:
        channel = self._channels.get(wanted)
        if channel is None or channel.ended:
            channel = self._channels[wanted] = _Channel(
                self._desk.feed, wanted, self._frames, self._rings, self._close
            )
        return channel

    def _close(self, channel: _Channel) -> None:
        if self._channels.get(channel.wanted) is channel:
            del self._channels[channel.wanted]

    async def _catch_up(self, stream: _Stream, send: Send) -> bytes:
        """Send what the reader has missed, a piece at a time, so that one who takes nothing costs no more than that.
        Returns the last piece, after which nothing is missing, without a pause after it was made."""
        owners: dict[OrderId, UserId | None] = {}
        while True:
            remembered = self._desk.feed.since(stream.position)
            if remembered is None:
                async with self._catching_up:
                    piece = await self._from_journal(stream, owners)
                if piece is None:
                    return b""
            else:
                piece = self._from_memory(stream, remembered)
                if stream.position >= self._desk.feed.position:
                    return piece
            del remembered  # not kept while the reader takes its time
            await _write(send, piece or _progress(stream.position))

    def _from_memory(self, stream: _Stream, remembered: list[Recorded]) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for record in remembered:
            if stream.wanted.wants(record.change):
                pieces.append(self._frames.of(record))
                size += len(pieces[-1])
            stream.position = record.position
            if size >= MAX_PIECE:
                break
        return b"".join(pieces)

    async def _from_journal(self, stream: _Stream, owners: dict[OrderId, UserId | None]) -> bytes | None:
        """The next piece, or None at the journal's end."""
        page = await self._desk.facts(stream.position, stream.page)
        pieces: list[bytes] = []
        size = read = 0
        for stored in page:
            if await self._wanted(stream.wanted, stored.fact, owners):
                pieces.append(frame(stored.position, stored.fact))
                size += len(pieces[-1])
            read += 1
            stream.position = stored.position
            if size >= MAX_PIECE:
                break
        stream.page = min(2 * read, CATCH_UP_PAGE)
        return b"".join(pieces) if page else None

    async def _wanted(self, wanted: Filter, fact: Fact, owners: dict[OrderId, UserId | None]) -> bool:
        if wanted.kinds and type(fact).__name__ not in wanted.kinds:
            return False
        if wanted.user_id is None:
            return True
        owner = named_user(fact)
        if owner is None and isinstance(fact, OrderFact):
            if fact.order_id not in owners:
                if len(owners) >= MAX_OWNERS:
                    owners.clear()
                owners[fact.order_id] = await self._owner(fact.order_id)
            owner = owners[fact.order_id]
        return owner == wanted.user_id

    async def _owner(self, order_id: OrderId) -> UserId | None:
        try:
            return (await self._desk.order(order_id)).user_id
        except NotFound:
            return None


class _Rings:
    """How many bytes all channels hold."""

    size = 0


class _Channel:
    """What everyone with one filter hears: a ring of pieces, each numbered, that readers follow at their own pace."""

    def __init__(
        self,
        feed: Feed,
        wanted: Filter,
        frames: Frames,
        rings: _Rings,
        on_end: Callable[[_Channel], None],
    ) -> None:
        self.wanted = wanted
        self.ended = False
        self._frames = frames
        self._rings = rings
        self._on_end = on_end
        self._readers: set[_Stream] = set()
        self._ring: deque[tuple[int, bytes]] = deque()
        self._facts = 0
        self.next = 0
        self._more = asyncio.Event()
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
        self._rings.size += len(piece)
        while (self._facts > MAX_BEHIND or self._rings.size > MAX_RINGS) and len(self._ring) > 1:
            facts, oldest = self._ring.popleft()
            self._facts -= facts
            self._rings.size -= len(oldest)
        self._wake()

    def _wake(self) -> None:
        waiting, self._more = self._more, asyncio.Event()
        waiting.set()

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self._rings.size -= sum(len(piece) for _, piece in self._ring)
        self._subscription.__exit__(None, None, None)
        self._on_end(self)
        self._wake()


class _Stream:
    """One reader: what it wants and how far it has come. `page` is how many facts are read for it at once."""

    def __init__(
        self,
        events: Events,
        streams: Streams,
        request: Request,
        wanted: Filter,
        position: int,
        *,
        follow: bool,
    ) -> None:
        self._events = events
        self._streams = streams
        self._request = request
        self.wanted = wanted
        self.position = position
        self.follow = follow
        self.page = CATCH_UP_PAGE

    async def deliver(self, send: Send) -> None:
        """Send the stream until its end."""
        headers = [
            (b"content-type", CONTENT_TYPE),
            (b"x-accel-buffering", b"no"),  # or a proxy would hold facts back
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._streams.run(self._request.scope, self._request.receive, self._work(send))

    async def _work(self, send: Send) -> None:
        await self._events.run(self, send)
        await send({"type": "http.response.body", "body": b""})


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
