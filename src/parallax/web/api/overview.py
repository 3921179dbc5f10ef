"""How the desk and the exchange are doing, and the contradictions that a person must look at."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import dropwhile, islice
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from parallax.desk.desk import Desk
from parallax.domain.identity import IncidentId
from parallax.web.api import models
from parallax.web.api.idempotency import API
from parallax.web.api.models import Instant, instant
from parallax.web.api.paging import DEFAULT_LIMIT, MAX_LIMIT, flag, whole
from parallax.web.api.wire import Answer, Reply, Request, enveloped, read_object
from parallax.web.ports import OperationsView

MAX_INCIDENTS: Final = 10_000
"""Incidents of a list that is asked for without parameters, about 4 MB; `meta.next` says where it goes on."""


class Duty(msgspec.Struct, frozen=True):
    """One supervised background duty."""

    name: str
    purpose: str
    state: Literal["running", "waiting", "stopped"]
    since: Instant
    restarts: int
    last_error: str


class Venue(msgspec.Struct, frozen=True):
    """The exchange, as this desk experiences it."""

    name: str
    sandbox: bool
    health: Literal["unknown", "well", "slow", "limited", "refusing", "down"]
    since: Instant
    words: str
    retry_at: Annotated[Instant | None, Meta(description="When calls are tried again; null: now.")]
    clock_offset_ms: Annotated[
        int, Meta(description="What to add to the desk's clock to get the exchange's.")
    ]
    clock_uncertainty_ms: int


class Pause(msgspec.Struct, frozen=True):
    """New orders are stopped."""

    since: Instant
    by: str
    reason: str


class Calls(msgspec.Struct, frozen=True):
    """Calls to the exchange of one purpose, since the desk started."""

    purpose: str
    made: int
    saved: Annotated[int, Meta(description="How many a cache or a shared read made needless.")]
    failed: int
    p50_ms: int | None
    p99_ms: int | None


class Status(msgspec.Struct, frozen=True):
    """How things are, now."""

    position: Annotated[int, Meta(description="Of the newest fact in the journal.")]
    started_at: Instant | None
    venue: Venue
    paused: Pause | None
    stopping: bool
    journal_failed: Annotated[str | None, Meta(description="Why nothing can be recorded, if so.")]
    open_orders: int
    open_incidents: int
    users_read_at: Instant | None
    quotes_read_at: Instant | None
    duties: list[Duty]
    calls: list[Calls]


class Overview:
    """The calls that look at the desk itself."""

    def __init__(self, desk: Desk, operations: OperationsView | None = None) -> None:
        self._desk = desk
        self._operations = operations

    async def status(self, _: Request) -> Reply:
        """Everything that the head of a page shows."""
        desk = self._desk
        now = desk.status
        venue = Venue(
            now.venue_name,
            now.sandbox,
            str(now.venue.health),  # type: ignore[arg-type]  # the words of VenueHealth
            instant(now.venue.since),
            now.venue.words,
            _instant(now.venue.retry_at),
            _milliseconds(now.clock_offset),
            _milliseconds(now.clock_uncertainty),
        )
        status = Status(
            desk.position,
            _instant(desk.started_at),
            venue,
            now.pause and Pause(instant(now.pause.since), now.pause.by, now.pause.reason),
            now.stopping,
            now.journal_failed and now.journal_failed.words,
            now.open_orders,
            now.open_incidents,
            _instant(desk.users_age.read_at),
            _instant(desk.quotes_age.read_at),
            [
                Duty(
                    duty.name,
                    duty.purpose,
                    str(duty.state),  # type: ignore[arg-type]  # the three words of DutyState
                    instant(duty.since),
                    duty.restarts,
                    duty.last_error,
                )
                for duty in desk.duties
            ],
            self._calls(),
        )
        return Answer(200, enveloped(status))

    async def incidents(self, request: Request) -> Reply:
        """Open incidents, newest first, whole or in pages; resolved ones too, on request. A cursor is the last incident
        of a page: one that is resolved between two pages moves nothing."""
        asked, books = request.parameters, self._desk.books
        resolved = "resolved" in asked and flag("resolved", asked["resolved"])
        usual = DEFAULT_LIMIT if "cursor" in asked else MAX_INCIDENTS
        limit = whole("limit", asked["limit"], 1, MAX_LIMIT) if "limit" in asked else usual
        after = asked.get("cursor")
        behind = books.incidents.newest()
        if after is not None and books.incident(IncidentId(after)) is not None:
            behind = islice(dropwhile(lambda one: one.id != after, behind), 1, None)
        shown = [*islice((one for one in behind if resolved or one.resolved_at is None), limit + 1)]
        following = shown[limit - 1].id if len(shown) > limit else None
        total = len(books.incidents) if resolved else books.open_incident_count
        meta = {"next": following, "total": total, "read_at": None}
        return Answer(200, enveloped([models.incident(one) for one in shown[:limit]], meta=meta))

    async def resolve(self, request: Request) -> Reply:
        """Close an incident with a note."""
        given: models.Resolution = read_object(await request.body(), models.Resolution)
        note = " ".join(given.note.split())
        resolved = await self._desk.resolve_incident(IncidentId(request.target), API, note)
        return Answer(200, enveloped(models.incident(resolved)))

    def _calls(self) -> list[Calls]:
        if self._operations is None:
            return []
        return [
            Calls(each.purpose, each.made, each.saved, each.failed, each.p50, each.p99)
            for each in self._operations.budget().calls
        ]


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def _milliseconds(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))
