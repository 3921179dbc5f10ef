"""What the exchange keeps: users, quotes, orders, and a note of every order request it ever received.

Instants are aware UTC. Two clocks matter: the *true* clock, which the exchange was given, and the exchange's
*own* clock, which may be off. What an answer shows (`created_at`) is the own clock; what the record shows is
the true one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from parallax.sandbox.refusals import Refusal

Status = Literal["pending", "completed", "failed"]

SHOWN_CHARACTERS: Final = 200
"""How much of a value received from outside the record shows: a hostile body must not swell it."""


@dataclass(frozen=True, slots=True)
class User:
    """A customer of the exchange."""

    id: str
    name: str
    email: str


USER_FIXTURES: Final = (
    User("160582fd-6943-465d-9c0e-3c137b82c345", "User One", "user1@example.com"),
    User("c431b13c-e021-40f2-8517-65d9fae463b8", "User Two", "user2@example.com"),
    User("98e3cf2b-ad84-466f-950d-aa878acaa185", "User Three", "user3@example.com"),
)
"""The three users the exchange is known to have."""


@dataclass(slots=True)
class Quote:
    """A firm rate, usable once."""

    id: str
    created_at: datetime
    """On the exchange's own clock: expiry counts from here."""
    recorded_at: datetime
    """On the true clock."""
    from_currency: str
    to_currency: str
    rate: str
    row: bytes
    """Its JSON as every answer shows it: what a quote shows never changes."""
    order_id: str | None = None
    """The (first) order that used it."""

    def as_json(self) -> dict[str, object]:
        """For the record."""
        return {
            "id": self.id,
            "created_at": _instant(self.created_at),
            "recorded_at": _instant(self.recorded_at),
            "from_currency": self.from_currency,
            "to_currency": self.to_currency,
            "rate": self.rate,
            "order_id": self.order_id,
        }


@dataclass(slots=True)
class Order:
    """An accepted order. Its whole life is known at acceptance: what it *is* follows from the clock."""

    id: str
    quote_id: str
    user_id: str
    from_amount: str
    accepted_at: datetime
    visible_at: datetime
    """From when the user's list shows it."""
    life: list[tuple[datetime, Status]]
    """Status by the instant it begins, ascending; the first is pending, the second the settlement."""
    elsewhere: bool = False
    """Placed through the control door, not by a request on the wire."""

    def status(self, now: datetime) -> Status:
        """The status at `now` (true clock)."""
        for begins, status in reversed(self.life):
            if begins <= now:
                return status
        return "pending"

    @property
    def settles_at(self) -> datetime:
        """When it settles, or did (true clock)."""
        return self.life[1][0]

    def row(self, status: Status) -> bytes:
        """Its JSON as an answer shows it. Every value in it was made or checked here: none needs escaping."""
        return (
            f'{{"id":"{self.id}","status":"{status}","quote_id":"{self.quote_id}",'
            f'"user_id":"{self.user_id}","from_amount":"{self.from_amount}"}}'
        ).encode()

    def as_json(self, now: datetime) -> dict[str, object]:
        """For the record."""
        return {
            "id": self.id,
            "status": self.status(now),
            "quote_id": self.quote_id,
            "user_id": self.user_id,
            "from_amount": self.from_amount,
            "accepted_at": _instant(self.accepted_at),
            "visible_at": _instant(self.visible_at),
            "life": [{"at": _instant(at), "status": status} for at, status in self.life],
            "elsewhere": self.elsewhere,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of carrying out an order request once."""

    at: datetime
    order_id: str | None
    refused: str | None
    """The reasons in words; None when it was accepted."""
    status: int

    def as_json(self) -> dict[str, object]:
        """For the record."""
        return {
            "at": _instant(self.at),
            "order_id": self.order_id,
            "refused": self.refused,
            "status": self.status,
        }


@dataclass(slots=True)
class OrderRequest:
    """One order request as it reached the exchange, noted before anything else happens to it.

    `outcomes` is empty while it was not carried out, and holds more than one entry when something on the way
    sent it twice. Fields hold what was received, of any type.
    """

    received_at: datetime
    quote_id: object = None
    user_id: object = None
    from_amount: object = None
    malformed: Refusal | None = None
    """Why the request could not be read at all."""
    number: int = 0
    """Its place in the record, from 0."""
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    def as_json(self) -> dict[str, object]:
        """For the record."""
        return {
            "received_at": _instant(self.received_at),
            "quote_id": _shown(self.quote_id),
            "user_id": _shown(self.user_id),
            "from_amount": _shown(self.from_amount),
            "outcomes": [outcome.as_json() for outcome in self.outcomes],
        }


def _instant(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _shown(value: object) -> str | None:
    return None if value is None else str(value)[:SHOWN_CHARACTERS]
