"""HTTP/1.1 to one exchange over asyncio: the transport of a desk that places many orders.

`httpx2`'s own transport asks every idle connection's socket at each call whether it still lives, and passes each call
through four layers that serve other needs (proxies, HTTP/2, several event loops). Of the processor time of an order
that was the largest part; `docs/venues.md` has both side by side. Here a connection is an asyncio protocol, which
hears of its end by itself, and a call costs the same however many connections are idle.

It keeps rule 2 (one request per quote): a request is written once, whole, to one connection, in the same step in which
that connection is chosen. Before that nothing has left, and there is nothing to undo; after that nothing is ever
written a second time, whatever becomes of the connection. An answer is whole or an error, never the part that came.

Not here, on purpose: redirects, cookies, proxies, retries, pipelining, HTTP/2. Time is the caller's to limit
(`TimeLimit`): a call that is cancelled closes its connection, so that no other call reads its answer.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from typing import Final, cast

import httptools
import httpx2

from parallax.venues.http import Answer, Head, Transport

MAX_HEAD: Final = 64 * 1024
"""Bytes that may arrive without any of them being content: heads, interim answers, trailers, the frames of chunks."""

MAX_UNREAD: Final = 256 * 1024
"""Bytes of an answer that are taken in before its reader wants them; then the exchange has to wait."""

MAX_ADDRESSES: Final = 8
"""Addresses of a host that are tried for one connection."""

ADDRESS_SECONDS: Final = 3.0
"""How long each of them is tried while there is another: long enough for a lost packet to be sent again."""


class ExchangeTransport(Transport):
    """Calls to the host that `origin` names, over connections that are kept for the next call.

    Of them at most `max_idle` are kept, none for longer than `idle_seconds` without a call; how many there are at once
    is bounded by whoever calls. Certificates are verified as `httpx2` does it, unless `tls` says how. Raises
    `httpx2.ConnectError` when nothing was sent, and `httpx2.ReadError` or `httpx2.RemoteProtocolError` when there is no
    answer or not all of one.
    """

    def __init__(
        self, origin: httpx2.URL, *, idle_seconds: float, max_idle: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._host = origin.raw_host.decode("ascii")
        self._port = origin.port or (443 if origin.scheme == "https" else 80)
        self._tls: ssl.SSLContext | None = None
        if origin.scheme == "https":
            self._tls = tls or httpx2.create_ssl_context(trust_env=False)
            self._tls.set_alpn_protocols(["http/1.1"])
        self._pool = _Pool(idle_seconds, max_idle)
        self._last_good: object = None

    async def connect(self) -> None:
        self._pool.rests(await self._connect())

    def ready(self) -> bool:
        return self._pool.ready()

    async def send(self, head: Head, body: bytes = b"") -> Answer:
        connection = self._pool.take()
        if connection is None:
            if head.at_once:
                raise httpx2.ConnectError("the connection was closed")
            connection = await self._connect()
        answer = connection.send(head.written(body), bodiless=head.method == "HEAD")
        try:
            await answer.begun()
        except BaseException:
            connection.abort()
            raise
        return answer

    async def aclose(self) -> None:
        """Close every connection; calls under way get an error."""
        await self._pool.close()

    async def _connect(self) -> _Connection:
        """A new connection: to the address that answered last time, or else the others in the system's order."""
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        failure: Exception = OSError("the host has no address")
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found, failure = [], error
        addresses = sorted((info[4] for info in found), key=lambda address: address != self._last_good)
        addresses = addresses[:MAX_ADDRESSES]
        for address in addresses:
            patience = None if address is addresses[-1] else ADDRESS_SECONDS
            connection = _Connection(self._pool)
            try:
                async with asyncio.timeout(patience):
                    await loop.create_connection(
                        lambda made=connection: made,
                        str(address[0]),
                        self._port,
                        ssl=self._tls,
                        server_hostname=name,
                    )
            except OSError as error:  # a certificate that is not accepted, or the time for one address, too
                connection.abort()
                failure = error
            except BaseException:
                connection.abort()
                raise
            else:
                self._last_good = address
                if connection.open:
                    return connection
                failure = ConnectionError("closed as soon as it was made")
        raise httpx2.ConnectError(str(failure)) from None


class _Pool:
    """Every connection, and in the order of their last use those that are idle."""

    def __init__(self, idle_seconds: float, max_idle: int) -> None:
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._open: dict[_Connection, None] = {}
        self._idle: dict[_Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        idle = len(self._idle)
        # Calls never queue for a connection: the limiter has let them through.
        return f"<connections: {idle} idle, {len(self._open) - idle} active, 0 queued>"

    @property
    def connections(self) -> list[_Connection]:
        """Those that are open."""
        return list(self._open)

    def take(self) -> _Connection | None:
        """The connection that was used last, if it can be used again."""
        if self.ready():
            connection, _ = self._idle.popitem()
            return connection
        return None

    def ready(self) -> bool:
        """Whether there is one to take. Those that cannot be used again are closed."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = next(reversed(self._idle.items()))
            if now - since <= self._idle_seconds and connection.silent():
                return True
            connection.abort()
        return False

    def joined(self, connection: _Connection) -> None:
        """A connection has been made."""
        self._open[connection] = None
        if self._closed:
            connection.abort()

    def rests(self, connection: _Connection) -> None:
        """A connection may be used by the next call."""
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if len(self._idle) > self._max_idle:
            next(iter(self._idle)).abort()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_seconds, self._sweep)

    def ends(self, connection: _Connection) -> None:
        """The other end has closed a connection: nobody shall be given it."""
        self._idle.pop(connection, None)

    def left(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._idle.pop(connection, None)
        self._open.pop(connection, None)

    async def close(self) -> None:
        """Close all of them, now and those that are still being made."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)  # the loop lets go of their sockets in its next round

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come back for the next."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for connection, since in list(self._idle.items()):
            left = since + self._idle_seconds - loop.time()
            if left > 0:
                self._timer = loop.call_later(left, self._sweep)
                return
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection, which carries one call at a time."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: _Arriving | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._without_content = 0
        self._reusable = False
        self._surplus = False
        self._ended = False

    @property
    def open(self) -> bool:
        """Whether something may be written."""
        return self._transport is not None and not self._closed and not self._transport.is_closing()

    def silent(self) -> bool:
        """Whether the other end has neither closed it nor said anything since the last answer, not even in this
        moment: what the loop has not been told yet is asked of the socket."""
        return self.open and not self._poll.poll(0)

    def send(self, request: bytes, *, bodiless: bool) -> _Arriving:
        """Write a request. Its answer has no body if it is to be `bodiless`, whatever its head says."""
        assert self._transport is not None, "a connection is used once it is made"
        assert self._answer is None, "one call at a time"
        self._answer = _Arriving(self, bodiless=bodiless)
        self._headers = []
        self._without_content = 0
        self._reusable = self._surplus = False
        self._transport.write(request)
        return self._answer

    def resume(self) -> None:
        """The reader has caught up."""
        if self.open and self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close it at once, also while it is being made. Whoever reads an answer from it gets an error."""
        self._closed = True
        self._pool.left(self)  # a loop that was told to stop connecting may never say that it is lost
        if self._transport is not None:
            self._transport.abort()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self._closed:
            self._transport.abort()
        else:
            self._pool.joined(self)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()  # nothing was asked
            return
        self._without_content += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            answer.fail(httpx2.RemoteProtocolError("the answer is no HTTP/1.1"))
            self.abort()
            return
        if answer.complete:
            self._finish(reusable=self._reusable and not self._surplus)
        elif self._without_content > MAX_HEAD:
            answer.fail(httpx2.RemoteProtocolError("the answer's head is too large"))
            self.abort()
        elif answer.unread > MAX_UNREAD and self.open and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The other end has finished; the loop closes the connection next."""
        self._ended = True
        self._pool.ends(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.left(self)
        if (answer := self._answer) is not None:
            self._answer = None
            if answer.until_end and self._ended and exc is None:
                answer.finish()
            else:
                answer.fail(httpx2.ReadError("the connection was closed before the answer was whole"))

    def _finish(self, *, reusable: bool) -> None:
        """The answer is whole. An exchange that has not read all of the request takes the rest for the next one."""
        self._answer = None
        if reusable and self.open and self._transport and not self._transport.get_write_buffer_size():
            self._pool.rests(self)
        else:
            self.abort()

    # What the parser finds

    def on_message_begin(self) -> None:
        assert self._answer is not None, "data is parsed for a call only"
        self._surplus = self._answer.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status, headers = self._parser.get_status_code(), self._headers
        self._headers = []
        if self._answer is None or self._surplus or status < 200:
            return  # what comes first may be "100 Continue" or "103 Early Hints": not the answer yet
        self._without_content = 0
        self._answer.begin(status, headers)

    def on_body(self, body: bytes) -> None:
        if self._answer is not None and not self._surplus:
            self._without_content = 0
            self._answer.take(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._surplus and self._answer.status:
            self._reusable = self._parser.should_keep_alive()
            self._answer.finish()


class _Arriving(Answer):
    """The answer to one call, as it arrives. It is read by one reader, once."""

    def __init__(self, connection: _Connection, *, bodiless: bool) -> None:
        super().__init__(0, ())
        self._connection = connection
        self._parts: list[bytes] = []
        self._failure: httpx2.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.bodiless = bodiless
        self.until_end = False
        """Whether its head names no length: then it ends where the connection does."""
        self.unread = 0
        self.complete = False

    # The reader's side

    async def begun(self) -> None:
        """Return when status and headers are there. Raises `httpx2.TransportError`."""
        while not self.status:
            await self._more()

    def __aiter__(self) -> _Arriving:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self.complete:
                raise StopAsyncIteration
            await self._more()
        parts, self._parts = self._parts, []
        if self.unread > MAX_UNREAD:
            self._connection.resume()
        self.unread = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def aclose(self) -> None:
        """Read no further. What is left of the answer cannot be skipped in bounded time, so the connection goes."""
        if not self.complete:
            self._connection.abort()

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    # The connection's side

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, headers
        names = {name.lower() for name, _ in headers}
        self.until_end = names.isdisjoint((b"content-length", b"transfer-encoding"))
        if self.bodiless:
            self.complete = True
        self._wake()

    def take(self, part: bytes) -> None:
        if not self.bodiless:
            self._parts.append(part)
            self.unread += len(part)
            self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, failure: httpx2.TransportError) -> None:
        if not self.complete:
            self._failure = self._failure or failure
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
