"""A venue as the desk sees it: its calls, and what can come of sending an order.

Reads raise `parallax.domain.errors.VenueUnavailable` (or a kind of it) when they cannot be answered. Sending an
order never raises once the request may have left: its outcome is a value, and each must be handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Protocol, TypeVar

from msgspec import Struct

from parallax.domain.entities import User
from parallax.domain.identity import QuoteId, UserId, VenueOrderId
from parallax.domain.money import Rate

T = TypeVar("T")


class Purpose(IntEnum):
    """What a call is for; smaller goes first when calls compete."""

    RESOLVE = 0
    SEND = 1
    QUOTE = 2
    FOLLOW = 3
    REFRESH = 4


class VenueOrderStatus(StrEnum):
    """The venue's three words for an order."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class VenueQuote(Struct, frozen=True, gc=False):
    """A quote as the venue gives it. `created_at` is by the venue's clock, aware UTC."""

    id: QuoteId
    rate: Rate
    created_at: datetime


class VenueOrder(Struct, frozen=True, gc=False):
    """An order as the venue gives it. `amount` is the plain decimal string; it carries no currency there."""

    id: VenueOrderId
    quote_id: QuoteId
    user_id: UserId
    amount: str
    status: VenueOrderStatus


class OrderRequest(Struct, frozen=True):
    """What is sent to place an order. `amount` is a plain decimal string."""

    quote_id: QuoteId
    user_id: UserId
    amount: str

    @property
    def body(self) -> str:
        """The exact bytes of the request, as JSON text; ids and digits need no escaping."""
        return f'{{"quote_id":"{self.quote_id}","user_id":"{self.user_id}","from_amount":"{self.amount}"}}'


class Accepted(Struct, frozen=True):
    """The venue said yes."""

    order: VenueOrder


class Refused(Struct, frozen=True):
    """The venue explicitly said no: a 4xx that means that this request was not carried out.

    `leaves_quote_usable` is True only where a twin of our request (sent again by a proxy) would have been
    refused in the same way: the key, the rate limit, the amount. Any other no must be checked against the
    user's orders before it is believed.
    """

    status: int
    reasons: tuple[str, ...]
    leaves_quote_usable: bool
    about_amount: bool = False


class Unknown(Struct, frozen=True):
    """Anything that is not an explicit yes or no. `cause` is a stable word (`timeout`, `connection_lost`,
    `status_503`, `unreadable_answer`), `detail` a sentence without secrets."""

    cause: str
    detail: str


Outcome = Accepted | Refused | Unknown


class Listing(list[T]):
    """Rows of a list that may not be all there is. `doubt` says why, as a part of a sentence: absence from such a list
    proves nothing."""

    def __init__(self, rows: Iterable[T], doubt: str) -> None:
        super().__init__(rows)
        self.doubt = doubt


def doubt_of(rows: Sequence[object]) -> str:
    """Why a list may not be all there is; empty when nothing says so."""
    return rows.doubt if isinstance(rows, Listing) else ""


class VenueHealth(StrEnum):
    """How the exchange is doing, as this desk experiences it."""

    UNKNOWN = "unknown"  # it has not answered since the desk started
    WELL = "well"
    SLOW = "slow"
    LIMITED = "limited"
    REFUSING = "refusing"  # it answers, and does not accept this desk's key
    DOWN = "down"


class VenueStatus(Struct, frozen=True):
    """Health since when (desk's clock), in words, and when calls are tried again (None: now)."""

    health: VenueHealth
    since: datetime
    words: str = ""
    retry_at: datetime | None = None


class VenueTime(Struct, frozen=True):
    """The venue's time at a moment, as best known, and half the width of what it may be."""

    now: datetime
    uncertainty: timedelta


class VenueClock(Protocol):
    """The venue's time, estimated from its answers (rule 8)."""

    def read(self) -> VenueTime:
        """Both of the below, of one moment."""
        ...

    def now(self) -> datetime:
        """The venue's time now, as best known."""
        ...

    @property
    def offset(self) -> timedelta:
        """What to add to the desk's clock to get the venue's."""
        ...

    @property
    def uncertainty(self) -> timedelta:
        """Half the width of what the offset may be."""
        ...


class Venue(Protocol):
    """The calls of a venue. Each is counted by its purpose and bounded in time."""

    @property
    def name(self) -> str:
        """Which venue this is: "sandbox" or the host it is reached at."""
        ...

    @property
    def clock(self) -> VenueClock: ...

    @property
    def status(self) -> VenueStatus: ...

    def on_status(self, callback: Callable[[VenueStatus], None]) -> Callable[[], None]:
        """Call `callback` with each new status; it must not raise. Gives back what ends that."""
        ...

    def avoided(self, reason: str, calls: int = 1) -> None:
        """Count calls that were not needed: answered from a `cache`, or one list read for many (`one_list`)."""
        ...

    @property
    def send_margin(self) -> timedelta:
        """How long before its end a quote is too late to be safe: the clock's uncertainty and the time that
        sending has been seen to take."""
        ...

    def arrival(self, time: VenueTime | None = None) -> datetime:
        """The venue's time by which a request that leaves now has surely come, or one that leaves at `time`: the send
        margin later."""
        ...

    async def users(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[User]: ...

    async def request_quote(self) -> VenueQuote: ...

    async def quotes(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[VenueQuote]: ...

    async def orders(self, user_id: UserId, purpose: Purpose) -> Sequence[VenueOrder]:
        """A user's orders as the venue lists them; a `Listing` when it may not be all there is."""
        ...

    async def order(self, venue_order_id: VenueOrderId, purpose: Purpose) -> VenueOrder:
        """One order. Raises `NotFound` when the venue says that there is none."""
        ...

    async def place_order(
        self,
        request: OrderRequest,
        *,
        before: datetime,
        last_check: Callable[[], None],
    ) -> Outcome:
        """Send the one request for a quote, which must come before an instant of the venue's clock.

        Waits for room in the call budget for as long as that allows, raising `VenueUnavailable` if there is none:
        nothing was sent. Immediately before the request leaves it calls `last_check`, whose exception
        passes through: nothing was sent. From then on it returns an outcome and raises nothing but
        cancellation. It never sends twice.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
