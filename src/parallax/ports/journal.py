"""The journal as the desk sees it: append facts durably, in order; read them back.

One contract suite (`tests/journal/contract.py`) runs over every adapter.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from parallax.domain.entities import Incident, Order, Pause, Quote, User
from parallax.domain.errors import JournalFailed
from parallax.domain.facts import Fact
from parallax.domain.identity import OrderId, QuoteId, UserId, VenueOrderId
from parallax.domain.state import Change
from parallax.domain.transitions import OrderState

GENESIS: Final = bytes(32)
"""The hash before the first fact."""

MAX_PAGE: Final = 1_000
"""The longest page that a reader may ask for: bounds memory and the time that the writer is kept waiting."""


@dataclass(frozen=True, slots=True)
class Recorded:
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
class Snapshot:
    """What is live at start: users, unsettled orders and recent ones, quotes that are young or claimed, open incidents.

    Everything else is history, read in pages when someone looks at it."""

    position: int = 0
    users: Sequence[User] = ()
    quotes: Sequence[Quote] = ()
    orders: Sequence[Order] = ()
    incidents: Sequence[Incident] = ()
    pause: Pause | None = None


class OrderSort(StrEnum):
    """The orders in which a list of orders can be read."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders a page shows. Empty means any. `text` matches the start of an id, or an amount."""

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


class Journal(Protocol):
    """Facts, durable and in order. All calls are made from one event loop."""

    async def open(self, sink: Callable[[Sequence[Recorded]], None]) -> Snapshot:
        """Take the journal into use, alone, and say what is live.

        `sink` is called in the loop with each batch that has become durable, in order of position, before the
        futures of `append` resolve. Raises `JournalFailed` when another process has it, or it cannot be read.
        """
        ...

    def append(self, changes: Sequence[Change]) -> Future[Sequence[Recorded]]:
        """Queue facts to be written together, all or none, after everything queued before them.

        The future resolves when they are durable. It fails with `QuoteTaken` when another claim on a quote was
        there first (nothing of the batch is written), or with `JournalFailed`, after which the journal takes
        no more. Cancelling the future does not take the facts back.
        """
        ...

    @property
    def failed(self) -> JournalFailed | None:
        """Why the journal takes no more, if so."""
        ...

    async def facts(self, after: int, limit: int) -> Sequence[StoredFact]:
        """Up to `limit` facts with positions above `after`."""
        ...

    async def order_facts(self, order_id: OrderId) -> Sequence[StoredFact]:
        """All facts of one order, oldest first."""
        ...

    async def reads(
        self, user_id: UserId, since: datetime, until: datetime, limit: int
    ) -> Sequence[StoredFact]:
        """`OrdersRead` facts of a user that began in a span of the desk's time, oldest first, at most `limit`."""
        ...

    async def order(self, order_id: OrderId) -> Order | None:
        """One order, by its id here or by the venue's."""
        ...

    async def orders_at_venue(self, ids: Sequence[VenueOrderId]) -> Sequence[Order]:
        """The orders that have one of these ids at the venue."""
        ...

    async def orders(self, query: OrderQuery, offset: int, limit: int) -> OrderPage: ...

    async def quote(self, quote_id: QuoteId) -> Quote | None: ...

    async def known_quotes(self, ids: Sequence[QuoteId]) -> Sequence[QuoteId]:
        """Those of `ids` that have been recorded."""
        ...

    async def quotes(self, offset: int, limit: int) -> QuotePage: ...

    async def close(self) -> None:
        """Write what is queued, then let go."""
        ...
