"""What every page is made with: the desk, the templates, the static files, and the frame around the content."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request
from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from parallax.desk.desk import Desk, DeskStatus
from parallax.domain.entities import User
from parallax.domain.errors import NotFound
from parallax.domain.identity import UserId, is_identifier
from parallax.domain.plurals import count
from parallax.ports.venue import VenueHealth
from parallax.web import format as shown
from parallax.web import words
from parallax.web.assets import MODULES, assets
from parallax.web.ports import Drill, OperationsView

CLOCK_MATTERS: Final = timedelta(seconds=2)
"""A difference between the venue's clock and this machine's that people should know of."""

_TAB: Final = re.compile(r"[a-z0-9]{4,12}")


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around every page and changes by itself: chips in the header and banners below it. `html` is both
    as fragments, with what an open ticket has to say of a pause; `digest` tells one state from another."""

    chips: str
    banners: str
    html: str
    digest: str


class Site:
    """The pages' common ground. One per app."""

    def __init__(
        self, desk: Desk, drill: Drill | None = None, operations: OperationsView | None = None
    ) -> None:
        self.desk = desk
        self.drill = drill
        self.operations = operations
        self.assets = assets()
        self.templates = _environment()
        self._frame: tuple[tuple[object, ...], Frame] | None = None

    @property
    def boot(self) -> str:
        """Names this run of the desk: positions of another run may mean something else to an open page."""
        started = self.desk.started_at
        return format(shown.milliseconds(started), "x") if started else "0"

    def at(self) -> str:
        """The run and the position that a page is rendered from. Take it before reading what is shown."""
        return f"{self.boot}.{self.desk.position}"

    def frame(self) -> Frame:
        """The frame as it is now; the same object as long as nothing in it has changed."""
        status = self.desk.status
        venue = status.venue
        offset = status.clock_offset if abs(status.clock_offset) >= CLOCK_MATTERS else None
        matters = (
            venue,
            status.pause,
            status.journal_failed is None,
            status.open_incidents,
            status.stopping,
            offset and offset // timedelta(milliseconds=100),
        )
        if self._frame is None or self._frame[0] != matters:
            self._frame = (matters, self._render_frame(status, offset))
        return self._frame[1]

    def off(self) -> dict[str, str]:
        """Why what needs `orders` or the `journal` is off now, by need; empty words: it is not."""
        status = self.desk.status
        journal = "The journal cannot be written." if status.journal_failed else ""
        paused = f"New orders are paused: {status.pause.reason}" if status.pause else ""
        return {"journal": journal, "orders": journal or paused}

    def _render_frame(self, status: DeskStatus, offset: timedelta | None) -> Frame:
        chips = self.fragment(
            "frame.html",
            "chips",
            {
                "status": status,
                "health": words.HEALTH[status.venue.health],
                "offset": shown.signed_seconds(offset) if offset else "",
            },
        )
        banners = self.fragment(
            "frame.html",
            "banners",
            {
                "status": status,
                "down": status.venue.health is VenueHealth.DOWN,
                "users_age": self.desk.users_age,
            },
        )
        digest = f"{zlib.crc32((chips + banners).encode()):08x}"
        banners = self.fragment("frame.html", "digest", {"digest": digest, "off": self.off()}) + banners
        paused = self.fragment("ticket.html", "paused", {"pause": status.pause})
        html = "".join(
            partial(target, part, "innerMorph")
            for target, part in (("frame-chips", chips), ("frame-banners", banners), ("ticket-pause", paused))
        )
        return Frame(chips, banners, html, digest)

    def fragment(self, template: str, macro: str, fields: Mapping[str, object]) -> str:
        """One macro of a template, rendered. Runs of white space with line breaks become one blank."""
        module = cast("Any", self.templates.get_template(template).module)
        return one_line(str(getattr(module, macro)(**fields)))

    def page(
        self,
        template: str,
        fields: Mapping[str, object],
        status: int = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """A whole page."""
        context = {
            "desk_status": self.desk.status,
            "frame": self.frame(),
            "off": self.off(),
            "build": self.assets.version,
            "venue_now": shown.milliseconds(self.desk.latest_venue_now()),
            "modules": MODULES,
            "user": None,
            "live": "page=frame",
            "at": self.at(),
            **fields,
        }
        return HTMLResponse(self.templates.get_template(template).render(context), status, headers)

    async def user(self, user_id: str) -> User:
        """The user of an address. Raises `NotFound` or `VenueUnavailable`."""
        if not is_identifier(user_id):
            raise NotFound("user", user_id)
        return await self.desk.user(UserId(user_id))


async def _site(request: Request) -> Site:
    return cast("Site", request.app.state.site)


TheSite = Annotated[Site, Depends(_site)]
"""A page's way to ask for the site."""


def by_page(request: Request) -> str:
    """Who asks: the tab that sent the request, as its own script names it."""
    tab = request.headers.get("x-tab", "")
    return f"page {tab}" if _TAB.fullmatch(tab) else "page"


def wants_fragments(request: Request) -> bool:
    """Whether htmx asks (and will put fragments in place), or a browser without scripts (which needs a page)."""
    return request.headers.get("hx-request") == "true"


def go(request: Request, address: str) -> Response:
    """Send the browser to another page after something was done."""
    if wants_fragments(request):
        return Response(status_code=HTTPStatus.OK, headers={"HX-Redirect": address})
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def fragments(*parts: str, status: int = HTTPStatus.OK) -> HTMLResponse:
    """An answer of fragments for htmx."""
    return HTMLResponse("".join(parts), status)


def partial(target: str, html: str, swap: str = "innerHTML") -> str:
    """One fragment with where it goes; `target` is an element's id."""
    return f'<hx-partial id="{target}" hx-swap="{swap}">{html}</hx-partial>'


def one_line(html: str) -> str:
    """HTML on one line, as the event stream needs it."""
    return _BREAKS.sub(" ", html).strip()


_BREAKS: Final = re.compile(r"\s*[\r\n]\s*")


@cache
def _environment() -> Environment:
    """The templates, compiled once a process."""
    root = files("parallax.web") / "templates"

    def load(name: str) -> str | None:
        entry = root / name
        return entry.read_text("utf-8") if entry.is_file() else None

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )
    cast("dict[str, Any]", environment.globals).update(
        static=assets().url, who=words.who, used_quote=words.used_quote, offset_words=shown.signed_seconds
    )
    cast("dict[str, Any]", environment.filters).update(
        amount=shown.amount,
        digits=shown.digits,
        exact=shown.exact,
        code=shown.code,
        iso=shown.iso,
        ms=shown.milliseconds,
        utc_time=shown.utc_time,
        utc_instant=shown.utc_instant,
        countdown=shown.countdown,
        span=shown.span,
        count=count,
        short=shown.short,
    )
    return environment
