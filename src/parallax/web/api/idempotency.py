"""Repeating a request safely: under an `Idempotency-Key` the first answer is given again, for a day and over restarts.

What holds in every case is the claim: one quote, at most one order, with or without a key. The key adds that the
program that repeats its request is told what came of the first one:

- While the first is under way, a second one waits for it and gets its answer.
- Afterwards it gets the answer that is kept, with `Idempotency-Replayed: true`.
- When the desk died between the claim and the answer, nothing is kept; but the order's id is made of the key. The
  repeated request meets its own order, and is answered with how that stands now.

Kept is every lasting answer about what was done, which the call budget bounds. A refusal that did nothing is not: the
repeated request is tried anew. So nobody can fill the journal, or push the answers of others out of it, with requests
that do nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from parallax.desk.desk import Desk
from parallax.domain.errors import DeskError, JournalFailed
from parallax.ports.journal import MAX_ANSWER_KEY
from parallax.web.api.errors import ApiError
from parallax.web.api.wire import Answer, Request

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotency-replayed", b"true")

MAX_UNDER_WAY: Final = 10_000
"""Requests with a key under way at one time; each holds a task and a connection."""

API: Final = "api"
"""How facts name the API as the one who did something."""

Work = Callable[[str], Awaitable[Answer]]
"""Does what a request asks: given the key that its order is placed under, empty without one."""

log = structlog.get_logger()


class _Kept(msgspec.Struct, array_like=True):
    """An answer as it is kept."""

    status: int
    content_type: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


class Once:
    """Carries requests out, each key's once. `refused` makes the answer to an error."""

    def __init__(self, desk: Desk, refused: Callable[[DeskError | ApiError], Answer]) -> None:
        self._desk = desk
        self._refused = refused
        self._under_way: dict[str, tuple[bytes, asyncio.Task[Answer]]] = {}

    async def __call__(self, request: Request, body: bytes, work: Work) -> Answer:
        """Carry a request out, or answer it with what came of it before. Raises `ApiError` or `DeskError`."""
        key = request.text(HEADER)
        if key is None:
            return await work("")
        check(key)
        asked = _fingerprint(request, body)
        first = self._under_way.get(key)
        if first is not None:
            _check_same(first[0], asked)
            # Shielded: whoever leaves takes nothing from those who stay.
            return again(await asyncio.shield(first[1]))
        if len(self._under_way) >= MAX_UNDER_WAY:
            raise ApiError("idempotency_key_in_use", "Too many requests with a key are under way.")
        task = asyncio.create_task(self._first(key, asked, work), name=f"request {key[:40]}")
        self._under_way[key] = (asked, task)
        task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: str, done: asyncio.Task[Answer]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at: nobody may be left to hear of it

    async def _first(self, key: str, asked: bytes, work: Work) -> Answer:
        known = await self._desk.recall(key)
        if known is not None:
            _check_same(known.fingerprint, asked)
            kept = _decode(known.answer)
            return again(Answer(kept.status, kept.body, tuple(kept.headers), kept.content_type))
        try:
            answer = await work(order_key(key))
        except (DeskError, ApiError) as error:
            answer = self._refused(error)
            if not (isinstance(error, ApiError) and error.beside):
                return answer  # it names no order: nothing was done
        if answer.lasts:
            await self._keep(key, asked, answer)
        return answer

    async def _keep(self, key: str, asked: bytes, answer: Answer) -> None:
        kept = _Kept(answer.status, answer.content_type, list(answer.headers), answer.body)
        try:
            await self._desk.remember(key, asked, _encode(kept))
        except JournalFailed as error:
            # What was done is done, and the claim knows its key: the answer is true without being kept.
            log.warning("an answer could not be kept", error=error.words)


def order_key(key: str) -> str:
    """The key under which the desk knows the order of a request: the API's keys are not those of the pages."""
    return f"{API} {key}"


def again(answer: Answer) -> Answer:
    """An answer about what was done before."""
    if REPLAYED in answer.headers:
        return answer
    return msgspec.structs.replace(answer, headers=(*answer.headers, REPLAYED))


def _fingerprint(request: Request, body: bytes) -> bytes:
    asked = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    asked.update(body)
    return asked.digest()


def check(key: str) -> None:
    """Raises `ApiError` for what is no key."""
    if not (0 < len(key) <= MAX_ANSWER_KEY and key.isascii() and key.isprintable() and key.strip()):
        words = f"A key has 1 to {MAX_ANSWER_KEY} printable ASCII characters; a UUID is a good one."
        raise ApiError("request_invalid", f"Idempotency-Key: {words}", {"Idempotency-Key": [words]})


def _check_same(known: bytes, asked: bytes) -> None:
    if known != asked:
        words = "This key was used for another request; use a new key for each thing you want done."
        raise ApiError("idempotency_key_reused", words, {"Idempotency-Key": [words]})
