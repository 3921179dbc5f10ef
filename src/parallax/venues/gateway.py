"""The one door to the venue: every call passes the breaker and the budget here, is counted, and teaches the clock.

`Gateway` implements `parallax.ports.venue.Venue` over the plain calls of a `VenueApi`. Reads under way are shared;
only reads are ever tried again, and only where a person waits for them. An order leaves once, directly after its
last check, and whatever comes back has a meaning.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from random import Random
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry

from parallax.domain.entities import User
from parallax.domain.errors import DeskError, NotFound, VenueBusy, VenueMisbehaved, VenueUnavailable
from parallax.domain.identity import UserId, VenueOrderId
from parallax.ports.clock import Clock
from parallax.ports.venue import (
    Accepted,
    OrderRequest,
    Outcome,
    Purpose,
    Refused,
    Unknown,
    VenueOrder,
    VenueQuote,
    VenueStatus,
    VenueTime,
)
from parallax.venues.api import CallFailed, Heard, Reply, VenueApi
from parallax.venues.breaker import Breaker, BreakerSettings, Down
from parallax.venues.budget import Entry, Limiter, LimiterState, Limits
from parallax.venues.clock import VenueClockEstimate, parse_http_date
from parallax.venues.flights import Flight, Flights
from parallax.venues.health import Health, down_words
from parallax.venues.meter import Kind, Meter, MeterSnapshot, Result

# Looked up once: to name a status costs a call of its own each time.
_MULTIPLE_CHOICES: Final = HTTPStatus.MULTIPLE_CHOICES
_BAD_REQUEST: Final = HTTPStatus.BAD_REQUEST
_KEY_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIMITED: Final = HTTPStatus.TOO_MANY_REQUESTS
_FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR
_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE

MAX_PAUSE: Final = 300.0
"""Seconds that a `Retry-After` is obeyed for at most: longer is a mistake, and by then every quote is over."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds of pause after a 429 that does not say how long: doubled with each in a row, up to the longest."""

LATENCIES_NEEDED: Final = 20
"""Sends seen before their 99th percentile means something."""

FIRST_SEND_SECONDS: Final = 1.0
"""What sending is assumed to take until then."""

LEAST_SEND_SECONDS: Final = 0.25
"""And at the least ever after: a quick exchange has slow moments."""

LONGEST_MARGIN: Final = timedelta(seconds=10)
"""A margin beyond this would eat too much of a quote's five minutes; the venue decides then."""

PROBE_GRACE: Final = 0.5
"""Seconds that a waiting read has, once it is time, to be the probe, before the gateway probes by itself."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The budget and its patience. Times are seconds.

    A new quote waits `quote_patience` for its turn, reads `read_patience`, reads for unknown orders
    `resolve_patience`. A list that a person waits for is tried `retries` more times, after about
    `retry_delay` and twice that.
    """

    limits: Limits = field(default_factory=Limits)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    quote_patience: float = 3.0
    read_patience: float = 10.0
    resolve_patience: float = 30.0
    retries: int = 2
    retry_delay: float = 0.25
    slow_after: float = 2.0


@dataclass(frozen=True, slots=True)
class GatewaySnapshot:
    """Everything about the venue's side at a moment, as data for the operations page."""

    status: VenueStatus
    meter: MeterSnapshot
    limiter: LimiterState
    breaker: Down | None
    clock_offset: timedelta
    clock_uncertainty: timedelta
    clock_samples: int
    clock_jumps: int
    send_margin: timedelta


class Gateway:
    """A venue behind its budget. Lives in one event loop; `close()` leaves no task and no timer behind."""

    def __init__(
        self,
        api: VenueApi,
        clock: Clock,
        random: Random,
        settings: GatewaySettings | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._api = api
        self._now = clock.monotonic
        self._random = random
        self._settings = settings or GatewaySettings()
        self._estimate = VenueClockEstimate(clock)
        self._limiter = Limiter(self._settings.limits)
        self._breaker = Breaker(self._settings.breaker, random)
        self._health = Health(clock, self._breaker, self._limiter, self._settings.slow_after)
        self.meter = Meter(clock.monotonic, registry)
        self._flights = Flights(lambda: self.meter.avoided("shared"))
        self._limited_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._closed = False
        self._publish()

    def __repr__(self) -> str:
        return f"<Gateway to {self.name}>"

    # --- What is known without asking -----------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._api.name

    @property
    def clock(self) -> VenueClockEstimate:
        return self._estimate

    @property
    def status(self) -> VenueStatus:
        return self._health.status

    @property
    def send_margin(self) -> timedelta:
        return self._margin(self._estimate.uncertainty)

    def arrival(self, time: VenueTime | None = None) -> datetime:
        time = time or self._estimate.read()
        return time.now + self._margin(time.uncertainty)

    def _margin(self, uncertainty: timedelta) -> timedelta:
        """The uncertainty of the venue's clock, and the 99th percentile of how long sending took lately."""
        sends = self.meter.latencies[Kind.SEND].recent(self._now())
        if len(sends) < LATENCIES_NEEDED:
            seconds = max(FIRST_SEND_SECONDS, sends[-1] if sends else 0.0)
        else:
            seconds = max(LEAST_SEND_SECONDS, sends[-(len(sends) // 100 + 1)])
        return min(LONGEST_MARGIN, uncertainty + timedelta(seconds=seconds))

    def avoided(self, reason: str, calls: int = 1) -> None:
        self.meter.avoided(reason, calls)

    def on_status(self, callback: Callable[[VenueStatus], None]) -> Callable[[], None]:
        """Call `callback` with each new status; it must not raise. Gives back what ends that."""
        return self._health.listen(callback)

    def snapshot(self) -> GatewaySnapshot:
        """How things stand, as data."""
        return GatewaySnapshot(
            self.status,
            self.meter.snapshot(),
            self._limiter.state(),
            self._breaker.down,
            self._estimate.offset,
            self._estimate.uncertainty,
            self._estimate.samples,
            self._estimate.jumps,
            self.send_margin,
        )

    # --- Reads ----------------------------------------------------------------------------------------

    async def users(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[User]:
        return await self._read(Kind.USERS, "", purpose, self._api.users, self._settings.retries)

    async def quotes(self, purpose: Purpose = Purpose.REFRESH) -> Sequence[VenueQuote]:
        return await self._read(Kind.QUOTES, "", purpose, self._api.quotes, self._settings.retries)

    async def orders(self, user_id: UserId, purpose: Purpose) -> Sequence[VenueOrder]:
        return await self._read(Kind.ORDERS, user_id, purpose, lambda: self._api.orders(user_id))

    async def order(self, venue_order_id: VenueOrderId, purpose: Purpose) -> VenueOrder:
        return await self._read(Kind.ORDER, venue_order_id, purpose, lambda: self._api.order(venue_order_id))

    async def _read(
        self,
        kind: Kind,
        of: str,
        purpose: Purpose,
        call: Callable[[], Awaitable[Reply[T]]],
        retries: int = 0,
    ) -> T:
        patience = self._settings.read_patience
        if purpose is Purpose.RESOLVE:
            patience = self._settings.resolve_patience

        async def fly(flight: Flight[T]) -> T:
            for attempt in range(retries + 1):
                try:
                    return (await self._ask(kind, flight, call)).get()
                except _Failed as failed:
                    last = attempt == retries or flight.purpose is not Purpose.REFRESH
                    if last or self._breaker.refuses(self._now(), may_probe=True):
                        raise VenueUnavailable(failed.words) from None
                await asyncio.sleep(self._settings.retry_delay * 2**attempt * (0.5 + self._random.random()))
            raise AssertionError("the last attempt returns or raises")

        return await self._flights.ride((kind, of), purpose, patience, fly)

    async def _ask(self, kind: Kind, flight: Flight[T], call: Callable[[], Awaitable[Reply[T]]]) -> Reply[T]:
        """One read, when its turn comes. Raises `_Failed` when another attempt could help."""
        flight.entry = entry = self._enter(flight.purpose, flight.patience, may_probe=True)
        try:
            await self._turn(entry, may_probe=True)
            entry.use()
            flight.left = True
            try:
                reply = await self._made(kind, flight.purpose, call(), probe=self._breaker.begin())
            except CallFailed as failed:
                raise _Failed(failed.detail) from None
        finally:
            flight.entry = None
            entry.leave()
        if reply.heard.status >= _FAILED:
            raise _Failed(str(reply.error))
        return reply

    # --- A quote and an order -------------------------------------------------------------------------

    async def request_quote(self) -> VenueQuote:
        entry = self._enter(Purpose.QUOTE, self._settings.quote_patience)
        try:
            await self._turn(entry)
            entry.use()
            try:
                reply = await self._made(Kind.QUOTE, Purpose.QUOTE, self._api.request_quote())
            except CallFailed as failed:
                raise VenueUnavailable(failed.detail) from None
        finally:
            entry.leave()
        return reply.get()

    async def place_order(
        self,
        request: OrderRequest,
        *,
        before: datetime,
        last_check: Callable[[], None],
    ) -> Outcome:
        patience = (before - self.arrival()).total_seconds()
        entry = self._enter(Purpose.SEND, max(0.0, patience))
        try:
            await self._turn(entry)
            await self._connected()
            last_check()
            entry.use()
            return await self._sent(request)
        finally:
            entry.leave()

    async def _connected(self) -> None:
        """Have a connection, so that nothing stands between the last check and the request. Raises
        `VenueUnavailable`: nothing was sent."""
        try:
            await self._api.connect()
        except CallFailed as failed:
            self._breaker.failed(self._now(), failed.detail, probe=False)
            self._took(Kind.SEND, failed.seconds)
            self._review()
            raise VenueUnavailable(failed.detail) from None

    async def _sent(self, request: OrderRequest) -> Outcome:
        """What came of the request. From here on there is always an outcome (rule 3: unknown is not failed)."""
        try:
            return (await self._made(Kind.SEND, Purpose.SEND, self._api.place_order(request))).get()
        except CallFailed as failed:
            return Unknown(failed.cause, failed.detail)
        except Exception as error:  # noqa: BLE001 - a mistake in reading the answer does not unsend the request
            return Unknown(
                "unreadable_answer", f"The answer could not be made sense of ({type(error).__name__})."
            )

    async def close(self) -> None:
        """Call off what is under way and let go of connections."""
        self._closed = True
        self._limiter.close()
        if self._timer is not None:
            self._timer.cancel()
        await self._flights.close()
        if self._probe is not None:
            await asyncio.wait([self._probe])
        await self._api.close()

    # --- Around every call ----------------------------------------------------------------------------

    def _enter(self, purpose: Purpose, patience: float, *, may_probe: bool = False) -> Entry:
        """A place in the queue. Raises `VenueUnavailable` at once when waiting would be in vain."""
        self._refuse_while_down(may_probe=may_probe)
        try:
            return self._limiter.enter(purpose, patience)
        except VenueBusy:
            self.meter.avoided("no_room")
            raise

    async def _turn(self, entry: Entry, *, may_probe: bool = False) -> None:
        """Wait for the entry's turn. Raises `VenueUnavailable` when it does not come in time or came to
        nothing: while it waited the breaker may have opened, or another read become the probe."""
        try:
            await entry.admitted()
        except VenueBusy:
            self.meter.avoided("no_room")
            raise
        self._refuse_while_down(may_probe=may_probe)
        self.meter.waited(entry.purpose, entry.waited)

    def _refuse_while_down(self, *, may_probe: bool = False) -> None:
        down = self._breaker.down
        if down is None or not self._breaker.refuses(now := self._now(), may_probe=may_probe):
            return
        self.meter.avoided("down")
        retry_in = max(0.0, down.retry_at - now)
        seconds = max(1, math.ceil(retry_in))
        when = "is being tried now" if self._breaker.probing else f"is tried again in {seconds} s"
        raise VenueUnavailable(f"{down_words(down)} It {when}; nothing was sent.", retry_in)

    async def _made(
        self, kind: Kind, purpose: Purpose, call: Awaitable[Reply[T]], *, probe: bool = False
    ) -> Reply[T]:
        """The reply to a call that leaves now, counted and learned from. Raises `CallFailed`."""
        try:
            reply = await call
        except CallFailed as failed:
            self.meter.ended(kind, purpose, _result_of(failed), failed.seconds)
            self._breaker.failed(self._now(), failed.detail, probe=probe)
            self._took(kind, failed.seconds)
            raise
        except BaseException:
            self.meter.ended(kind, purpose, Result.CANCELLED, 0.0)
            self._breaker.abandoned(probe=probe)
            raise
        else:
            self.meter.ended(kind, purpose, _result(reply), reply.heard.seconds)
            self._learn(kind, reply.heard, probe=probe)
            return reply
        finally:
            self._review()

    def _learn(self, kind: Kind, heard: Heard, *, probe: bool) -> None:
        """What any answer tells: that the exchange is there or broken, its time, and whether to hold back."""
        now = self._now()
        self._took(kind, heard.seconds)
        if heard.status >= _FAILED:
            self._breaker.failed(now, f"{kind.value} was answered with {heard.status}.", probe=probe)
        else:
            self._breaker.succeeded(now, probe=probe)
            self._health.answered()
            if heard.status in _KEY_REFUSED:
                self._health.heard_of_key(refused=True)
            elif heard.status < _BAD_REQUEST:
                self._health.heard_of_key(refused=False)
            # An answer of 5xx may be a proxy's, and its clock another one.
            self._estimate.heard(heard.date, heard.sent, heard.answered)
        told = self._told_to_wait(heard)
        if heard.status == _LIMITED:
            backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._limited_in_a_row, 10))
            self._limited_in_a_row += 1
            self._limiter.pause(told or backoff * (0.75 + 0.25 * self._random.random()))
        elif heard.status == _UNAVAILABLE and told:
            self._limiter.pause(told)
        elif heard.status < _BAD_REQUEST:
            self._limited_in_a_row = 0

    def _told_to_wait(self, heard: Heard) -> float | None:
        """The seconds that a `Retry-After` asks for, at most `MAX_PAUSE`; None when it does not say."""
        text = (heard.retry_after or "").strip()
        if text.isascii() and text.isdigit():
            seconds = int(text[:6])
        else:
            until = parse_http_date(text) if text else None
            if until is None:
                return None
            # By the clock that wrote both dates, where there is one.
            told_at = parse_http_date(heard.date) if heard.date else None
            seconds = (until - (told_at or self._estimate.now())).total_seconds()
        return min(seconds, MAX_PAUSE) if seconds > 0 else None

    def _took(self, kind: Kind, seconds: float) -> None:
        if kind is not Kind.QUOTES:  # the one list that is long by nature
            self._health.took(seconds)

    # --- Status by time -------------------------------------------------------------------------------

    def _review(self) -> None:
        self._health.review()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._health.next_review()
        down = self._breaker.down
        if down is not None and not self._breaker.probing and self._probe is None:
            at = max(down.retry_at + PROBE_GRACE, self._limiter.paused_until)
        if at is not None and not self._closed:
            # A moment that has passed already must not be waited for in circles.
            delay = at - self._now() if at > self._now() else PROBE_GRACE
            self._timer = asyncio.get_running_loop().call_later(delay, self._timer_rang)

    def _timer_rang(self) -> None:
        self._timer = None
        down = self._breaker.down
        due = down is not None and self._now() >= down.retry_at and not self._breaker.probing
        if due and self._probe is None:
            self._probe = asyncio.create_task(self._probe_once(), name="venue probe")
        self._review()

    async def _probe_once(self) -> None:
        """A read that nobody asked for, so that an idle desk too finds out that the exchange is back."""
        with suppress(DeskError):  # the breaker has been told
            await self._read(Kind.USERS, "", Purpose.REFRESH, self._api.users)
        self._probe = None
        self._review()  # if it is still open, the next probe is due later

    def _publish(self) -> None:
        gauge = self.meter.gauge
        gauge("parallax_venue_calls_waiting", "Calls that wait for room.", self._limiter.waiting)
        gauge("parallax_venue_calls_running", "Calls under way.", self._limiter.running)
        gauge(
            "parallax_venue_paused_seconds",
            "Seconds for which no call may leave.",
            lambda: max(0.0, self._limiter.paused_until - self._now()),
        )
        gauge(
            "parallax_venue_breaker_open",
            "1 while the exchange is not asked.",
            lambda: 0.0 if self._breaker.down is None else 1.0,
        )
        gauge(
            "parallax_venue_clock_offset_seconds",
            "What to add to this clock for the venue's.",
            lambda: _seconds(self._estimate.offset),
        )
        gauge(
            "parallax_venue_clock_uncertainty_seconds",
            "Half of what the offset may be wrong by.",
            lambda: _seconds(self._estimate.uncertainty),
        )
        gauge(
            "parallax_venue_send_margin_seconds",
            "How long before its end a quote is too late to be safe.",
            lambda: _seconds(self.send_margin),
        )


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


class _Failed(Exception):
    """A read failed in a way that another attempt might not."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def _result_of(failed: CallFailed) -> Result:
    if failed.cause == "timeout":
        return Result.TIMEOUT
    return Result.UNREADABLE if failed.cause == "answer_too_large" else Result.LOST


def _result(reply: Reply[T]) -> Result:
    """How an answered call is counted."""
    status = reply.heard.status
    if status == _LIMITED:
        return Result.LIMITED
    if status >= _FAILED:
        return Result.FAILED
    if isinstance(reply.value, Accepted):
        return Result.OK
    if isinstance(reply.value, Refused) or isinstance(reply.error, NotFound):
        return Result.REFUSED
    if isinstance(reply.value, Unknown):
        return Result.UNREADABLE
    if reply.error is None:
        return Result.OK
    success = status < _MULTIPLE_CHOICES and isinstance(reply.error, VenueMisbehaved)
    return Result.UNREADABLE if success else Result.REFUSED
