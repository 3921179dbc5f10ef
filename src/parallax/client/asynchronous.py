"""A desk for async programs: the verbs, over whatever carries a request to the desk's API and its answer back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from parallax.client import calls
from parallax.client.calls import Ask, Conversation, Lost, Pause, Reply, Value
from parallax.client.errors import DeskUnavailable, OrderUnknown
from parallax.client.http import DEFAULT_URL, TIMEOUT, Http
from parallax.client.stream import Events, refused
from parallax.client.values import Event, Order, Quote, Status
from parallax.client.words import SETTLE_SECONDS, id_of, words_of
from parallax.domain.entities import Incident, User
from parallax.domain.identity import QuoteId


class Transport(Protocol):
    """Carries requests to a desk. What is lost on the way is an answer (`Lost`), not an exception."""

    async def ask(self, ask: Ask) -> Reply | Lost:
        """One request and its answer."""
        ...

    def stream(self, ask: Ask) -> AsyncGenerator[bytes | Reply | Lost]:
        """Pieces of a stream until it ends; a `Reply` when it is none, a `Lost` when it is cut off."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class AsyncDesk:
    """A desk as an async program sees it, embedded (`parallax.open_desk`) or remote (`parallax.AsyncClient`).

    Every verb may raise `DeskUnavailable`; other errors are named where they can occur. Verbs may be used at the same
    time. Ids may be given as text or as the value that has them.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def users(self) -> list[User]:
        """Everybody on whose behalf orders can be placed, by name. Raises `VenueUnavailable`."""
        return await self._hold(calls.users())

    async def request_quote(self) -> Quote:
        """Ask the exchange for a firm quote. Raises `VenueUnavailable`, `DeskStopping` or `JournalFailed`."""
        return await self._hold(calls.request_quote(str(uuid.uuid4())))

    async def quote(self, quote: Quote | str) -> Quote:
        """A quote as it is now. Raises `NotFound`."""
        return await self._hold(calls.quote(id_of(quote)))

    async def quotes(
        self, *, status: str | Iterable[str] = (), since: datetime | None = None, limit: int = 100
    ) -> list[Quote]:
        """The newest quotes: of some `status` ("active", "claimed", "executed", "expired"), created `since` then."""
        return await self._hold(calls.quotes(words_of(status), since, limit))

    async def execute(
        self,
        quote: Quote | str,
        user: User | str,
        amount: Decimal | str | int,
        *,
        key: str | None = None,
        unless_unknown: bool = False,
    ) -> Order:
        """Turn a quote into an order and return it as the exchange took it: pending, or settled already.

        `amount` is in the quote's `from` currency. A quote becomes at most one order, whatever happens; after a lost
        connection the request is repeated under the same idempotency key and cannot place a second one.

        A program that keeps its own `key` before it asks can find the order after a crash: the same key gives the same
        order, and `order_by_key` asks without placing one. The order's `possible_duplicate_of` names another one for
        the same user and amount that is undecided or a minute old at most; with `unless_unknown` there is then no
        order, and `PossibleDuplicate` instead.

        Raises `QuoteTaken`, which names the first order, `QuoteExpired`, `AmountInvalid`, `NotFound`,
        `OrderNotPlaced`, `DeskPaused`, `DeskStopping` or `VenueUnavailable`: then nothing was exchanged.
        Raises `OrderUnknown` when there is no answer: the order may have been placed, and must not be again.
        """
        key = key or str(uuid.uuid4())
        text = calls.amount_text(amount)
        return await self._hold(
            calls.execute(
                QuoteId(id_of(quote)), id_of(user), text, key, partial(self._unknown, key), unless_unknown
            )
        )

    async def order(self, order: Order | str) -> Order:
        """An order as it is now, by its id here or at the exchange. Raises `NotFound`."""
        return await self._hold(calls.order(id_of(order)))

    async def order_by_key(self, key: str) -> Order | None:
        """The order that was placed under an idempotency key, as it is now; None when there is none."""
        return await self._hold(calls.order_by_key(key))

    async def orders(
        self,
        user: User | str | None = None,
        *,
        status: str | Iterable[str] = (),
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Order]:
        """The newest orders, of everybody or of one user. Raises `NotFound`.

        `status` is one or more of "pending", "completed", "failed", "unknown", "refused", "withdrawn", "not_placed",
        or "all". Without it, orders that never came to be at the exchange (the last three) are left out.
        """
        return await self._hold(
            calls.orders(None if user is None else id_of(user), words_of(status), since, limit)
        )

    async def settled(self, order: Order | str, timeout: float = SETTLE_SECONDS) -> Order:
        """Wait until an order is settled, and return it. Raises `TimeoutError` after `timeout` seconds, `NotFound`."""
        return await self._hold(calls.settled(id_of(order), monotonic() + timeout, monotonic))

    async def watch(
        self,
        *,
        after: int | None = None,
        user: User | str | None = None,
        kinds: Iterable[str] = (),
        give_up_after: float | None = None,
    ) -> AsyncGenerator[Event]:
        """Every fact of the desk's journal after a position, in order, each once, and then as they happen.

        Without `after` it begins with what happens next; `status().position` is where the journal ends now, 0 is its
        beginning. `user` and `kinds` (names of facts) leave out what they do not name. A lost connection, and a desk
        that starts again, are waited for without gap or duplicate; for `give_up_after` seconds at most, if given, and
        then `DeskUnavailable` is raised. Raises `RequestInvalid` when the journal has never reached the position.
        """
        events = Events(after, None if user is None else id_of(user), kinds)
        heard = monotonic()
        while True:
            words = "The desk ended the stream."
            async with aclosing(self._transport.stream(events.ask())) as pieces:
                async for piece in pieces:
                    match piece:
                        case bytes():
                            heard = monotonic()
                            for event in events.feed(piece):
                                yield event
                        case Reply():
                            words = refused(piece)
                        case Lost():
                            words = piece.words
            if give_up_after is not None and monotonic() - heard >= give_up_after:
                raise DeskUnavailable(words)
            await asyncio.sleep(events.gap())

    async def status(self) -> Status:
        """How the desk and its exchange are doing."""
        return await self._hold(calls.status())

    async def incidents(self, *, resolved: bool = False) -> list[Incident]:
        """Contradictions that a person must look at, newest first; with `resolved`, also those that were."""
        return await self._hold(calls.incidents(resolved))

    async def resolve_incident(self, incident: Incident | str, note: str) -> Incident:
        """Close an incident with a note. Raises `NotFound`."""
        return await self._hold(calls.resolve_incident(id_of(incident), note))

    # Inside

    def _unknown(self, key: str, quote_id: QuoteId, order: Order | None) -> OrderUnknown:
        async def resolve(timeout: float) -> Order:
            deadline = monotonic() + timeout
            return await self._hold(
                calls.resolve(quote_id, order, key, deadline, monotonic, partial(self._unknown, key))
            )

        return OrderUnknown(quote_id, order, resolve=resolve)

    async def _hold(self, conversation: Conversation[Value]) -> Value:
        try:
            step = next(conversation)
            while True:
                match step:
                    case Ask():
                        step = conversation.send(await self._transport.ask(step))
                    case Pause():
                        await asyncio.sleep(step.seconds)
                        step = conversation.send(None)
        except StopIteration as done:
            return done.value


class AsyncClient(AsyncDesk):
    """A running desk, over HTTP. Close it, or use it as `async with parallax.AsyncClient(url) as desk:`.

    `url` is the desk's address, `timeout` the seconds that it may take to answer. A desk that cannot be reached is
    tried again for four seconds, as it may be starting anew, unless `insist` is off. Nothing is sent before the first
    verb. Raises `ValueError` for an address that is none.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout: float = TIMEOUT, insist: bool = True) -> None:
        self._http = Http(url, timeout, insist)
        super().__init__(self._http)

    @property
    def url(self) -> str:
        """The API's root."""
        return self._http.url

    async def close(self) -> None:
        """Let go of every connection."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<parallax.AsyncClient {self.url}>"
