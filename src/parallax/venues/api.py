"""What the gateway needs of a venue's wire: six calls, each made once, each answered by a value or an error.

To support another exchange, write these six calls for it (`exchange_api.py` is the example); the budget, the
breaker, the clock, the meter and the mapping of outcomes in `gateway.py` stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from parallax.domain.entities import User
from parallax.domain.errors import DeskError
from parallax.domain.identity import UserId, VenueOrderId
from parallax.ports.venue import OrderRequest, Outcome, VenueOrder, VenueQuote

T = TypeVar("T")


class Heard(Struct, frozen=True):
    """An answer as it arrived: its HTTP status, the instants around it (seconds of the loop's clock) and the
    headers that concern everyone.

    `sent` is just before the request left, `answered` when the head of the answer was there, `done` when all
    of it was. `date` is the `Date` header unless a cache on the way made it old.
    """

    status: int
    sent: float
    answered: float
    done: float
    date: str | None = None
    retry_after: str | None = None

    @property
    def seconds(self) -> float:
        """How long the whole call took."""
        return self.done - self.sent


class Reply(Struct, Generic[T], frozen=True):
    """An answer and what it means: a value, or the error that its reader should see."""

    heard: Heard
    value: T | None = None
    error: DeskError | None = None

    def get(self) -> T:
        """The value. Raises the error, if that is what came."""
        if self.error is not None:
            raise self.error
        assert self.value is not None, "a reply without an error has a value"
        return self.value


class CallFailed(Exception):
    """There was no answer, or not all of one. `cause` is a stable word: `timeout`, `not_connected` (the
    connection was never made, so nothing was sent), `connection_lost` or `answer_too_large`. `detail` is a
    sentence without secrets; `seconds` is how long it took."""

    def __init__(self, cause: str, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.cause, self.detail, self.seconds = cause, detail, seconds


class VenueApi(Protocol):
    """The calls of a venue's wire. Each leaves at most once and is bounded in time and size. It raises
    `CallFailed`, or `NotFound` for an id that no venue can have and that is not asked about."""

    @property
    def name(self) -> str:
        """Which venue this is, for people."""
        ...

    async def users(self) -> Reply[Sequence[User]]: ...

    async def request_quote(self) -> Reply[VenueQuote]: ...

    async def quotes(self) -> Reply[Sequence[VenueQuote]]: ...

    async def orders(self, user_id: UserId) -> Reply[Sequence[VenueOrder]]: ...

    async def order(self, venue_order_id: VenueOrderId) -> Reply[VenueOrder]: ...

    async def connect(self) -> None:
        """Have a connection ready for an order. Raises `CallFailed`: there is none, and nothing was sent."""
        ...

    async def place_order(self, request: OrderRequest) -> Reply[Outcome]:
        """Send an order in this very step, over the connection that `connect` has just made ready, or not at all."""
        ...

    async def close(self) -> None: ...
