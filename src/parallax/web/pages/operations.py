"""`/operations`: what is running, the call budget, incidents, the pause; on the sandbox also the drill."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from parallax.domain.errors import DeskError, NotFound
from parallax.domain.identity import IncidentId
from parallax.domain.plurals import count
from parallax.web import words
from parallax.web.drill import EXERCISES, exercise
from parallax.web.pages.exchange import Offset
from parallax.web.site import Site, TheSite, by_page, fragments, go, wants_fragments

PAGE_ROWS: Final = 20
"""Incidents on one page."""

router = APIRouter(include_in_schema=False)

Words = Annotated[str, Form(max_length=1_000)]


@router.get("/operations")
async def operations(site: TheSite, offset: Offset = 0, *, resolved: bool = False) -> Response:
    """How everything runs."""
    fields = await _fields(site, offset, resolved=resolved)
    return site.page("operations.html", {"at": fields["at"], "live": "page=operations", "fields": fields})


@router.get("/operations/panels")
async def panels(site: TheSite, offset: Offset = 0, *, resolved: bool = False) -> Response:
    """The parts of the page that change, for the page itself."""
    fields = await _fields(site, offset, resolved=resolved)
    return fragments(site.fragment("operations_panels.html", "panels", {"fields": fields}))


@router.get("/incidents")
async def incidents() -> Response:
    """Incidents are a part of operations."""
    return RedirectResponse("/operations#incidents")


@router.post("/operations/pause")
async def pause(request: Request, site: TheSite, reason: Words = "") -> Response:
    """Stop new orders."""
    await site.desk.pause(reason, by_page(request))
    return await _done(request, site)


@router.post("/operations/resume")
async def resume(request: Request, site: TheSite) -> Response:
    """Allow new orders again."""
    await site.desk.resume(by_page(request))
    return await _done(request, site)


@router.post("/operations/incidents/{incident_id}/resolve")
async def resolve(incident_id: str, request: Request, site: TheSite, note: Words = "") -> Response:
    """Close an incident with a note."""
    await site.desk.resolve_incident(IncidentId(incident_id), by_page(request), " ".join(note.split()))
    return await _done(request, site)


@router.post("/operations/drill")
async def drill(request: Request, site: TheSite, key: Words = "") -> Response:
    """Switch a rehearsal on."""
    if site.drill is None:
        raise NotFound("drill", key)
    chosen = exercise(key)
    await site.drill.inject(chosen.kind, chosen.fields)
    if chosen.kind == "clock_skew":
        # The exchange's clock is told with its answers: one is asked for, so that the header shows it at once.
        with suppress(DeskError):
            await site.desk.refresh("quotes")
    return await _done(request, site)


@router.post("/operations/drill/clear")
async def clear(request: Request, site: TheSite) -> Response:
    """Switch every rehearsal off."""
    if site.drill is None:
        raise NotFound("drill", "clear")
    await site.drill.clear()
    return await _done(request, site)


async def _done(request: Request, site: Site) -> Response:
    if wants_fragments(request):
        return await panels(site)
    return go(request, "/operations")


def _agreement(site: Site) -> str:
    """What no open incident means: only what has been compared agrees."""
    desk, status = site.desk, site.desk.status
    if not (read := desk.users_with_orders_read):
        return "No orders have been compared with the exchange yet."
    words = f"No contradictions in what was compared since the start: orders of {count(read, 'user')}"
    words += f" of {len(desk.books.users)}."
    if status.open_orders:
        words += f" Of {count(status.open_orders, 'open order')} the outcome is not known yet."
    return words


async def _fields(site: Site, offset: int = 0, *, resolved: bool = False) -> dict[str, Any]:
    desk = site.desk
    at = site.at()
    status = desk.status
    return {
        "at": at,
        "status": status,
        "health": words.HEALTH[status.venue.health],
        "duties": desk.duties,
        "now": desk.now(),
        "started_at": desk.started_at,
        "position": desk.position,
        "quotes_in_time": desk.books.live_count(desk.venue_now()),
        "quotes_held": len(desk.books.quotes),
        "orders_held": len(desk.books.orders),
        "orders_read": desk.any_orders_read,
        "viewers": desk.feed.listeners,
        "ages": {"Users": desk.users_age, "Quotes": desk.quotes_age},
        "budget": site.operations.budget() if site.operations else None,
        "incidents": desk.books.newest_incidents(PAGE_ROWS, offset, resolved=resolved),
        "incident_total": len(desk.books.incidents) if resolved else status.open_incidents,
        "offset": offset,
        "resolved": resolved,
        "page_rows": PAGE_ROWS,
        "agreement": _agreement(site),
        "incident_words": words.INCIDENTS,
        "faults": await site.drill.faults() if site.drill else None,
        "exercises": EXERCISES,
    }
