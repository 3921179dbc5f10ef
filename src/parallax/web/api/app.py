"""The JSON API as one small ASGI application: route → handler → answer, with every error a problem.

It stands beside the pages' framework and not inside: an answer from memory costs a tenth of a millisecond, and the
framework's way would cost several. What each call takes and gives is in `operations.py`, from which the routes and
the OpenAPI document are made alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from parallax.desk.desk import Desk
from parallax.domain.errors import DeskError
from parallax.web.api import dialect, openapi
from parallax.web.api.dialect import Dialect
from parallax.web.api.docs import Documentation
from parallax.web.api.errors import ApiError, problem_body, told
from parallax.web.api.events import Events
from parallax.web.api.idempotency import Once
from parallax.web.api.operations import OPERATIONS
from parallax.web.api.orders import Orders
from parallax.web.api.overview import Overview
from parallax.web.api.quotes import Quotes
from parallax.web.api.wire import CLOSING, PROBLEM, Answer, ClientGone, Headers, Reply, Request, encode
from parallax.web.site import Site
from parallax.web.streams import Streams

ROOT: Final = "/api"
"""Where the API lives."""

Handler = Callable[[Request], Awaitable[Reply]]

log = structlog.get_logger()


class Api:
    """The API of one desk. Make it with `create_api`."""

    def __init__(
        self,
        desk: Desk,
        site: Site | None,
        streams: Streams,
    ) -> None:
        once = Once(desk, refused)
        quotes, orders = Quotes(desk, once), Orders(desk, once)
        overview = Overview(desk, site.operations if site else None)
        events = Events(desk, streams)
        documentation = Documentation(desk, site)
        handlers: dict[str, Handler] = {
            "listUsers": quotes.users,
            "listUserOrders": orders.of_user,
            "createQuote": quotes.create,
            "listQuotes": quotes.listed,
            "getQuote": quotes.one,
            "createOrder": orders.place,
            "listOrders": orders.listed,
            "getOrder": orders.one,
            "listenToEvents": events.listen,
            "getStatus": overview.status,
            "listIncidents": overview.incidents,
            "resolveIncident": overview.resolve,
            "getDescription": openapi.serve,
            "readDocumentation": documentation.serve,
        }
        self._dialect = Dialect(desk, orders, quotes)
        self._routes = _Routes(
            [
                *((one.method, one.path, handlers[one.name]) for one in OPERATIONS),
                ("GET", "/docs.css", documentation.serve_style),
            ]
        )

    def serves(self, scope: Scope) -> bool:
        """Whether a call is the API's: it stands in front of whatever serves the rest."""
        if scope["type"] != "http":
            return False
        path: str = scope["path"]
        return path.startswith(_BELOW) or path == ROOT or dialect.serves(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call. What goes wrong once an answer has begun ends its connection; everything else is answered."""
        if dialect.serves(scope):
            await self._dialect(scope, receive, send)
            return
        request = Request.of(scope, receive, ROOT)
        try:
            reply = await self._routed(request)
        except (DeskError, ApiError) as error:
            reply = refused(error)
        except ClientGone:
            return
        except Exception:
            log.exception("a call of the API failed", method=request.method, path=request.path[:200])
            reply = refused(
                ApiError("internal", "The desk made a mistake; it is in the log. Look before you repeat.")
            )
        await reply.deliver(send)

    async def _routed(self, request: Request) -> Reply:
        handlers, request.target = self._routes.find(request.path)
        handler = handlers.get(request.method)
        if handler is not None:
            return await handler(request)
        allowed = ", ".join(sorted(handlers))
        raise ApiError(
            "method_not_allowed",
            f"This call takes {allowed}.",
            headers=((b"allow", allowed.encode()),),
        )


_BELOW: Final = ROOT + "/"


class _Routes:
    """Finds the handlers of a path. Paths have at most one id, as their second part."""

    def __init__(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        self._plain: dict[str, dict[str, Handler]] = {}
        self._with_id: dict[tuple[str, str], dict[str, Handler]] = {}
        for method, path, handler in routes:
            head, brace, rest = path.partition("{")
            if brace:
                tail = rest.partition("}")[2]
                self._with_id.setdefault((head, tail), {})[method] = handler
            else:
                self._plain.setdefault(path, {})[method] = handler

    def find(self, path: str) -> tuple[dict[str, Handler], str]:
        """The handlers by method, and the id in the path. Raises `ApiError`."""
        if (plain := self._plain.get(path)) is not None:
            return plain, ""
        end = path.find("/", 1) + 1
        target, slash, tail = path[end:].partition("/")
        found = self._with_id.get((path[:end], slash + tail))
        if found is None or not target:
            raise ApiError("no_such_call", "There is no such call; see /api/docs.")
        return found, target


def create_api(
    desk: Desk,
    *,
    site: Site | None = None,
    streams: Streams | None = None,
) -> Api:
    """The JSON API and event stream of a desk, to be served at `/api`; on a socket, behind `Security`.

    `site` gives the documentation the look of the pages; `streams` are shared with theirs.
    """
    return Api(desk, site, Streams() if streams is None else streams)


async def refuse(scope: Scope, _receive: Receive, send: Send, code: str, words: str) -> None:
    """Answer a call that is turned away before the API sees it, for `Security`."""
    error = ApiError(code, words, headers=CLOSING if code == "body_too_large" else ())
    answer = dialect.refused(error) if dialect.serves(scope) else refused(error)
    await answer.deliver(send)


def refused(error: DeskError | ApiError) -> Answer:
    """The answer to an error: a problem, with `Retry-After` when trying again can help."""
    problem, errors, wait, beside = told(error)
    headers: Headers = error.headers if isinstance(error, ApiError) else ()
    if wait is not None:
        headers = (*headers, (b"retry-after", b"%d" % wait))
    body = problem_body(problem, error.code, error.words, ROOT, errors, wait, beside)
    lasts = wait is None and problem.status < 500
    return Answer(int(problem.status), encode(body), headers, PROBLEM, lasts)
