"""The exchange itself: what it holds and what it does, without I/O.

Time is a callable, randomness a seed, rates a callable. Nothing runs in the background: an order's settlement
is drawn when it is accepted, and what it is follows from the clock. The same seed and the same calls give the
same answers.

    exchange = Exchange(clock=virtual.now, seed=7, rates=lambda f, t: Decimal("54.42"))
    quote = exchange.create_quote()
    order = exchange.place_order(exchange.note_request(quote.id, exchange.settings.users[0].id, "10.00"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, cast

from parallax.sandbox.listing import ShuffledRows, UserOrders
from parallax.sandbox.model import Order, OrderRequest, Outcome, Quote, Status, User
from parallax.sandbox.plan import FaultPlan
from parallax.sandbox.rates import RateBoard, RateSource, ecb_rates
from parallax.sandbox.refusals import Refusal
from parallax.sandbox.settings import MAX_SEEDED_QUOTES, InvalidSetting, SandboxSettings
from parallax.sandbox.stats import Stats

MAX_WHOLE_DIGITS: Final = 15
"""Most digits of an amount before the point."""

_MINOR_UNITS: Final = {"isk": 0, "jpy": 0, "krw": 0, "bhd": 3, "kwd": 3, "omr": 3, "tnd": 3}
"""Decimals of currencies that have not two."""

_AMOUNT: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")

# Numbers are kept as the text that was sent: money never passes through a float, and 10.50 stays 10.50.
_DECODER: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Exchange:
    """A whole exchange in memory. Everything it holds may be read; change it through its verbs only."""

    def __init__(
        self,
        clock: Callable[[], datetime] = utc_now,
        seed: int = 0,
        settings: SandboxSettings | None = None,
        rates: RateSource = ecb_rates,
        *,
        start: int = 1,
    ) -> None:
        """`start` counts the starts of an exchange that remembers earlier ones: each makes identifiers of its own."""
        self.settings = settings or SandboxSettings()
        self.seed = seed
        self.now = clock
        """The true clock: aware UTC."""
        self.faults = FaultPlan(seed, clock)
        self.stats = Stats()
        self.users: dict[str, User] = {user.id: user for user in self.settings.users}
        self.quotes: dict[str, Quote] = {}
        self.orders: dict[str, Order] = {}
        self.requests: list[OrderRequest] = []
        # A stream for each purpose: one more read of a list does not change how the next order settles.
        stream = f"{seed}" if start == 1 else f"{seed}.{start}"
        self._ids = Random(f"{stream}:ids")
        self._settling = Random(f"{stream}:settling")
        walk = Random(f"{stream}:rates")
        self._pair_choice = walk
        self._board = RateBoard(rates, walk)
        self._quote_rows = ShuffledRows(Random(f"{stream}:lists"))
        self._user_orders: dict[str, UserOrders] = {user_id: UserOrders() for user_id in self.users}
        if self.settings.quotes:
            self.seed_quotes(self.settings.quotes, self.settings.quote_valid_seconds)

    def venue_now(self, skew_seconds: float = 0.0) -> datetime:
        """The exchange's own clock: the true one plus its skew, plus `skew_seconds` more."""
        skew = self.settings.skew_seconds + skew_seconds
        return self.now() + timedelta(seconds=skew) if skew else self.now()

    def warm(self) -> None:
        """Load the base rates now instead of at the first quote. Raises for a pair without a rate."""
        for pair in self.settings.pairs:
            self._board.walk(pair)

    def configure(self, changes: Mapping[str, object]) -> None:
        """Change settings while running; orders accepted before keep their fate. Raises `InvalidSetting`."""
        changed = self.settings.changed(changes)
        for pair in changed.pairs:
            try:
                self._board.walk(pair)
            except ValueError as error:
                raise InvalidSetting("pairs", f"have no rate: {error}") from error
        self.settings = changed

    # Quotes

    def create_quote(self, *, skew_seconds: float = 0.0, age_seconds: float = 0.0) -> Quote:
        """A new quote, as of `age_seconds` ago."""
        now = self.now() - timedelta(seconds=age_seconds)
        created = now + timedelta(seconds=self.settings.skew_seconds + skew_seconds)
        pairs = self.settings.pairs
        pair = pairs[0] if len(pairs) == 1 else self._pair_choice.choice(pairs)
        rate = self._board.rate(pair)
        quote_id = self._new_id()
        shown = created.replace(tzinfo=None)
        text = shown.isoformat(timespec="microseconds" if self.settings.created_fraction else "seconds")
        row = (
            f'{{"id":"{quote_id}","created_at":"{text}","rate":"{rate}",'
            f'"from_currency":"{pair[0]}","to_currency":"{pair[1]}"}}'
        ).encode()
        quote = self.quotes[quote_id] = Quote(quote_id, created, now, pair[0], pair[1], rate, row)
        self._quote_rows.add(row)
        return quote

    def seed_quotes(self, count: int, oldest_seconds: float = 0.0) -> None:
        """Make `count` quotes at once, created evenly over the last `oldest_seconds`."""
        if not 0 <= count <= MAX_SEEDED_QUOTES:
            raise InvalidSetting("count", f"must be from 0 to {MAX_SEEDED_QUOTES}")
        for index in range(count):
            self.create_quote(age_seconds=oldest_seconds * (count - index) / count)

    def quote_rows(self) -> list[bytes]:
        """All quotes as JSON rows, in an order that means nothing and differs from read to read."""
        return self._quote_rows.read()

    # Orders

    def note_request(
        self, quote_id: object = None, user_id: object = None, from_amount: object = None
    ) -> OrderRequest:
        """Note an order request as received, before anything is decided about it."""
        return self._noted(OrderRequest(self.now(), quote_id, user_id, from_amount))

    def note_body(self, body: bytes) -> OrderRequest:
        """Note the order request that `body` holds; what cannot be read is noted with its refusal."""
        request = OrderRequest(self.now())
        try:
            document = _DECODER.decode(body.decode())
        except (ValueError, RecursionError):
            request.malformed = Refusal(400, {"body": ["is not valid JSON"]})
            return self._noted(request)
        if not isinstance(document, dict):
            request.malformed = Refusal(422, {"body": ["is not an object"]})
            return self._noted(request)
        fields = cast("dict[str, Any]", document)
        request.quote_id = fields.get("quote_id")
        request.user_id = fields.get("user_id")
        request.from_amount = fields.get("from_amount")
        return self._noted(request)

    def place_order(self, request: OrderRequest, *, skew_seconds: float = 0.0) -> Order:
        """Carry out a noted request: accept it, or raise `Refusal`; either way the note says so."""
        now = self.now()
        try:
            if request.malformed is not None:
                raise request.malformed
            quote, user, amount = self._checked(
                request.quote_id, request.user_id, request.from_amount, skew_seconds=skew_seconds, force=False
            )
        except Refusal as refusal:
            self.note_refusal(request, refusal)
            raise
        order = self._accept(quote, user, amount, now)
        request.outcomes.append(Outcome(now, order.id, None, self.settings.created_status))
        return order

    def note_refusal(self, request: OrderRequest, refusal: Refusal) -> None:
        """Note that `request` was refused."""
        request.outcomes.append(Outcome(self.now(), None, str(refusal), refusal.status))

    def place_elsewhere(
        self, user_id: object, from_amount: object, quote_id: object = None, *, force: bool = False
    ) -> Order:
        """Place an order without a call on the wire, as another client of the exchange would.

        A new quote is made when none is named. `force` places it on a used or expired quote too: a
        contradiction for drills. Raises `Refusal` otherwise.
        """
        if quote_id is None:
            quote_id = self.create_quote().id
        quote, user, amount = self._checked(quote_id, user_id, from_amount, skew_seconds=0.0, force=force)
        order = self._accept(quote, user, amount, self.now())
        order.elsewhere = True
        return order

    def order(self, order_id: str) -> Order:
        """One order. Raises `Refusal` (404)."""
        order = self.orders.get(order_id)
        if order is None:
            raise Refusal(404, {"id": ["not found"]})
        return order

    def order_rows(self, user_id: str) -> list[bytes]:
        """A user's visible orders as JSON rows; one that settles changes its place. Raises `Refusal`
        (404)."""
        orders = self._user_orders.get(user_id)
        if orders is None:
            raise Refusal(404, {"id": ["not found"]})
        return orders.read(self.now())

    def settle_all(self) -> int:
        """Settle every pending order now, as was drawn for it; returns how many."""
        now, count = self.now(), 0
        for order in self.orders.values():
            at, outcome = order.life[1]
            if at > now:
                order.life[1] = (now, outcome)
                self._user_orders[order.user_id].schedule(order, now)
                count += 1
        return count

    def change_mind(self, order: Order, after_seconds: float = 0.0, status: Status | None = None) -> None:
        """Let `order`, `after_seconds` after it settled (or from now), say `status`; None: the opposite."""
        opposite: Status = "failed" if order.life[-1][1] == "completed" else "completed"
        at = max(order.settles_at, self.now()) + timedelta(seconds=after_seconds)
        order.life.append((at, status or opposite))
        order.life[2:] = sorted(order.life[2:], key=lambda step: step[0])
        self._user_orders[order.user_id].schedule(order, at)

    def list_later(self, order: Order, seconds: float) -> None:
        """Keep `order` out of its user's list for `seconds` from now."""
        order.visible_at = self.now() + timedelta(seconds=seconds)
        self._user_orders[order.user_id].hide(order)

    def record(self) -> dict[str, object]:
        """Everything that ever happened, oldest first, as JSON values: the truth a client is checked
        against."""
        now = self.now()
        return {
            "seed": self.seed,
            "requests": [request.as_json() for request in self.requests],
            "orders": [order.as_json(now) for order in self.orders.values()],
            "quotes": [quote.as_json() for quote in self.quotes.values()],
        }

    # The inside

    def _noted(self, request: OrderRequest) -> OrderRequest:
        request.number = len(self.requests)
        self.requests.append(request)
        return request

    def _new_id(self) -> str:
        bits = self._ids.getrandbits(128)
        # Version 4, variant 10: a proper random UUID, from the seed.
        text = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | (0x4 << 76) | (0x2 << 62):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _checked(
        self, quote_id: object, user_id: object, from_amount: object, *, skew_seconds: float, force: bool
    ) -> tuple[Quote, User, str]:
        """The quote, user and amount of an order; raises `Refusal` naming all that is wrong with them."""
        errors: dict[str, list[str]] = {}
        quote = self.quotes.get(quote_id) if isinstance(quote_id, str) else None
        user = self.users.get(user_id) if isinstance(user_id, str) else None
        if quote is None:
            errors["quote_id"] = ["is missing" if quote_id is None else "does not exist"]
        elif not force:
            valid = timedelta(seconds=self.settings.quote_valid_seconds)
            if quote.order_id is not None:
                errors["quote_id"] = ["has already been executed"]
            elif self.venue_now(skew_seconds) >= quote.created_at + valid:
                errors["quote_id"] = ["has expired"]
        if user is None:
            errors["user_id"] = ["is missing" if user_id is None else "does not exist"]
        wrong = amount_fault(from_amount, quote.from_currency if quote else "")
        if wrong is not None:
            errors["from_amount"] = [wrong]
        if errors or quote is None or user is None:
            raise Refusal(422, errors)
        return quote, user, cast("str", from_amount)

    def _accept(self, quote: Quote, user: User, amount: str, now: datetime) -> Order:
        low, high = self.settings.settle_seconds
        settles = now + timedelta(seconds=low + (high - low) * self._settling.random())
        outcome: Status = "failed" if self._settling.random() < self.settings.fail_share else "completed"
        order = Order(
            id=self._new_id(),
            quote_id=quote.id,
            user_id=user.id,
            from_amount=amount,
            accepted_at=now,
            visible_at=now,
            life=[(now, "pending"), (settles, outcome)],
        )
        self.orders[order.id] = order
        quote.order_id = quote.order_id or order.id
        listed = self._user_orders[user.id]
        listed.schedule(order, now)
        listed.schedule(order, settles)
        return order


def amount_fault(amount: object, currency: str) -> str | None:
    """What is wrong with `amount` (as received, a text) in `currency`; None when nothing is."""
    if amount is None:
        return "is missing"
    match = _AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    if match is None:
        return "is not a number"
    sign, whole, part = match.groups(default="")
    decimals = _MINOR_UNITS.get(currency, 2)
    if sign or not (whole + part).strip("0"):
        return "must be greater than 0"
    if len(whole) > MAX_WHOLE_DIGITS:
        return f"has more than {MAX_WHOLE_DIGITS} digits before the point"
    if len(part) > decimals:
        return f"has more than {decimals} decimals"
    return None
