"""HTTP/1.1 on a socket, for the desk and for the sandbox: uvicorn, with a bound on everything a client can hold.

uvicorn reads heads of any length, waits for them for ever, and keeps what a client does not take for as long as it
stays. Here every connection is, at each moment, waiting for one thing, and for each thing there is a time after which
the connection is cut: a request that is not complete, silence between two requests, an answer that is not taken.

When there are as many connections as there may be, a new one takes the place of one that waits for its client, the
longest waiting of the address that has most. A request that is being carried out is never cut.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

MAX_HEAD: Final = 32_768
"""Bytes of a request's line and headers; a browser's are around 1,000."""

MAX_HEADERS: Final = 100
"""Headers of one request; a browser sends about 15."""

MAX_REQUEST: Final = 524_288
"""Bytes that one request may be on the wire: a body of 64 KiB in chunks of one byte is about 400 KB."""

MAX_PIPELINED: Final = 32
"""Requests of one connection that may wait for the answer to the one before."""

HEAD_SECONDS: Final = 20
"""How long a head may take, from the connection or from its first byte on."""

REQUEST_SECONDS: Final = 25
"""How long a request may take to arrive in all. The application gives up on a body sooner, and in its own words."""

IDLE_SECONDS: Final = 75
"""How long a connection is kept between two requests, as `Keep-Alive` says: public pages poll every 5 s, and proxies
keep theirs for a minute."""

IDLE_GRACE: Final = 5
"""Seconds more, so that a client which takes us at our word never meets a closing connection."""

WRITE_SECONDS: Final = 20
"""How long a client may take none of what waits for it, at most some 100 KB, before its connection is cut."""

LINGER_SECONDS: Final = 2
"""How long a refused client may go on sending: a connection closed with bytes unread would lose the refusal."""

LINGER_BYTES: Final = 32_768
"""Bytes that a refused client may go on sending."""

PIECE: Final = 65_536
"""Bytes of an answer that are written at once; the next follow when these have left."""

MAX_HELD: Final = 67_108_864
"""Bytes of all answers longer than a piece that wait for their clients. Beyond it the one that has moved least
recently is cut."""

MAX_CONNECTIONS: Final = 8_192
"""Connections of one server, where the limit of open files allows it; an idle one costs about 10 KB."""

MAX_FILES: Final = 65_536
"""The limit of open files is raised to the hard one, up to this: some systems set that to a thousand million, and
programs walk through all of it."""

LOOK_SECONDS: Final = 5
"""Seconds between two looks for idle connections whose last answer was not taken."""

LOG_SECONDS: Final = 60
"""Refusals of one kind are logged once in so many seconds, with how many there were since."""

CLOSE: Final = "parallax.close"
"""The scope's extension that closes the connection once what was written has left."""

ABORT: Final = "parallax.abort"
"""The scope's extension that cuts the connection at once."""

RawHeaders = tuple[tuple[bytes, bytes], ...]

log = structlog.get_logger()


class Refusals:
    """Counts what was turned away, by kind, and logs it without letting the client fill the log."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}

    def note(self, kind: str, client: str = "", **fields: object) -> None:
        """One was turned away. `kind` is one of a few fixed words; `fields` must hold no secret and be short."""
        self.counts[kind] += 1
        now, count = time.monotonic(), self.counts[kind]
        at, logged = self._logged.get(kind, (float("-inf"), 0))
        if now - at >= LOG_SECONDS:
            self._logged[kind] = (now, count)
            log.warning("refused", kind=kind, client=client, count=count - logged, **fields)


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return MAX_FILES if soft == resource.RLIM_INFINITY else soft


def connections_within(files: int, kept: int = 0) -> int:
    """How many connections leave `kept` of `files` for everything else that the process opens."""
    return max(16, min(MAX_CONNECTIONS, files - kept))


def address_of(client: tuple[str, int] | None) -> str:
    """Whose a connection is. All loopback addresses are one: a program may take any of them."""
    host = client[0] if client else ""
    return "loopback" if host.startswith("127.") or host in ("::1", "") else host


class _Queue:
    """Connections that wait for one thing, the longest first, each for equally long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: dict[BoundedProtocol, float] = {}

    def add(self, connection: BoundedProtocol) -> None:
        self.since[connection] = connection.loop.time()

    def remove(self, connection: BoundedProtocol) -> None:
        self.since.pop(connection, None)

    def overdue(self, now: float) -> list[BoundedProtocol]:
        """Those whose time is over."""
        found: list[BoundedProtocol] = []
        for connection, since in self.since.items():
            if now - since < self.seconds:
                break
            found.append(connection)
        return found


class Connections:
    """All connections of one server, and what each of them waits for."""

    def __init__(self, limit: int, refusals: Refusals, headers: RawHeaders = ()) -> None:
        self.limit = limit
        self.refusals = refusals
        self.headers = headers
        """On every refusal of the protocol's own."""
        self.lingering = _Queue(LINGER_SECONDS)
        self.head = _Queue(HEAD_SECONDS)
        self.body = _Queue(REQUEST_SECONDS)
        self.unread = _Queue(WRITE_SECONDS)
        self.closing = _Queue(WRITE_SECONDS)
        self.idle = _Queue(IDLE_SECONDS + IDLE_GRACE)
        self._queues = (self.lingering, self.closing, self.head, self.body, self.unread, self.idle)
        self._open: dict[BoundedProtocol, str] = {}
        self._by_address: Counter[str] = Counter()
        self._looked = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: BoundedProtocol) -> bool:
        """Whether there is room for one more; it waits for its first request then."""
        if len(self._open) >= self.limit:
            victim = self._longest_waiting()
            if victim is None:
                return False
            self.refusals.note("connection_displaced", self._open[victim])
            self.leave(victim)
            victim.transport.abort()
        address = address_of(connection.client)
        self._open[connection] = address
        self._by_address[address] += 1
        self.head.add(connection)
        return True

    def leave(self, connection: BoundedProtocol) -> None:
        """It is gone."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        for queue in self._queues:
            queue.remove(connection)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def look(self, now: float) -> None:
        """Cut what has waited for too long. Called several times a second."""
        for connection in self.head.overdue(now):
            connection.refuse(
                HTTPStatus.REQUEST_TIMEOUT, "head_late", "The request's head did not arrive in time."
            )
        for connection in self.body.overdue(now):
            connection.refuse(
                HTTPStatus.REQUEST_TIMEOUT, "body_late", "The request's body did not arrive in time."
            )
        for connection in (*self.unread.overdue(now), *self.closing.overdue(now)):
            self._cut(connection, "answer_not_taken")
        for connection in (*self.lingering.overdue(now), *self.idle.overdue(now)):
            self._cut(connection)
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for connection, since in tuple(self.idle.since.items()):
                # A short answer fits the buffer, and its request is over: the client may take it now or never.
                if now - since >= WRITE_SECONDS and connection.transport.get_write_buffer_size():
                    self._cut(connection, "answer_not_taken")

    def _cut(self, connection: BoundedProtocol, kind: str = "") -> None:
        if kind:
            self.refusals.note(kind, self._open.get(connection, ""))
        self.leave(connection)
        connection.transport.abort()  # close() would wait for the client to take what was written

    def _longest_waiting(self) -> BoundedProtocol | None:
        """Of the connections that wait for their clients, one of the address that has most; or any."""
        most, _ = self._by_address.most_common(1)[0]
        anyone: BoundedProtocol | None = None
        for queue in self._queues:
            for connection in queue.since:
                if self._open[connection] == most:
                    return connection
                anyone = anyone or connection
        return anyone


class _State(ServerState):
    """uvicorn's state of a server, and ours."""

    def __init__(self, waiting: Connections) -> None:
        super().__init__()
        self.waiting = waiting


class _Malformed(Exception):
    """A request that is not carried out: raised inside the parser, which ends it."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What is bounded, and by how much, stands at the top of this module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Here and not in the configuration, which would silence the log of the whole process.
        self.access_log = False
        self._all: Connections = cast("_State", self.server_state).waiting
        self._deaf = False
        self._head_open = False
        self._open = False
        self._taken = 0
        self._coding = b""
        self._malformed = (
            HTTPStatus.BAD_REQUEST,
            "request_malformed",
            "This is not a request that can be read.",
        )

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take it in, where there is room."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=PIECE // 2)
        self._extensions = {CLOSE: transport.close, ABORT: transport.abort}
        if not self._all.enter(self):
            self.refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "connections_full", "Too many connections; try again."
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._all.leave(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is sent: its time begins."""
        super().pause_writing()
        self._all.unread.add(self)

    def resume_writing(self) -> None:
        """It has taken what was sent."""
        super().resume_writing()
        self._all.unread.remove(self)

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Read what arrived, within the bounds of one request."""
        self._taken += len(data)
        if self._deaf:
            if self._taken > LINGER_BYTES:
                self.transport.abort()
            return
        try:
            cast("Any", self.parser).feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if it had not asked; whatever follows may be in another protocol.
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self.refuse(*self._malformed)
        else:
            if self._head_open and self._taken > 2 * MAX_HEAD:
                self.transport.abort()  # no client that would hear the refusal: what it sends on costs us
                self._all.refusals.note("head_endless", address_of(self.client))
            elif self._head_open and self._taken > MAX_HEAD:
                self.refuse(*_HEAD_TOO_LARGE)
            elif self._open and self._taken > MAX_REQUEST:
                self.refuse(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "The request is too large."
                )
            elif not self._open:
                self._taken = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Malformed
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = self._extensions
        self._open = self._head_open = True
        self._coding = b""
        self._all.idle.remove(self)
        self._all.head.add(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. One that follows the body is left out: what the head said has been judged."""
        if not self._head_open:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding":
            self._coding += value.lower() + b","
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head, and hand the request on."""
        self._check_head()
        super().on_headers_complete()
        self._head_open = False
        self._all.head.remove(self)
        self._all.body.add(self)

    def _check_head(self) -> None:
        version = cast("Any", self.parser).get_http_version()
        if len(self.headers) > MAX_HEADERS or (
            self._taken > MAX_HEAD
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD
        ):
            self._malformed = _HEAD_TOO_LARGE
        elif version not in ("1.1", "1.0") or not self.url.startswith(b"/"):
            pass  # a target in absolute form names a host of its own, beside the header that is judged
        elif self._coding and (self._coding != b"chunked," or version == "1.0"):
            pass  # HTTP/1.0 knows no codings: what stands before us may have read the body otherwise
        else:
            return
        raise _Malformed

    def on_message_complete(self) -> None:
        """The request is there."""
        super().on_message_complete()
        self._open = False
        self._all.body.remove(self)
        if self.cycle.response_complete:
            self._all.idle.add(self)

    def on_response_complete(self) -> None:
        """The answer is written: go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._all.closing.add(self)
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not self._open:
            self._all.idle.add(self)

    # What is turned away

    def refuse(self, status: HTTPStatus, kind: str, words: str) -> None:
        """Say no and read no further. An answer under way is finished first; a request half read is not begun."""
        self._all.refusals.note(kind, address_of(self.client))
        self._deaf, self._taken = True, 0
        for queue in (self._all.head, self._all.body, self._all.idle):
            queue.remove(self)
        current = cast("RequestResponseCycle | None", self.cycle)
        of_current = self._open and not self._head_open  # its body, that is
        if current is not None and not current.response_complete:
            if not of_current:
                current.keep_alive = False
                return
            if current.response_started or self.pipeline:
                self.transport.abort()
                return
            current.disconnected = True
            current.message_event.set()
        if current is None or not of_current or not current.response_complete:
            self.transport.write(self._refusal(status, words))
        self.transport.write_eof()
        self._all.lingering.add(self)

    def _refusal(self, status: HTTPStatus, words: str) -> bytes:
        body = f"{words}\n".encode()
        again = (b"retry-after: 2",) if status in _MAY_PASS else ()
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}".encode(),
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(body),
            b"connection: close",
            *again,
            *(name + b": " + value for name, value in self._all.headers),
        )
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


_HEAD_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    f"A request's head has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers.",
)

_MAY_PASS: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE)


class _Outgoing:
    """Hands long bodies on piece by piece, and bounds what all of them hold."""

    def __init__(self, app: Any, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals
        self._bodies: dict[object, tuple[int, Callable[[], None]]] = {}
        self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def in_pieces(message: Any) -> None:
            body = message.get("body", b"")
            if len(body) <= PIECE:
                await send(message)
            else:
                await self._send(scope, send, message, body)

        await self._app(scope, receive, in_pieces)

    async def _send(self, scope: Any, send: Any, message: Any, body: bytes) -> None:
        key, entry = object(), (len(body), scope["extensions"][ABORT])
        self._bodies[key] = entry
        self._held += len(body)
        try:
            self._make_room(key)
            for at in range(0, len(body), PIECE):
                more = at + PIECE < len(body) or message.get("more_body", False)
                await send({**message, "body": body[at : at + PIECE], "more_body": more})
                if self._bodies.pop(key, None) is None:
                    return
                self._bodies[key] = entry  # the last to have moved
        finally:
            if self._bodies.pop(key, None) is not None:
                self._held -= len(body)

    def _make_room(self, newcomer: object) -> None:
        while self._held > MAX_HELD:
            key = next(iter(self._bodies))
            if key is newcomer:
                return
            size, abort = self._bodies.pop(key)
            self._held -= size
            self._refusals.note("answers_full")
            abort()


class HttpServer(uvicorn.Server):
    """uvicorn's server with `BoundedProtocol` and without its signal handling. It calls `ready` once it answers.

    `limit` connections are held at one time; `drain_seconds` is what requests under way may take at the end;
    `headers` go on every refusal of the protocol's own.
    """

    def __init__(
        self,
        app: Any,
        *,
        limit: int,
        refusals: Refusals,
        ready: Callable[[], None],
        drain_seconds: int,
        backlog: int,
        date_header: bool = True,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(
            uvicorn.Config(
                cast("Any", _Outgoing(app, refusals)),
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=None,
                access_log=False,
                date_header=date_header,
                server_header=False,
                proxy_headers=False,
                headers=[("keep-alive", f"timeout={IDLE_SECONDS}")],
                timeout_graceful_shutdown=drain_seconds,
                backlog=backlog,
            )
        )
        self.connections = Connections(limit, refusals, tuple(headers))
        self.server_state = _State(self.connections)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's look at its state, ten times a second; and ours."""
        self.connections.look(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def capture_signals(self) -> AbstractContextManager[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing: whoever serves listens to signals."""
        return nullcontext()
