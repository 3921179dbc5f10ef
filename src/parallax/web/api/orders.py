"""Orders: placed once, read from memory or the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, assert_never

import msgspec

from parallax.desk.desk import Desk
from parallax.domain.entities import Order
from parallax.domain.errors import NotFound, NotReadYet, QuoteExpired
from parallax.domain.identity import OrderId, QuoteId, UserId, is_identifier
from parallax.domain.money import parse_amount
from parallax.domain.transitions import OrderState
from parallax.ports.journal import OrderQuery
from parallax.web.api import models
from parallax.web.api.errors import ApiError
from parallax.web.api.idempotency import API, Once, again, check, order_key
from parallax.web.api.lists import PARAMETERS, whole_list
from parallax.web.api.paging import Wanted, choice, invalid, page
from parallax.web.api.wire import Answer, Reply, Request, encode, enveloped, gathered, read_object, rows

LOOK_AGAIN: Final = 2
"""Seconds after which it is worth looking at an order whose fate is open."""

TURNED_AWAY: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Refusals that are about the desk and not about the order: its key, its rate."""

ALL: Final = "all"

BY_KEY: Final = "idempotency_key"
"""The parameter that asks for the order that was placed under a key."""

WHOLE: Final = "detail"
"""What stands where a field is named when the whole request is meant."""

_STATES: Final[dict[str, frozenset[OrderState]]] = {
    word: frozenset(state for state, shown in models.SHOWN.items() if shown == word)
    for word in models.SHOWN.values()
}
_USUAL: Final = frozenset(OrderState) - models.NOT_AT_THE_EXCHANGE


class Orders:
    """The calls about orders."""

    def __init__(self, desk: Desk, once: Once) -> None:
        self._desk = desk
        self._once = once

    async def place(self, request: Request) -> Reply:
        """Turn a quote into an order, and say what the exchange said."""
        body = await request.body()
        return await self._once(request, body, partial(self._place, body))

    async def one(self, request: Request) -> Reply:
        """One order, by its id here or at the exchange."""
        if not is_identifier(request.target):
            raise NotFound("order", request.target)
        order = await self._desk.order(OrderId(request.target))
        return Answer(200, enveloped(self._shown(order)))

    async def of_user(self, request: Request) -> Reply:
        """A user's orders, whole or in pages."""
        if not is_identifier(request.target):
            raise NotFound("user", request.target)
        user = await self._desk.user(UserId(request.target))
        (await self._desk.know_orders(user.id)).check()
        return await self._listed(request, user.id)

    async def listed(self, request: Request) -> Reply:
        """Everybody's orders, in pages; or the one that was placed under a key."""
        if (key := request.parameters.get(BY_KEY)) is not None:
            check(key)
            order = await self._desk.order_by_key(order_key(key))
            return Answer(200, enveloped([] if order is None else [self._shown(order)]))
        wanted = request.parameters.get("user")
        if wanted is None:
            return await self._listed(request, None)
        if not is_identifier(wanted):
            raise invalid("user", "This is no user's id.")
        user = await self._desk.user(UserId(wanted))
        (await self._desk.know_orders(user.id)).check()
        return await self._listed(request, user.id)

    def _shown(self, order: Order) -> models.Order:
        return models.order(order, self._desk.books.contradicted(order))

    async def _listed(self, request: Request, user_id: UserId | None) -> Reply:
        asked = request.parameters
        states = _states(asked["status"]) if "status" in asked else _USUAL
        # Not by the journal's own filter: an order that changes its state would leave the list, and shift what
        # follows, between two pages.
        query = OrderQuery(user_id)

        def fits(order: Order) -> bool:
            return order.state in states

        if PARAMETERS.isdisjoint(asked) and user_id is not None and request.target:
            return await gathered(self._whole(query, fits))
        total = 0

        async def fetch(offset: int, limit: int) -> Sequence[Order]:
            nonlocal total
            found = await self._desk.orders(query, offset, limit)
            total = found.total
            return found.items

        part = await page(fetch, Wanted.read(asked), fits)
        if total == 0 and user_id is None and not self._desk.any_orders_read:
            raise NotReadYet("No user's list of orders has been read from the exchange yet.")
        read_at = self._desk.orders_age(user_id).known_at if user_id else None
        meta = models.meta(part.next, total, read_at)
        return Answer(200, rows([encode(self._shown(order)) for order in part.rows], meta))

    async def _whole(self, query: OrderQuery, fits: Callable[[Order], bool]) -> AsyncIterator[bytes]:
        async def fetch(offset: int, limit: int) -> Sequence[Order]:
            return (await self._desk.orders(query, offset, limit)).items

        async for piece in whole_list(fetch, lambda order: encode(self._shown(order)), fits):
            yield piece

    # Placing

    async def _place(self, body: bytes, key: str) -> Answer:
        desk, (quote_id, user_id, text, unless_duplicate) = self._desk, read_order(body)
        quote = await desk.quote(quote_id)
        await desk.user(user_id)
        amount = parse_amount(text, quote.rate.from_currency)
        # Rule 2 holds whoever asks. Who asks again under the key of an order is told of their own.
        known = await desk.order_by_key(key) if key else None
        others = [other.id for other in desk.possible_duplicates(user_id, amount)]
        order = await desk.execute(quote_id, user_id, amount, API, key=key, unless_duplicate=unless_duplicate)
        answer = self._answer(order, next((other for other in others if other != order.id), None))
        return again(answer) if known is not None and known.id == order.id else answer

    def _answer(self, order: Order, duplicate_of: OrderId | None) -> Answer:
        """What whoever placed an order is told."""
        placed = models.placed(order, self._desk.books.contradicted(order), duplicate_of)
        here = f"/api/orders/{order.id}".encode()
        match order.state:
            case OrderState.PENDING | OrderState.COMPLETED | OrderState.FAILED:
                return Answer(201, enveloped(placed), ((b"location", here),))
            case OrderState.UNKNOWN | OrderState.CLAIMED | OrderState.SENT:
                # Rule 3: neither placed nor failed. The order is there to be looked at; it must not be sent again.
                links = {
                    "order": f"/api/orders/{order.id}",
                    "orders": f"/api/users/{order.user_id}/orders",
                    "events": f"/api/events?user={order.user_id}",
                }
                headers = ((b"location", here), (b"retry-after", b"%d" % LOOK_AGAIN))
                return Answer(202, enveloped(placed, links=links), headers)
            case OrderState.REFUSED | OrderState.NOT_PLACED | OrderState.WITHDRAWN:
                raise self.turned_down(order)
            case _ as never:
                assert_never(never)

    def turned_down(self, order: Order) -> ApiError | QuoteExpired:
        """What whoever placed an order that never came to be is told."""
        match order.state:
            case OrderState.REFUSED:
                return _refusal(order)
            case OrderState.WITHDRAWN:
                return self._withdrawal(order)
            case _:
                words = "The order never reached the exchange: that has been proven. Ask for a new quote."
                return ApiError("order_not_placed", words, beside=_naming(order))

    def _withdrawal(self, order: Order) -> ApiError | QuoteExpired:
        quote = self._desk.books.quote(order.quote_id)
        if quote is not None and self._desk.venue_now() >= self._desk.safe_until(quote):
            return QuoteExpired()
        why = order.reasons[0] if order.reasons else "The desk held it back."
        words = why if "nothing was sent" in why else f"Nothing was sent. {why}"
        return ApiError("order_withdrawn", words, beside=_naming(order))


def _states(text: str) -> frozenset[OrderState]:
    words = choice("status", text, frozenset({*_STATES, ALL}))
    if ALL in words:
        return frozenset(OrderState)
    return frozenset[OrderState]().union(*(_STATES[word] for word in words))


def _refusal(order: Order) -> ApiError:
    reasons = list(order.reasons) or ["The exchange gave no reason."]
    beside = {**_naming(order), "reasons": reasons, "venue_status": order.refusal}
    errors = _reasons_by_field(reasons)
    said = [reason.removeprefix(f"{WHOLE}: ") for reason in reasons]
    if order.refusal in TURNED_AWAY:
        words = f"The exchange turned the desk away ({order.refusal}); nothing was exchanged. {said[0]}"
        return ApiError("desk_turned_away", words, errors, beside=beside)
    words = f"The exchange refused the order and nothing was exchanged. {'; '.join(said)}"
    return ApiError("order_refused", words, errors, beside=beside)


def _reasons_by_field(reasons: list[str]) -> dict[str, list[str]]:
    """The exchange's reasons under the field that each names ("from_amount: must be …"), as it would put them."""
    found: dict[str, list[str]] = {}
    for reason in reasons:
        name, _, words = reason.partition(": ")
        known = words and name in ("quote_id", "user_id", "from_amount", WHOLE)
        found.setdefault(name if known else WHOLE, []).append(words if known else reason)
    return found


def _naming(order: Order) -> dict[str, object]:
    return {"order_id": order.id, "quote_id": order.quote_id}


def read_order(body: bytes) -> tuple[QuoteId, UserId, str, bool]:
    """The fields of an order, and whether it must not be a possible duplicate. Raises `ApiError` naming each that is
    wrong."""
    given: models.NewOrder = read_object(body, models.NewOrder)
    errors: dict[str, list[str]] = {}
    quote_id = _identifier("quote_id", given.quote_id, errors)
    user_id = _identifier("user_id", given.user_id, errors)
    amount = _amount(given.from_amount, errors)
    unless_unknown = given.unless_unknown
    if not isinstance(unless_unknown, bool):
        errors["unless_unknown"] = ["This is true or false."]
    if errors:
        words = "; ".join(f"{field}: {problem}" for field, (problem,) in errors.items())
        raise ApiError("request_invalid", words, errors)
    return QuoteId(quote_id), UserId(user_id), amount, unless_unknown is True


def _identifier(field: str, raw: msgspec.Raw, errors: dict[str, list[str]]) -> str:
    text = _string(raw)
    if not bytes(raw):
        errors[field] = ["This is missing."]
    elif text is None or not is_identifier(text):
        errors[field] = ["This is no id: 1 to 64 letters, digits and . _ : -"]
    return text or ""


def _amount(raw: msgspec.Raw, errors: dict[str, list[str]]) -> str:
    """The amount as it is written, as a string or a number: no float ever sees it."""
    written = bytes(raw)
    if not written:
        errors["from_amount"] = ["This is missing."]
        return ""
    if written[:1].isdigit() or written[:1] == b"-":
        return written.decode()
    text = _string(raw)
    if text is None:
        errors["from_amount"] = ['Use a decimal string like "100.50".']
    return text or ""


def _string(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError:
        return None
