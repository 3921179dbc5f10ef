"""`parallax watch`: quotes and orders as they change: a board on a terminal, a line a fact in a pipe."""

from __future__ import annotations

import asyncio
import select
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from cyclopts import Parameter

from parallax.cli import CannotWrite, fail, say
from parallax.cli.output import (
    Row,
    event_line,
    event_row,
    order_cells,
    quote_cells,
    table_of,
    to_json,
)
from parallax.cli.remote import AsJson, Url, desk_url, failure, running_desk, user_of
from parallax.domain.plurals import count

if TYPE_CHECKING:
    from rich.console import Group

    from parallax.client.asynchronous import AsyncClient
    from parallax.client.values import Order, Quote, Status

DRAWN_SECONDS: Final = 0.5
"""Between two drawings of the board: countdowns go on, and what has changed is read again, at most."""

ROWS: Final = 12
"""Quotes, and orders, on the board at most."""

FRAME_LINES: Final = 11
"""Lines of the board besides its rows: the head, and titles, headings, rules and gaps of two tables."""

ROOMY: Final = 104
"""Columns from which on orders are shown with their time: on narrower terminals their state and amounts go before."""

Trouble = TypeVar("Trouble", bound=Exception)


def watch(
    *,
    user: Annotated[
        str | None, Parameter(help="Only this user's orders: id, e-mail address or name.")
    ] = None,
    after: Annotated[
        int | None,
        Parameter(help="In a pipe: begin after this position of the journal (0: everything) instead of now."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Watch quotes and orders live; Ctrl+C ends it. In a pipe, or with --json, one line a fact.

    A desk that stops is waited for, and nothing of what happens is left out or told twice.
    """
    if after is not None and after < 0:
        raise fail("--after is a position of the journal: 0 for everything, or more")
    with running_desk(url) as desk:
        whose = user_of(desk, user).id if user else None
        began = desk.status()
    lines = as_json or after is not None or not sys.stdout.isatty()
    # Ctrl+C is how one stops watching.
    with suppress(KeyboardInterrupt):
        asyncio.run(
            _lines(desk_url(url), began.position if after is None else after, whose, as_json)
            if lines
            else _board(desk_url(url), began, whose)
        )
    return 0


async def _lines(url: str, after: int, user: str | None, as_json: bool) -> None:
    from parallax.client.asynchronous import AsyncClient
    from parallax.domain.errors import DeskError

    async def tell() -> None:
        async for event in desk.watch(after=after, user=user):
            say(to_json(event_row(event)) if as_json else event_line(event))

    end: BaseException | None = None
    async with AsyncClient(url) as desk:
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell())
                await _nobody_reads()
                telling.cancel()
        except* (BrokenPipeError, CannotWrite) as errors:
            end = _first(errors)
        except* DeskError as errors:
            end = failure(_first(errors))
    if end is not None:
        raise end  # out here: an early Python 3.11 puts what is raised in an `except*` into a group


async def _nobody_reads() -> None:
    """Return when the other end of the pipe has gone (`| head`), even if there is nothing to write."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    while not poll.poll(0):  # noqa: ASYNC110 - only the system knows, and it has no event for it
        await asyncio.sleep(DRAWN_SECONDS)


def _first(errors: BaseExceptionGroup[Trouble]) -> Trouble:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _board(url: str, began: Status, user: str | None) -> None:
    from rich.live import Live

    from parallax.client.asynchronous import AsyncClient
    from parallax.domain.errors import DeskError

    end: BaseException | None = None
    async with AsyncClient(url) as desk:
        board = _Board(desk, began, user)
        try:
            # All end together, with the first error or with Ctrl+C.
            with Live(get_renderable=board.drawn, auto_refresh=False, screen=True) as live:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(board.listen())
                    tasks.create_task(board.keep_reading())
                    tasks.create_task(board.keep_drawing(live.refresh))
        except* DeskError as errors:
            end = failure(_first(errors))
    if end is not None:
        raise end  # as above


class _Board:
    """What is on the board: read again when a fact says that something has changed."""

    def __init__(self, desk: AsyncClient, began: Status, user: str | None) -> None:
        self._desk = desk
        self._status = began
        self._user = user
        self._quotes: list[Quote] = []
        self._orders: list[Order] = []
        self._changed = True
        self._trouble = ""

    async def listen(self) -> None:
        """Note that there is news."""
        async for _ in self._desk.watch(after=self._status.position):
            self._changed = True

    async def keep_reading(self) -> None:
        """Read again when there is news; a desk that does not answer is asked again."""
        from parallax.domain.errors import DeskError

        while True:
            if self._changed or self._trouble:
                self._changed = False
                try:
                    await self._read()
                    self._trouble = ""
                except DeskError as error:
                    self._trouble = error.words
            await asyncio.sleep(DRAWN_SECONDS)

    async def keep_drawing(self, draw: Callable[[], None]) -> None:
        """Draw again and again: countdowns go on."""
        while True:
            draw()
            await asyncio.sleep(DRAWN_SECONDS)

    async def _read(self) -> None:
        self._quotes, self._orders, self._status = await asyncio.gather(
            self._desk.quotes(limit=ROWS),
            self._desk.orders(self._user, status="all", limit=ROWS),
            self._desk.status(),
        )

    def drawn(self) -> Group:
        """The board as it is now."""
        from rich.console import Group
        from rich.text import Text

        now = datetime.now(UTC) + self._status.clock_offset
        width, height = shutil.get_terminal_size()
        fit = max(1, (height - FRAME_LINES) // 2)
        when = ("created_at",) if width >= ROOMY else ()
        head = Text.assemble(
            ("Parallax", "bold"),
            f"  {self._status.venue}, {self._status.health}",
            f"  {count(self._status.open_orders, 'open order')}",
            (f"  paused: {self._status.paused}" if self._status.paused else "", "bold yellow"),
            (
                f"  {count(self._status.open_incidents, 'incident')}" if self._status.open_incidents else "",
                "bold red",
            ),
            (f"  {self._trouble}" if self._trouble else "", "bold red"),
            ("  Ctrl+C ends", "dim"),
        )
        quotes: list[Row] = [{**quote_cells(quote), **_left(quote, now)} for quote in self._quotes[:fit]]
        orders: list[Row] = [order_cells(order) for order in self._orders[:fit]]
        return Group(
            head,
            table_of(quotes, ("pair", "rate", "status", "left", "id"), "Quotes"),
            table_of(orders, (*when, "state", "sold", "bought", "id"), "Orders"),
        )


def _left(quote: Quote, now: datetime) -> dict[str, object]:
    """The time that a quote has left; one that was active when it was read may have ended since."""
    left = max(timedelta(0), quote.expires_at - now)
    if quote.status != "active":
        return {"left": ""}
    if not left:
        return {"left": "", "status": "expired"}
    seconds = int(left.total_seconds())
    return {"left": f"{seconds // 60}:{seconds % 60:02}"}
