"""The exchange's own dialect, for programs that were written for the exchange: exactly its calls, fields and words.

Such a program fills closed records, spreads our fields over its own, and knows three statuses. So an order shows the
five fields that the exchange gives it and one of its three words: `pending` while its fate is open, `failed` when it is
proven that nothing came of it. Behind it stands the same desk: answers from memory, one order at most for a quote.
Whoever wants to know more asks the API at `/api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from parallax.desk.desk import Desk
from parallax.domain import entities
from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    NotFound,
    QuoteExpired,
    QuoteTaken,
)
from parallax.domain.identity import OrderId, UserId, is_identifier
from parallax.domain.money import parse_amount
from parallax.domain.transitions import OrderState
from parallax.ports.journal import MAX_PAGE, OrderQuery
from parallax.web.api.errors import ApiError, told
from parallax.web.api.lists import MAX_WHOLE_LIST, SLICE
from parallax.web.api.models import NOT_AT_THE_EXCHANGE, User, user
from parallax.web.api.orders import Orders, read_order
from parallax.web.api.paging import Fetch, Row, Wanted, page
from parallax.web.api.quotes import Quotes
from parallax.web.api.wire import Answer, ClientGone, Headers, Request, encode, enveloped, rows

ROOT: Final = "/exchange/api"
"""The base URL of programs written for the exchange: it ends as the exchange's own does."""

BY: Final = "exchange dialect"
"""How facts name a program that came this way."""

MAX_LISTS_AT_ONCE: Final = 4
"""Whole lists made at one time; each holds all its rows, up to some 20 MB, until it has turned them round."""

STATUS: Final[dict[OrderState, str]] = {
    OrderState.CLAIMED: "pending",
    OrderState.SENT: "pending",
    OrderState.UNKNOWN: "pending",
    OrderState.PENDING: "pending",
    OrderState.COMPLETED: "completed",
    OrderState.FAILED: "failed",
    OrderState.REFUSED: "failed",
    OrderState.NOT_PLACED: "failed",
    OrderState.WITHDRAWN: "failed",
}
"""An order's state → the exchange's word. What is undecided is `pending`: the other two are final to a reader."""

_NEVER_SHOWN: Final = frozenset({OrderState.REFUSED, OrderState.WITHDRAWN})
"""Orders whose request was answered with a refusal: the exchange would not list them."""

Handler = Callable[[Request], Awaitable[Answer]]

log = structlog.get_logger()


class Quote(msgspec.Struct, frozen=True):
    """A quote as the exchange shows it."""

    id: str
    created_at: str
    rate: str
    from_currency: str
    to_currency: str


class Order(msgspec.Struct, frozen=True):
    """An order as the exchange shows it. `id` is the desk's, from the first answer to the last."""

    id: str
    status: str
    quote_id: str
    user_id: str
    from_amount: str


def quote_row(one: entities.Quote) -> Quote:
    """A quote in the exchange's five fields."""
    codes = one.rate.from_currency.code.lower(), one.rate.to_currency.code.lower()
    return Quote(one.id, one.created_at.replace(tzinfo=None).isoformat(), one.rate.wire, *codes)


def order_row(one: entities.Order) -> Order:
    """An order in the exchange's five fields."""
    return Order(one.id, STATUS[one.state], one.quote_id, one.user_id, one.amount.wire)


def serves(scope: Scope) -> bool:
    """Whether a call is for the dialect."""
    return scope["type"] == "http" and f"{scope['path']}/".startswith(f"{ROOT}/")


class Dialect:
    """The six calls of the exchange, over one desk."""

    def __init__(self, desk: Desk, orders: Orders, quotes: Quotes) -> None:
        self._desk = desk
        self._orders = orders
        self._quotes = quotes
        self._lists = asyncio.Semaphore(MAX_LISTS_AT_ONCE)
        self._calls: dict[tuple[str, ...], dict[str, Handler]] = {
            ("users",): {"GET": self._users},
            ("quotes",): {"GET": self._list_quotes, "POST": self._new_quote},
            ("orders",): {"POST": self._place},
            ("orders", "*"): {"GET": self._order},
            ("users", "*", "orders"): {"GET": self._orders_of},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request.of(scope, receive, ROOT)
        try:
            answer = await self._routed(request)
        except (DeskError, ApiError) as error:
            answer = refused(error)
        except ClientGone:
            return
        except Exception:
            log.exception(
                "a call in the exchange's dialect failed", method=request.method, path=request.path[:200]
            )
            answer = refused(
                ApiError("internal", "The desk made a mistake. Look at the orders before you repeat.")
            )
        await answer.deliver(send)

    async def _routed(self, request: Request) -> Answer:
        # Base URLs are set with and without a slash at their end, and paths are joined to them.
        parts = [part for part in request.path.split("/") if part]
        if len(parts) > 1:
            request.target, parts[1] = parts[1], "*"
        methods = self._calls.get(tuple(parts))
        if methods is None:
            raise ApiError("no_such_call", "There is no such call; the desk's own API is at /api/docs.")
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise ApiError(
                "method_not_allowed", f"This call takes {allowed}.", headers=((b"allow", allowed.encode()),)
            )
        return await handler(request)

    async def _users(self, _: Request) -> Answer:
        (await self._desk.know_users()).check()
        return Answer(200, enveloped(self._everybody()))

    def _everybody(self) -> list[User]:
        return [user(one) for one in self._desk.users_as_listed()]

    async def _new_quote(self, request: Request) -> Answer:
        # Whatever the body says: the exchange's clients send none, `{}`, and more.
        await request.body()
        return Answer(201, enveloped(quote_row(await self._desk.request_quote(BY))))

    async def _list_quotes(self, _: Request) -> Answer:
        (await self._desk.know_quotes()).check()
        return await self._oldest_first(self._quotes.fetch, lambda quote: encode(quote_row(quote)))

    async def _place(self, request: Request) -> Answer:
        quote_id, user_id, text, _ = read_order(await request.body())
        try:
            quote = await self._desk.quote(quote_id)
            await self._desk.user(user_id)
        except NotFound as error:
            raise ApiError("request_invalid", error.words, {f"{error.kind}_id": [error.words]}) from None
        amount = parse_amount(text, quote.rate.from_currency)
        if amount.wire != text:
            # An order shows its amount as it was sent to the exchange, and clients compare.
            raise AmountInvalid("not_a_number", f"Write the amount without leading zeros: {amount.wire}")
        order = await self._desk.execute(quote_id, user_id, amount, BY)
        if order.state in NOT_AT_THE_EXCHANGE:
            raise self._orders.turned_down(order)
        return Answer(201, enveloped(order_row(order)))

    async def _order(self, request: Request) -> Answer:
        if not is_identifier(request.target):
            raise NotFound("order", request.target)
        return Answer(200, enveloped(order_row(await self._desk.order(OrderId(request.target)))))

    async def _orders_of(self, request: Request) -> Answer:
        if not is_identifier(request.target):
            raise NotFound("user", request.target)
        user_id = (await self._desk.user(UserId(request.target))).id
        (await self._desk.know_orders(user_id)).check()
        query = OrderQuery(user_id)

        async def fetch(offset: int, limit: int) -> Sequence[entities.Order]:
            return (await self._desk.orders(query, offset, limit)).items

        def fits(order: entities.Order) -> bool:
            return order.state not in _NEVER_SHOWN

        return await self._oldest_first(fetch, lambda order: encode(order_row(order)), fits)

    async def _oldest_first(
        self, fetch: Fetch[Row], encoded: Callable[[Row], bytes], fits: Callable[[Row], bool] | None = None
    ) -> Answer:
        """The newest rows, as many as a list holds, in the order in which they came to be: clients reverse it."""
        found: list[bytes] = []
        async with self._lists:
            cursor = None
            while len(found) < MAX_WHOLE_LIST:
                part = await page(fetch, Wanted(MAX_PAGE, cursor), fits)
                for begin in range(0, len(part.rows), SLICE):
                    found += map(encoded, part.rows[begin : begin + SLICE])
                    await asyncio.sleep(0)
                cursor = part.next
                if cursor is None:
                    break
            found.reverse()
            return Answer(200, rows(found))


def refused(error: DeskError | ApiError) -> Answer:
    """The answer to an error, with the reasons in both places where clients of the exchange look for them."""
    problem, errors, wait, _ = told(error)
    reasons = errors or {"detail": [error.words]}
    headers: Headers = error.headers if isinstance(error, ApiError) else ()
    if wait is not None:
        headers = (*headers, (b"retry-after", b"%d" % wait))
    status = 422 if _is_about_the_order(error) else int(problem.status)
    return Answer(status, encode({"errors": reasons, "data": {"errors": reasons}}), headers)


def _is_about_the_order(error: DeskError | ApiError) -> bool:
    """Whether the exchange would answer 422, the one refusal of an order that its clients know."""
    return isinstance(error, QuoteTaken | QuoteExpired) or (
        isinstance(error, ApiError) and error.code == "order_not_placed"
    )
