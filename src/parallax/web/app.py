"""The web application: pages, event streams and static files over a desk that runs already."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from parallax.desk.desk import Desk
from parallax.domain.errors import DeskError, NotFound
from parallax.http_server import Refusals
from parallax.web import live, trouble
from parallax.web.api import Api, create_api
from parallax.web.api.app import refuse as refuse_in_json
from parallax.web.api.errors import API_PROBLEMS
from parallax.web.metrics import metrics_router
from parallax.web.pages import exchange, operations, order, orders, ticket, users
from parallax.web.ports import Drill, OperationsView
from parallax.web.security import Security
from parallax.web.site import Site, TheSite
from parallax.web.streams import MAX_STREAMS, Streams

PAGES: Final = (users.router, exchange.router, ticket.router, orders.router, order.router, operations.router)
"""The pages' routers. The JSON API stands in `parallax.web.api`, beside them."""


class Application(FastAPI):
    """The pages' framework and beside it the API, which passes through none of it; `Security` stands before both."""

    api: Api
    security: Security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _head_only(send)
        await self.security(scope, receive, send)

    async def hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a call that was let in to whom it belongs."""
        if self.api.serves(scope):
            await self.api(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send, code: str, words: str) -> None:
        """Answer a call that is turned away, in the words of whom it was for."""
        if self.api.serves(scope):
            await refuse_in_json(scope, receive, send, code, words)
        else:
            await PlainTextResponse(words, API_PROBLEMS[code].status)(scope, receive, send)


def _head_only(send: Send) -> Send:
    """The answer to GET without its body, and over with its first piece, also where a stream would go on."""
    ended = False

    async def head(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
        elif not ended:
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return head


def create_app(
    desk: Desk,
    *,
    drill: Drill | None = None,
    operations: OperationsView | None = None,
    metrics: CollectorRegistry | None = None,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
    refusals: Refusals | None = None,
    max_streams: int = MAX_STREAMS,
) -> Application:
    """The application over `desk`, which whoever calls this starts and stops.

    `drill` is the sandbox's faults, where there is a sandbox; `operations` what the venue's adapter knows of its
    calls. With `metrics`, what is in that registry and the desk's own figures are at `/metrics`. `allowed_hosts`
    are names by which the desk may be asked for besides those of this machine, `allowed_origins` sites like
    "https://desk.example" whose pages may call the API. `refusals` counts what is turned away; `max_streams` may be
    open at one time.
    """
    app = Application(title="Parallax", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = Site(desk, drill, operations)
    refusals = refusals or Refusals()
    streams = Streams(max_streams, refusals)
    app.state.shared = live.Shared(streams)
    app.api = create_api(desk, site=app.state.site, streams=streams)
    app.security = Security(
        app.hand_on, refuse=app.refuse, hosts=allowed_hosts, origins=allowed_origins, refusals=refusals
    )
    app.add_exception_handler(DeskError, trouble.desk_error)
    app.add_exception_handler(HTTPException, trouble.http_error)
    for router in (*PAGES, live.router):
        app.include_router(router)
    if metrics is not None:
        app.include_router(metrics_router(desk, metrics))

    @app.get("/static/{version}/{path:path}", include_in_schema=False)
    async def static(version: str, path: str, request: Request, site: TheSite) -> Response:
        return site.assets.serve(version, path, request)

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon(request: Request, site: TheSite) -> Response:
        return site.assets.serve(site.assets.version, "mark.svg", request)

    @app.get("/healthz", include_in_schema=False)
    async def health(site: TheSite) -> Response:
        status = site.desk.status
        if status.stopping or status.journal_failed is not None:
            return PlainTextResponse("not taking orders\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return PlainTextResponse("ok\n")

    @app.get("/{rest:path}", include_in_schema=False)
    async def nowhere(rest: str, request: Request) -> Response:
        if rest.endswith("/"):
            # Quoted, and with one slash in front, so that no path leads to another host.
            there, query = f"/{quote(rest.strip('/'))}", request.url.query
            return RedirectResponse(f"{there}?{query}" if query else there, HTTPStatus.PERMANENT_REDIRECT)
        raise NotFound("page", f"/{rest}")

    return app
