"""The journal as the desk sees it: append facts durably, in order; read them back.

One contract suite (`tests/journal/contract.py`) runs over every adapter.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from parallax.domain.entities import Incident, Order, Pause, Quote, User
from parallax.domain.errors import JournalFailed
from parallax.domain.facts import Fact
from parallax.domain.identity import IncidentId, OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState

GENESIS: Final = bytes(32)
"""The hash before the first fact."""

MAX_PAGE: Final = 1_000
"""The longest page that a reader may ask for: bounds memory and the time that the writer is kept waiting."""

LINGER: Final = 0.1
"""Seconds that facts which nobody waits for may wait for a commit to share: most exchanges answer sooner, and what is
shown of a request under way is late by no more than that."""

ANSWERS_KEPT_FOR: Final = timedelta(hours=24)
"""How long an answer is remembered under its idempotency key."""

MAX_ANSWERS: Final = 1_000_000
"""Answers remembered at most, about 1 GB at the usual 1 KB each; beyond it the oldest go first."""

MAX_ANSWER_KEY: Final = 255
"""The longest idempotency key, in characters."""

MAX_ANSWER_BYTES: Final = 65_536
"""The longest answer remembered; the desk's own are around 1 KB."""


class Recorded(Struct, frozen=True):
    """A fact that is durable: its position (from 1, without gaps), its hash, and what it changed.

    `hash` is SHA-256 of the hash before it and the SHA-256 of its record (see `parallax.ports.codec`).
    """

    position: int
    hash: bytes
    change: Change

    @property
    def fact(self) -> Fact:
        return self.change.fact


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact read back, with the digest of its record and the hash that it carries."""

    position: int
    fact: Fact
    digest: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class SnapshotBounds:
    """How much a snapshot holds beyond what is live, so that a desk starts in a second after years of work."""

    orders: int = 20_000
    """Settled and unsettled orders together, newest first; unsettled ones are in whatever their age."""
    quotes: int = 20_000
    """Quotes that are there whatever their age, newest first."""
    young_quotes: int = 100_000
    """Quotes of the last day, newest first. Those on unsettled orders, claimed ones among them, are always there."""
    incidents: int = 1_000
    """Resolved and open incidents together, newest first; open ones are in whatever their age."""


YOUNG: Final = timedelta(days=1)
"""How old a quote may be, at the time of the last fact, to count as young in a snapshot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is live at start: users, unsettled orders and recent ones, quotes that are young or claimed, open incidents.

    Users come in the order in which they became known, everything else oldest first. What is not here is history,
    read in pages when someone looks at it."""

    position: int = 0
    users: Sequence[User] = ()
    quotes: Sequence[Quote] = ()
    orders: Sequence[Order] = ()
    incidents: Sequence[Incident] = ()
    pause: Pause | None = None
    quotes_ever: int = 0
    """How many quotes have become known in all."""


class OrderSort(StrEnum):
    """The orders in which a list of orders can be read."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders a page shows. Empty means any.

    `text` matches the start of an order's id, of its id at the venue or of its quote's id, or the amount as a
    number ("100" finds "100.00"). Orders of one instant or amount keep the order in which they became known.
    """

    user_id: UserId | None = None
    states: frozenset[OrderState] = frozenset()
    text: str = ""
    sort: OrderSort = OrderSort.NEWEST


@dataclass(frozen=True, slots=True)
class OrderPage:
    """A part of a list of orders, how many there are in all, and where the next part begins (None: at the end)."""

    items: Sequence[Order]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class QuotePage:
    """A part of the list of quotes, newest first, how many there are in all, and where the next part begins."""

    items: Sequence[Quote]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class Settling:
    """How long an order placed here took: when the venue had it at the latest (its answer, or else when it was
    sent), the last look that still saw it pending, and when it was seen settled. The desk's clock."""

    began_at: datetime
    not_before: datetime | None
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """The first answer given under an idempotency key, and the fingerprint of what was asked."""

    key: str
    fingerprint: bytes
    answer: bytes
    at: datetime

    def __post_init__(self) -> None:
        if not 0 < len(self.key) <= MAX_ANSWER_KEY:
            raise ValueError(f"an idempotency key has 1 to {MAX_ANSWER_KEY} characters")
        if len(self.answer) > MAX_ANSWER_BYTES or len(self.fingerprint) > MAX_ANSWER_KEY:
            raise ValueError(f"an answer to remember has at most {MAX_ANSWER_BYTES} bytes")


class Journal(Protocol):
    """Facts, durable and in order. All calls are made from one event loop."""

    async def open(self, sink: Callable[[Sequence[Recorded]], None]) -> Snapshot:
        """Take the journal into use, alone, and say what is live.

        `sink` is called in the loop with each batch that has become durable, in order of position, before the
        futures of `append` resolve; and with nothing when the journal has failed while nobody waited for it. Raises
        `JournalFailed` when another process has it, or it cannot be read.
        """
        ...

    def append(self, changes: Sequence[Change]) -> Future[Sequence[Recorded]]:
        """Queue facts to be written together, all or none, after everything queued before them.

        The future resolves when they are durable, never within this call. It fails with `QuoteTaken` when another
        claim on a quote was there first (nothing of the batch is written); with `JournalFailed` and `failed` set,
        when it could not be written or does not follow from what is recorded: the journal takes no more, and
        whether the batch is on disk is known after the next start; or with `JournalFailed` and `failed` not set,
        when the batch has no written form or the journal is closed: nothing of it is written, others go on.
        Cancelling the future does not take the facts back.
        """
        ...

    def append_later(self, changes: Sequence[Change]) -> Future[Sequence[Recorded]]:
        """`append` for facts that nobody waits for: in their turn, but without a commit of their own while another is
        likely to come; after `LINGER` seconds at the most."""
        ...

    @property
    def failed(self) -> JournalFailed | None:
        """Why the journal takes no more, if so. It stays that way until the next start."""
        ...

    # Reading. Only what is durable is seen. Every read raises `JournalFailed` when what it reads is damaged or the
    # journal is not open, and takes at most `MAX_PAGE` as its limit.

    async def facts(self, after: int, limit: int) -> Sequence[StoredFact]:
        """Up to `limit` facts with positions above `after`."""
        ...

    async def order_facts(self, order_id: OrderId) -> Sequence[StoredFact]:
        """All facts that name one order, oldest first, incidents among them."""
        ...

    async def reads(
        self, user_id: UserId, since: datetime, until: datetime, limit: int
    ) -> Sequence[StoredFact]:
        """`OrdersRead` facts of a user that began in a span of the desk's time (both ends in it), oldest first."""
        ...

    async def order(self, order_id: OrderId) -> Order | None:
        """One order, by its id here or by the venue's."""
        ...

    async def orders_at_venue(self, ids: Sequence[VenueOrderId]) -> Sequence[Order]:
        """The orders that have one of these ids at the venue."""
        ...

    async def orders(self, query: OrderQuery, offset: int, limit: int) -> OrderPage:
        """A page of the orders that a query asks for."""
        ...

    async def quote(self, quote_id: QuoteId) -> Quote | None:
        """One quote."""
        ...

    async def known_quotes(self, ids: Sequence[QuoteId]) -> Sequence[QuoteId]:
        """Those of `ids` that have been recorded."""
        ...

    async def incidents(self, ids: Sequence[IncidentId]) -> Sequence[Incident]:
        """Those of `ids` that have been raised, resolved or not."""
        ...

    async def quotes(self, offset: int, limit: int) -> QuotePage:
        """A page of all quotes, by the venue's time of creation, newest first."""
        ...

    async def settle_times(self, limit: int) -> Sequence[Settling]:
        """How long the newest orders placed here took to settle (completed or failed), newest first."""
        ...

    # Idempotency keys: not facts, and gone after a day.

    async def remember(self, key: str, fingerprint: bytes, answer: bytes, at: datetime) -> None:
        """Keep an answer under its key; returns when it is durable. The first answer of a day stays.

        Shares its commit with the facts that wait. Raises `ValueError` beyond the bounds above, or `JournalFailed`.
        """
        ...

    async def recall(self, key: str, now: datetime) -> Remembered | None:
        """The answer given under a key in the 24 hours before `now`."""
        ...

    async def backup(self, path: Path) -> int:
        """Write a copy of everything durable to a new file, while work goes on, and verify it.

        Returns the position of the last fact in it. Raises `JournalFailed` when the file exists, cannot be
        written, or does not verify; a copy that does not verify is not left behind.
        """
        ...

    async def close(self) -> None:
        """Write what is queued, then let go."""
        ...
