"""Users and quotes: read from memory, and one call to the exchange for a new quote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from parallax.desk.desk import Desk
from parallax.domain.entities import QUOTE_VALIDITY, Quote
from parallax.domain.errors import NotFound
from parallax.domain.identity import QuoteId, is_identifier
from parallax.domain.transitions import QuoteState, QuoteStatus
from parallax.web.api import models
from parallax.web.api.idempotency import API, Once
from parallax.web.api.lists import PARAMETERS, whole_list
from parallax.web.api.paging import Cursor, Page, Wanted, choice, page
from parallax.web.api.wire import Answer, Reply, Request, enveloped, gathered, read_object, rows

MEMORY_DEPTH: Final = 10_000
"""Newest quotes that memory is trusted to hold without gaps; it holds twice as many from the start on."""

LONGEST_KEPT: Final = timedelta(seconds=1)
"""How long a first page is kept at most: its `read_at` changes without a fact."""

MAX_FIRST_PAGES: Final = 8
"""First pages kept, one for each limit that is in use."""


class _FirstPage(NamedTuple):
    """The bytes of a first page, and from when to when, by the exchange's clock, they are true."""

    position: int
    since: datetime
    until: datetime
    body: bytes


_ACTIVE: Final = frozenset({str(QuoteStatus.ACTIVE)})


class Quotes:
    """The calls about users and quotes."""

    def __init__(self, desk: Desk, once: Once) -> None:
        self._desk = desk
        self._once = once
        self._rows = models.QuoteRows()
        self._first_pages: dict[int, _FirstPage] = {}

    async def users(self, _: Request) -> Reply:
        """Every user, as the exchange lists them."""
        (await self._desk.know_users()).check()
        return Answer(200, enveloped([models.user(user) for user in self._desk.users()]))

    async def create(self, request: Request) -> Reply:
        """A new quote. The body says nothing, so it may be absent, or nothing as JSON writes it."""
        body = await request.body()
        if body.strip():
            read_object(body, models.NoBody)
        return await self._once(request, body, self._create)

    async def _create(self, _: str) -> Answer:
        quote = await self._desk.request_quote(API)
        location = (b"location", f"/api/quotes/{quote.id}".encode())
        return Answer(201, self._one(quote), (location,))

    async def one(self, request: Request) -> Reply:
        """One quote."""
        if not is_identifier(request.target):
            raise NotFound("quote", request.target)
        return Answer(200, self._one(await self._desk.quote(QuoteId(request.target))))

    async def listed(self, request: Request) -> Reply:
        """All quotes, or a page of those that are asked for."""
        desk, asked = self._desk, request.parameters
        (await desk.know_quotes()).check()
        if PARAMETERS.isdisjoint(asked):
            return await gathered(self._whole())
        wanted = Wanted.read(asked)
        statuses = frozenset[str]()
        if "status" in asked:
            statuses = choice("status", asked["status"], frozenset(QuoteStatus))
        if wanted.cursor is None and wanted.since is None and not statuses:
            return Answer(200, await self._first_page(wanted.limit))
        part = await self._filtered(wanted, statuses)
        return Answer(200, self._paged(part, desk.venue_now()))

    async def _first_page(self, limit: int) -> bytes:
        """The page that everybody asks for: made once for as long as nothing happens and no quote on it expires."""
        now, position = self._desk.venue_now(), self._desk.position
        made = self._first_pages.get(limit)
        if made is not None and made.position == position and made.since <= now < made.until:
            return made.body
        part = await self._newest(limit)
        body = self._paged(part, now)
        ends = (quote.expires_at for quote in part.rows if quote.state is QuoteState.ACTIVE)
        until = min((end for end in ends if end > now), default=now + LONGEST_KEPT)
        if len(self._first_pages) >= MAX_FIRST_PAGES:
            self._first_pages.clear()
        self._first_pages[limit] = _FirstPage(position, now, min(until, now + LONGEST_KEPT), body)
        return body

    def _paged(self, part: Page[Quote], now: datetime) -> bytes:
        total = self._desk.books.quotes_ever
        meta = models.meta(part.next, total, self._desk.quotes_age.known_at)
        return rows([self._rows.row(quote, now) for quote in part.rows], meta)

    def _one(self, quote: Quote) -> bytes:
        return b'{"data":' + self._rows.row(quote, self._desk.venue_now()) + b"}"

    async def _newest(self, limit: int) -> Page[Quote]:
        """The first page without filters, without a look at each row."""
        held = await self.fetch(0, limit + 1)
        if len(held) <= limit:
            return Page(list(held), None)
        last = held[limit - 1]
        return Page(list(held[:limit]), Cursor(last.created_at, last.id, limit - 1))

    async def _filtered(self, wanted: Wanted, statuses: frozenset[str]) -> Page[Quote]:
        now = self._desk.venue_now()
        if statuses == _ACTIVE:
            # What is older has expired: no need to look through it.
            born = now - QUOTE_VALIDITY + timedelta(microseconds=1)
            wanted = Wanted(wanted.limit, wanted.cursor, max(born, wanted.since or born))

        def fits(quote: Quote) -> bool:
            return not statuses or quote.status(now) in statuses

        return await page(self.fetch, wanted, fits)

    async def fetch(self, offset: int, limit: int) -> Sequence[Quote]:
        """Quotes newest first, from memory where it has no gaps."""
        held = self._desk.books.newest_quotes(limit, offset)
        if len(held) == limit and offset + limit <= MEMORY_DEPTH:
            return held
        if not self._only_in_journal():
            return self._desk.books.newest_quotes(limit, offset)
        return (await self._desk.past_quotes(offset, limit)).items

    def _only_in_journal(self) -> int:
        """How many quotes memory does not hold."""
        books = self._desk.books
        return books.quotes_ever - len(books.quotes)

    async def _whole(self) -> AsyncIterator[bytes]:
        now = self._desk.venue_now()
        async for piece in whole_list(self.fetch, lambda quote: self._rows.row_once(quote, now)):
            yield piece
