"""`/`: all users, with their open orders; and the list from which a page's user is switched."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from parallax.domain.entities import User
from parallax.web import views
from parallax.web.site import TheSite

MAX_ROWS: Final = 200
"""Users shown at once; a search finds the others."""

MAX_CHOICES: Final = 30
"""Users offered in the switcher; a search finds the others."""

MAX_SEARCH: Final = 100
"""Characters of a search that are looked at."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def users(site: TheSite, q: str = "") -> Response:
    """All users that match a search."""
    at = site.at()
    everyone = site.desk.users()
    found = _search(everyone, q)
    fields = {
        "at": at,
        "live": "page=users",
        "rows": "".join(views.user_row(site, user) for user in found[:MAX_ROWS]),
        "known": len(everyone),
        "found": len(found),
        "shown": min(len(found), MAX_ROWS),
        "q": q[:MAX_SEARCH],
        "age": site.desk.users_age,
    }
    return site.page("users.html", fields)


@router.get("/switch")
async def switch(site: TheSite, q: str = "", page: str = "exchange") -> HTMLResponse:
    """The users offered in the switcher, each linked to the same kind of page."""
    found = _search(site.desk.users(), q)
    fields = {
        "users": found[:MAX_CHOICES],
        "more": max(0, len(found) - MAX_CHOICES),
        "age": site.desk.users_age,
        "page": "orders" if page == "orders" else "exchange",
    }
    return HTMLResponse(site.fragment("users_rows.html", "choices", fields))


def _search(users: list[User], text: str) -> list[User]:
    """The users whose name, address or id contains each word of `text`."""
    wanted = text[:MAX_SEARCH].casefold().split()
    return [
        user
        for user in users
        if all(word in f"{user.name} {user.email} {user.id}".casefold() for word in wanted)
    ]
