"""What the exchange's calls and a transport agree on: the head of a request, an answer, and who carries them.

`ExchangeTransport` does it over sockets; tests, the simulation and the bench have transports of their own. Errors are
those of `httpx2`, which has one for each way in which a call can fail.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import httpx2

Headers = Sequence[tuple[bytes, bytes]]


class Head:
    """What is the same in every request of one kind, checked and put into bytes once: `target` is the path.

    The length is the body's and not among the headers. A request that is `at_once` leaves in the very step in which it
    is sent, over a connection that is ready, or fails. Raises `ValueError` for what an exchange would read as another
    request: the end of a line in a header, or a length of its own.
    """

    __slots__ = ("_bytes", "at_once", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: Headers, *, at_once: bool = False) -> None:
        self.method = method
        self.target = target
        self.headers = tuple(headers)
        self.at_once = at_once
        lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
        for name, value in self.headers:
            if name.lower() in (b"content-length", b"transfer-encoding"):
                raise ValueError("a request is sent with the length of its body")
            lines.append(b"%b: %b" % (name, value))
        if any(b"\r" in line or b"\n" in line for line in lines):
            raise ValueError("a header of the request holds the end of a line")
        self._bytes = b"".join(b"%b\r\n" % line for line in lines)

    def __repr__(self) -> str:
        return f"<{self.method} {self.target}>"  # a header holds the key

    def written(self, body: bytes) -> bytes:
        """The whole request as it goes over the wire. Only a POST has a body."""
        if self.method == "POST":
            return b"%bContent-Length: %d\r\n\r\n%b" % (self._bytes, len(body), body)
        assert not body, "only a POST has a body"
        return b"%b\r\n" % self._bytes


class Answer(httpx2.AsyncByteStream):
    """An answer: its status and headers, and its body, which is read once. This one has been there from the start."""

    def __init__(self, status: int, headers: Headers, content: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._whole()

    async def _whole(self) -> AsyncGenerator[bytes]:
        yield self.content


class Transport(ABC):
    """Carries requests to one exchange, each once."""

    @abstractmethod
    async def send(self, head: Head, body: bytes = b"") -> Answer:
        """Send a request, once; return when the head of its answer is there.

        Raises `httpx2.ConnectError` when nothing was sent, and another `httpx2.TransportError` when there is no answer
        or not all of one.
        """

    def ready(self) -> bool:
        """Whether there is a connection that a request could take now; always, where none is needed."""
        return True

    async def connect(self) -> None:  # noqa: B027 - nothing, where none is needed
        """Make a connection, which the next request takes. Raises `httpx2.ConnectError`."""

    async def aclose(self) -> None:  # noqa: B027 - as above
        """Let go of everything; calls under way get an error."""
