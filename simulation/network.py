"""The way between desk and venue: it loses, delays, doubles and garbles what passes, and notes what really did.

An `httpx2` transport under the desk's real client; at its other end the sandbox's real application, called without
sockets. A request on its way belongs to nobody: the death of the desk does not call it back.
"""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import AsyncGenerator, Callable
from contextvars import Context
from random import Random
from typing import Any, Final, cast

import httpx2
import msgspec
from msgspec import Struct

from parallax.sandbox import ConnectionDropped, SandboxApp
from parallax.venues import http
from parallax.venues.http import Head, Transport
from simulation.loop import SimulatedLoop
from simulation.plan import MAX_LATE, MAX_LATE_LISTING, Plan
from simulation.witness import Departure, ListShown, Witness

API_KEY: Final = "simulated-key"
BASE_URL: Final = "http://venue.test/api"

_HEADERS: Final = [(b"x-api-key", API_KEY.encode())]
PAGE: Final = (b"x-simulated", b"page")
"""On a list of which only a part is shown, for the witness: it proves nothing."""

_PAGE_MARKS: Final[tuple[tuple[dict[str, Any], tuple[bytes, bytes] | None], ...]] = (
    ({"hasMore": True}, None),
    ({"meta": {"total_count": "1000"}}, None),
    ({"_links": {"next": {"href": "/next"}}}, None),
    ({}, (b"link", b"</next>; rel=next")),
    ({}, (b"x-total-count", b"1000")),
)
"""How a page says that it is one: beside the list, or in a header."""

_GARBAGE: Final = (
    b"",
    b"<html><head><title>504 Gateway Time-out</title></head></html>",
    b'{"data":',
    b'{"data":null}',
    b'{"data":[]}',
    b'{"data":{"items":[]}}',
    b'{"errors":{"quote_id":["has already been executed"]}}',
    b'{"data":{"id":7,"status":"completed"}}',
    b"\xff\xfe\x00",
    b"[" * 200,
)
_ERRORS: Final = (408, 500, 502, 503, 504, 520, 599)
_AMOUNT_REFUSED: Final = b'{"errors":{"from_amount":["is above your limit for today"]}}'


class Answer(Struct, frozen=True):
    """An answer on its way back."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    cut: bool = False


class Unreachable(Exception):
    """The connection was not made: nothing was sent."""


class Lost(Exception):
    """The connection broke: nobody knows what arrived."""


class Network(Transport):
    """A transport of one desk process. `note_departure` is called as an order request leaves."""

    def __init__(
        self,
        world: NetworkWorld,
        process: str,
        note_departure: Callable[[Departure], None],
    ) -> None:
        self._world = world
        self._process = process
        self._note_departure = note_departure

    def ready(self) -> bool:
        return self._world.keeps_connection()

    async def connect(self) -> None:
        made: Future[None] = self._world.loop.create_future()
        self._world.connect(self._process, made)
        try:
            await made
        except Unreachable:
            raise httpx2.ConnectError("the venue cannot be reached") from None

    async def send(self, head: Head, body: bytes = b"") -> http.Answer:
        world = self._world
        call = Sent(head.method, head.target, body, self._process, world.loop.create_future())
        call.asked = world.loop.time()
        if call.is_order:
            fields = msgspec.json.decode(call.body)
            call.departure = Departure(
                call.asked, self._process, fields["quote_id"], fields["user_id"], fields["from_amount"]
            )
        world.send(call, self._note_departure)
        try:
            answer = await call.answer
        except Unreachable:
            raise httpx2.ConnectError("the venue cannot be reached") from None
        except Lost:
            raise httpx2.ReadError("the connection was lost") from None
        world.arrived(call, answer)
        body = answer.body
        if answer.cut:
            return _Cut(answer.status, answer.headers, body[: len(body) // 2])
        return http.Answer(answer.status, answer.headers, body)


class Sent:
    """A request on its way."""

    __slots__ = ("answer", "asked", "body", "departure", "method", "path", "process")

    def __init__(self, method: str, path: str, body: bytes, process: str, answer: Future[Answer]) -> None:
        self.method, self.path, self.body, self.process = method, path, body, process
        self.answer = answer
        self.asked = 0.0
        self.departure: Departure | None = None

    @property
    def is_order(self) -> bool:
        """Whether it asks for an order."""
        return self.method == "POST" and self.path == "/api/orders"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class NetworkWorld:
    """What all transports share: the venue at the other end, the weather in between."""

    def __init__(
        self, loop: SimulatedLoop, app: SandboxApp, plan: Plan, witness: Witness, context: Context
    ) -> None:
        self.loop = loop
        self.app = app
        self.calm = False
        """Whether the faults are over."""
        self._plan = plan
        self._witness = witness
        self._context = context
        self._random = Random(f"{plan.seed}:network")
        self._pages = Random(f"{plan.seed}:pages of lists")
        self._down_until = -1.0
        self._waiting: dict[Sent, None] = {}
        self.under_way = 0
        """Requests that may still reach the venue."""

    def restart_venue(self, down: float) -> None:
        """Drop every connection, and each new one for `down` seconds; the venue's state is kept."""
        self._witness.tell("venue", f"restarts and is away for {down:.1f} s")
        self._down_until = self.loop.time() + down
        for call in list(self._waiting):
            self._fail(call, Lost)

    # The way there

    def keeps_connection(self) -> bool:
        """Whether the desk has a connection left from earlier calls."""
        return self._random.random() < 0.5

    def connect(self, process: str, made: Future[None]) -> None:
        """Make a connection, which takes a while and may fail."""
        refused = self._random.random() < self._plan.order_faults.get("unreachable", 0.0) and not self.calm

        def answer() -> None:
            if made.done():
                return
            if refused or self.loop.time() < self._down_until:
                self._witness.tell("network", f"{process} gets no connection")
                self._witness.count("no connection")
                made.set_exception(Unreachable())
                made.exception()  # whoever wanted it may be gone
            else:
                made.set_result(None)

        self._later(self._latency(), answer)

    def send(self, call: Sent, note_departure: Callable[[Departure], None]) -> None:
        """Put a request on its way, with the fate that the seed has for it."""
        fate = self._fate(call)
        if fate == "unreachable" or self.loop.time() < self._down_until:
            self._witness.tell("network", f"{call} cannot be sent")
            self._later(self._latency(), self._fail, call, Unreachable)
            return
        if call.departure is not None:
            call.departure.in_trouble = fate != "well"
            note_departure(call.departure)
        self._witness.count(fate)
        self._waiting[call] = None
        if self._witness.keep_story:
            told = f" ({fate})" if fate != "well" else ""
            body = f" {call.body.decode()}" if call.is_order else ""
            self._witness.tell(call.process, f"sends {call}{body}{told}")
        getattr(self, f"_go_{fate}")(call)

    def _fate(self, call: Sent) -> str:
        if self.calm:
            return "well"
        faults = self._plan.order_faults if call.is_order else self._plan.read_faults
        if faults:
            drawn = self._random.random()
            for name, chance in faults.items():
                drawn -= chance
                if drawn < 0:
                    return name
        return "well"

    def _latency(self) -> float:
        draw = self._random.random()
        return 0.004 + (0.1 if self.calm else self._plan.slow) * draw * draw

    def _delay(self) -> float:
        """A long time: mostly seconds, sometimes minutes."""
        draw = self._random.random()
        if draw < 0.4:
            return 6.0 * draw
        return 25.0 * draw if draw < 0.75 else MAX_LATE * (draw - 0.7) / 0.3

    def _later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        self.loop.call_later(delay, call, *args, context=self._context)

    def _go(self, call: Sent, delay: float, come_back: Callable[[Sent, Answer | None], None]) -> None:
        """Let a copy of the request reach the venue after `delay`."""
        self.under_way += 1
        self._later(delay, self._reach, call, come_back)

    def _reach(self, call: Sent, come_back: Callable[[Sent, Answer | None], None]) -> None:
        self.under_way -= 1
        if self.loop.time() < self._down_until:
            self._witness.tell("network", f"{call} finds nobody")
            answer = None
        else:
            answer = self._carry_out(call)
        come_back(call, answer)

    # Fates

    def _go_well(self, call: Sent) -> None:
        self._go(call, self._latency(), self._back)

    def _go_lost_request(self, call: Sent) -> None:
        if self._random.random() < 0.5:
            self._later(self._latency(), self._fail, call, Lost)

    def _go_lost_reply(self, call: Sent) -> None:
        silent = self._random.random() < 0.5
        self._go(call, self._latency(), self._say_nothing if silent else self._break_off)

    def _go_late_request(self, call: Sent) -> None:
        self._go(call, self._delay(), self._back)

    def _go_late_reply(self, call: Sent) -> None:
        delay = self._delay()
        self._go(call, self._latency(), lambda call, answer: self._back(call, answer, delay))

    def _go_duplicate(self, call: Sent) -> None:
        """Something on the way sends the request twice and passes one of the answers on."""
        gap = self._random.choice((0.0, 0.01, 1.5, self._delay()))
        heard = self._random.choice(("first", "second", "second", "soonest"))
        first = self._back if heard != "second" else self._say_nothing
        second = self._back if heard != "first" else self._say_nothing
        self._go(call, self._latency(), first)
        self._go(call, self._latency() + gap, second)

    def _go_error_before(self, call: Sent) -> None:
        self._back(call, self._error(), self._latency())

    def _go_error_after(self, call: Sent) -> None:
        self._go(call, self._latency(), lambda call, _: self._back(call, self._error()))

    def _go_limited(self, call: Sent) -> None:
        wait = self._random.choice((b"1", b"4", b"20", b""))
        headers = [(b"retry-after", wait)] if wait else []
        body = b'{"errors":{"detail":["too many requests"]}}'
        self._back(call, Answer(429, headers, body), self._latency())

    def _go_key_refused(self, call: Sent) -> None:
        self._back(call, Answer(401, [], b'{"errors":{"api_key":["is not valid"]}}'), self._latency())

    def _go_amount_refused(self, call: Sent) -> None:
        self._back(call, Answer(422, [], _AMOUNT_REFUSED), self._latency())

    def _go_garbage(self, call: Sent) -> None:
        body = self._random.choice(_GARBAGE)
        if not call.is_order and body == b'{"data":[]}':
            body = b"[]"  # an empty list is no garbage: it is a lie, and nothing can be proven with a venue that lies
        status = self._random.choice((200, 201))
        self._go(call, self._latency(), lambda call, _: self._back(call, Answer(status, [], body)))

    def _go_cut(self, call: Sent) -> None:
        def cut(call: Sent, answer: Answer | None) -> None:
            self._back(call, answer and Answer(answer.status, answer.headers, answer.body, cut=True))

        self._go(call, self._latency(), cut)

    def _error(self) -> Answer:
        return Answer(self._random.choice(_ERRORS), [], b"upstream trouble")

    # The way back

    def _back(self, call: Sent, answer: Answer | None, delay: float = 0.0) -> None:
        """Let an answer travel back; None is a connection that broke."""
        if answer is None:
            self._fail(call, Lost)
        else:
            self._later(delay + self._latency(), self._deliver, call, self._paged(call, answer))

    def _paged(self, call: Sent, answer: Answer) -> Answer:
        """A list of orders as its first page, with a mark that says so, where this venue does that."""
        storm = self.loop.time() < self._plan.storm
        if not (self._plan.pages and storm and call.path.endswith("/orders") and answer.status == 200):
            return answer
        rows = _rows(answer.body)
        if answer.cut or not rows or self._pages.random() >= self._plan.pages:
            return answer
        shown = rows[: self._pages.randrange(len(rows))]
        beside, header = self._pages.choice(_PAGE_MARKS)
        headers = [*answer.headers, PAGE, *([header] if header else [])]
        return Answer(200, headers, json.dumps({"data": shown, **beside}).encode())

    def _say_nothing(self, call: Sent, answer: Answer | None) -> None:
        """The answer is lost, and nobody says so."""
        del call, answer

    def _break_off(self, call: Sent, answer: Answer | None) -> None:
        del answer
        self._later(self._latency(), self._fail, call, Lost)

    def _deliver(self, call: Sent, answer: Answer) -> None:
        self._waiting.pop(call, None)
        if not call.answer.done():
            call.answer.set_result(answer)

    def _fail(self, call: Sent, error: type[Exception]) -> None:
        self._waiting.pop(call, None)
        if not call.answer.done():
            call.answer.set_exception(error())
            call.answer.exception()  # its reader may be gone

    def arrived(self, call: Sent, answer: Answer) -> None:
        """The desk has got an answer: note what it was shown."""
        if answer.status < 500 and not answer.cut and any(name == b"date" for name, _ in answer.headers):
            self._witness.times_told.append((call.asked, self.loop.time() - call.asked))
        if self._witness.keep_story:
            cut = " (cut off)" if answer.cut else ""
            self._witness.tell(call.process, f"hears {answer.status} to {call}{cut}")
        if call.departure is not None:
            call.departure.answered = answer.status
            # What docs/guarantees.md calls an explicit refusal that leaves the quote usable.
            call.departure.refused = answer.status in (401, 429) or answer.body == _AMOUNT_REFUSED
        elif (
            call.path.endswith("/orders")
            and answer.status == 200
            and not answer.cut
            and PAGE not in answer.headers
        ):
            rows = _rows(answer.body)
            if rows is not None:
                self._witness.lists.append(
                    ListShown(
                        call.process,
                        call.path.split("/")[3],
                        call.asked,
                        self.loop.time(),
                        self._witness.venue_time(call.asked),
                        {row["id"]: row["status"] for row in rows},
                    )
                )

    # The venue

    def _carry_out(self, call: Sent) -> Answer | None:
        answer = ask(self.app, call.method, call.path, call.body)
        if call.is_order and answer is not None:
            made = self.app.exchange.requests[-1].outcomes[-1].order_id
            if made is not None:
                self._accepted(call, made)
            self._witness.tell("venue", f"answers {answer.status} {answer.body[:120].decode()}")
        return answer

    def _accepted(self, call: Sent, order_id: str) -> None:
        """An order has come to be: perhaps it shows late, perhaps it will change its mind."""
        assert call.departure is not None
        call.departure.made = order_id
        exchange = self.app.exchange
        order = exchange.orders[order_id]
        if self._random.random() < self._plan.late_listing:
            exchange.list_later(order, self._random.uniform(0.5, MAX_LATE_LISTING))
        if self._random.random() < self._plan.change_of_mind:
            status = self._random.choice((None, None, "pending"))
            exchange.change_mind(order, self._random.uniform(0.0, 60.0), status)
            self._witness.minds_changed[order_id] = order.life[-1][1]


class _Cut(http.Answer):
    """An answer whose body ends too early."""

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield self.content
        raise httpx2.RemoteProtocolError("the answer was cut off")


def ask(app: SandboxApp, method: str, path: str, body: bytes) -> Answer | None:
    """One call to the venue, at this instant; None when it dropped the connection."""
    start: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message["body"])

    coroutine = app({"type": "http", "method": method, "path": path, "headers": _HEADERS}, receive, send)
    try:
        coroutine.__await__().send(None)
    except StopIteration:
        return Answer(start["status"], start["headers"], b"".join(parts))
    except ConnectionDropped:
        return None
    raise AssertionError("the sandbox waits only where one of its own faults is on")


def _rows(body: bytes) -> list[dict[str, str]] | None:
    try:
        rows = msgspec.json.decode(body)["data"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, RecursionError):
        return None
    return cast("list[dict[str, str]]", rows) if isinstance(rows, list) else None
