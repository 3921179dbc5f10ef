"""What can go wrong between a program and a desk, besides the desk's own errors (`parallax.domain.errors`).

Every error is a `DeskError`: `str(error)` says what to do, `error.retry` whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from parallax.client.values import Order
from parallax.domain.errors import DeskError
from parallax.domain.identity import OrderId, QuoteId
from parallax.domain.transitions import OrderState

RESOLVE_SECONDS = 900.0
"""How long an order without an answer is looked after unless told otherwise: its quote's five minutes, the grace of the
exchange, three spaced reads, and as much again."""


class DeskUnavailable(DeskError):
    """The desk cannot be reached, or what answers is no desk. No order was placed by this call."""

    code = "desk_unavailable"
    retry = True


class RequestInvalid(DeskError):
    """The desk turned the request down as it stands. `reason` is the stable code of its problem (see `/api/docs`)."""

    code = "request_invalid"

    def __init__(self, words: str, reason: str) -> None:
        super().__init__(words)
        self.reason = reason


class OrderNotPlaced(DeskError):
    """Certain: nothing was exchanged. `state` says how that is known: `refused` by the exchange (`reasons` are its
    words), `withdrawn` by the desk before anything was sent, or `not_placed`: proven absent at the exchange.

    After `withdrawn`, and after a refusal that was only about the amount, the quote can be used again in its time.
    `retry`: it was not about the order (the exchange limits calls, the desk held back), so the same may succeed later.
    """

    code = "order_not_placed"

    def __init__(
        self,
        words: str,
        state: OrderState,
        quote_id: QuoteId,
        order_id: OrderId | None = None,
        reasons: Sequence[str] = (),
        *,
        retry: bool = False,
    ) -> None:
        super().__init__(words)
        self.retry = retry  # pyright: ignore[reportAttributeAccessIssue]  # a constant elsewhere; here it depends
        self.state, self.quote_id, self.order_id = state, quote_id, order_id
        self.reasons = tuple(reasons)


class OrderUnknown(DeskError):
    """The order was sent and there is no answer: it may have been carried out, or not. Do not place it again.

    The desk finds out by itself. To learn what came of it, `await error.resolve()` (or, with the blocking client,
    `error.wait()`), or look at the order `order_id` later. `order` is how it stood; both are None when the
    connection to the desk was lost before it named the order, and then `resolve` finds it by its quote.
    """

    code = "order_unknown"

    def __init__(
        self,
        quote_id: QuoteId,
        order: Order | None,
        *,
        resolve: Callable[[float], Coroutine[Any, Any, Order]] | None = None,
        wait: Callable[[float], Order] | None = None,
    ) -> None:
        what = f"order {order.id}" if order else f"the order on quote {quote_id}"
        super().__init__(
            f"There is no answer about {what}: it may have been carried out. Do not place it again; the desk looks"
            f" for it. Ask error.{'wait' if wait else 'resolve'}(), or look at it later."
        )
        self.quote_id = quote_id
        self.order = order
        self.order_id: OrderId | None = order.id if order else None
        self._resolve, self._wait = resolve, wait

    def resolve(self, timeout: float = RESOLVE_SECONDS) -> Coroutine[Any, Any, Order]:
        """Wait until it is known what came of the order, and return it: pending or settled at the exchange.

        Raises `OrderNotPlaced` when it is proven that nothing was exchanged, `QuoteTaken` when it was another order
        that used the quote, and this error again when `timeout` seconds are over.
        """
        if self._resolve is None:
            raise TypeError("this error comes from the blocking client: call wait() instead of resolve()")
        return self._resolve(timeout)

    def wait(self, timeout: float = RESOLVE_SECONDS) -> Order:
        """The same for the blocking client."""
        if self._wait is None:
            raise TypeError("this error comes from an async desk: await resolve() instead of wait()")
        return self._wait(timeout)
