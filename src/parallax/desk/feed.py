"""The feed: tells every listener what has become true.

A subscription holds the newest record per entity, so that a slow reader gets the newest state and never a backlog;
one whose queue is full is cut off and resumes from its last position.

>>> feed = Feed(position=0)
>>> with feed.subscribe() as subscription:
...     feed.signal("venue")
...     subscription.take().signals
{'venue'}
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from parallax.domain.state import Change
from parallax.ports.journal import Recorded

MAX_WAITING: Final = 1_000
"""Records that may wait in one subscription: more than a page shows, and a few bytes each, as all share the record."""

MAX_REPLAY: Final = 5_000
"""Newest records kept for readers that resume; older ones are read from the journal."""


class SubscriberTooSlow(Exception):
    """The subscription's queue was full and it has been cut off; resume from the last position."""


class FeedClosed(Exception):
    """The desk is stopping; a reader resumes when it is back."""


@dataclass(slots=True)
class News:
    """What has happened since the last look: `records` in order of position, and `signals` (names of things
    without facts that look different now, such as "venue")."""

    records: list[Recorded] = field(default_factory=list[Recorded])
    signals: set[str] = field(default_factory=set[str])
    position: int = 0


class Subscription:
    """One listener's bounded queue."""

    def __init__(
        self,
        feed: Feed,
        wanted: Callable[[Change], bool],
        key: Callable[[Recorded], object],
        limit: int = MAX_WAITING,
    ) -> None:
        self._feed = feed
        self._wanted = wanted
        self._key = key
        self._limit = limit
        self._waiting: dict[object, Recorded] = {}
        self._signals: set[str] = set()
        self._ready = asyncio.Event()
        self._cut_off = False
        self._closed = False
        self._position = feed.position

    def offer(self, records: Sequence[Recorded]) -> None:
        for record in records:
            if self._wanted(record.change):
                key = self._key(record)
                self._waiting.pop(key, None)
                self._waiting[key] = record
        self._position = records[-1].position if records else self._position
        if len(self._waiting) > self._limit:
            self._cut_off = True
            self._waiting.clear()
        if self._waiting or self._cut_off:
            self._ready.set()

    def close(self) -> None:
        """End the subscription from the feed's side."""
        self._closed = True
        self._ready.set()

    def offer_signal(self, name: str) -> None:
        self._signals.add(name)
        self._ready.set()

    async def wait(self) -> None:
        """Return when there is something to `take`."""
        await self._ready.wait()

    def take(self) -> News:
        """What is waiting, which may be nothing. Raises `SubscriberTooSlow` or `FeedClosed`."""
        if self._closed:
            raise FeedClosed
        if self._cut_off:
            raise SubscriberTooSlow
        news = News(list(self._waiting.values()), self._signals, self._position)
        self._waiting = {}
        self._signals = set()
        self._ready.clear()
        return news

    async def next(self) -> News:
        """Wait for news and take it. Raises `SubscriberTooSlow` or `FeedClosed`."""
        await self._ready.wait()
        return self.take()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.drop(self)


def everything(_: Change) -> bool:
    """The filter of a listener who wants every fact."""
    return True


def newest_of_entity(record: Recorded) -> object:
    """Coalesce records of one entity: pages show what is, not what was. Lists of new quotes have none, and the newest
    stands for all: a page that shows quotes then fetches itself again."""
    change = record.change
    if change.order is not None:
        return change.order.id
    if change.quote is not None:
        return change.quote.id
    if change.user is not None:
        return change.user.id
    if change.incident is not None:
        return change.incident.id
    return type(change.fact)


def every_record(record: Recorded) -> object:
    """Coalesce nothing: an audit stream shows each fact."""
    return record.position


class Feed:
    """Tells records, in order, to whoever listens. `position` is the last one told."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self._recent: deque[Recorded] = deque(maxlen=MAX_REPLAY)
        # A dict and not a set: told in the order in which they came, the same in every run.
        self._subscriptions: dict[Subscription, None] = {}
        self._hooks: list[Callable[[Sequence[Recorded]], None]] = []

    @property
    def listeners(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def hook(self, call: Callable[[Sequence[Recorded]], None]) -> None:
        """Have `call` run at once with each batch; for the desk's own parts, which do not wait."""
        self._hooks.append(call)

    def subscribe(
        self,
        wanted: Callable[[Change], bool] = everything,
        key: Callable[[Recorded], object] = newest_of_entity,
        limit: int = MAX_WAITING,
    ) -> Subscription:
        """Listen from now on. Use as a context manager, or `drop` it."""
        subscription = Subscription(self, wanted, key, limit)
        self._subscriptions[subscription] = None
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Stop listening."""
        self._subscriptions.pop(subscription, None)

    def tell(self, records: Sequence[Recorded]) -> None:
        """Tell a batch of durable records to everyone."""
        if not records:
            return
        assert records[0].position > self.position, "the feed goes forward only"
        self.position = records[-1].position
        self._recent.extend(records)
        for call in self._hooks:
            call(records)
        for subscription in tuple(self._subscriptions):
            subscription.offer(records)

    def signal(self, name: str) -> None:
        """Tell that something without facts looks different now: "venue", "desk"."""
        for subscription in tuple(self._subscriptions):
            subscription.offer_signal(name)

    def close(self) -> None:
        """End every subscription: the desk is stopping, and open streams must not hold it up."""
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def since(self, position: int) -> list[Recorded] | None:
        """Records after a position, or None when they reach further back than memory does."""
        if position >= self.position:
            return []
        if not self._recent or self._recent[0].position > position + 1:
            return None
        newer = len(self._recent) - (position + 1 - self._recent[0].position)
        return list(self._recent)[-newer:]
