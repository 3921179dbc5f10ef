"""Answers to what goes wrong: a page with a way back, or a notice where htmx asked for fragments."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from parallax.domain.errors import DeskError, DeskStopping, JournalFailed, NotFound, VenueUnavailable
from parallax.web.problems import problem_of, retry_after
from parallax.web.site import Site, fragments, partial, wants_fragments


async def desk_error(request: Request, error: Exception) -> Response:
    """An error of the desk, with its status and its words."""
    assert isinstance(error, DeskError)
    site: Site = request.app.state.site
    problem = problem_of(error)
    wait = retry_after(error)
    headers = {"Retry-After": str(wait)} if wait is not None else {}
    if wants_fragments(request):
        answer = notice(site, problem.title, error.words, status=problem.status)
        answer.headers.update(headers)
        return answer
    fields = {
        "title": problem.title,
        "words": error.words,
        "status": int(problem.status),
        "not_found": error.kind if isinstance(error, NotFound) else "",
        "way_back": _way_back(request.url.path),
        "again": request.method == "GET"
        and isinstance(error, VenueUnavailable | DeskStopping | JournalFailed),
    }
    return site.page("trouble.html", fields, problem.status, headers)


async def http_error(request: Request, error: Exception) -> Response:
    """An error of the protocol: a method that is not allowed, a form that cannot be read."""
    assert isinstance(error, HTTPException)
    site: Site = request.app.state.site
    title = HTTPStatus(error.status_code).phrase
    if wants_fragments(request):
        return notice(site, title, str(error.detail), status=error.status_code)
    fields = {
        "title": title,
        "words": str(error.detail),
        "status": error.status_code,
        "not_found": "",
        "way_back": _way_back(request.url.path),
        "again": False,
    }
    return site.page("trouble.html", fields, error.status_code, error.headers)


def notice(site: Site, title: str, words: str, *, status: int) -> Response:
    """A notice in the corner of the page that asked, as the whole answer."""
    return fragments(notice_of(site, title, words), status=status)


def notice_of(site: Site, title: str, words: str, *, tone: str = "bad") -> str:
    """A notice in the corner, as a part of an answer."""
    html = site.fragment("notice.html", "notice", {"title": title, "words": words, "tone": tone})
    return partial("notices", html, "beforeend")


def _way_back(path: str) -> tuple[str, str]:
    """The nearest page that is sure to be of use: its address and its name."""
    parts = path.strip("/").split("/")
    match parts:
        case ["u", user, "exchange", _, *_]:
            return f"/u/{user}/exchange", "Back to the quotes"
        case ["u", user, "orders", _, *_]:
            return f"/u/{user}/orders", "Back to the orders"
        case _:
            return "/", "All users"
