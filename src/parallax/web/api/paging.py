"""Lists in pages, newest first, that neither repeat nor lose a row while new ones come in.

A cursor names the last row that was looked at, by its time, id and offset. Rows are only ever added, so it is found
again at that offset or behind, by as much as has come in front of it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, TypeVar

from parallax.ports.journal import MAX_PAGE
from parallax.web.api.errors import ApiError

MAX_LIMIT: Final = 1_000
"""Rows of one page at most."""

DEFAULT_LIMIT: Final = 100
"""Rows of a page when only a cursor or a filter is given."""

MAX_LOOKED_THROUGH: Final = 10_000
"""Rows that one request looks through for those that a filter wants; it may then show fewer than its limit, and the
next one goes on behind them."""


class Dated(Protocol):
    """What a list is made of."""

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


Row = TypeVar("Row", bound=Dated)

Fetch = Callable[[int, int], Awaitable[Sequence[Row]]]
"""Rows from an offset, up to a limit, newest first; fewer than the limit only at the end."""


CURSOR: Final = r"[0-9]{1,16}\.[0-9]{1,12}\.[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
"""What a cursor looks like: microseconds since 1970, an offset, an id. Any such text is one."""

_CURSOR: Final = re.compile(CURSOR)
_UNESCAPED_PLUS: Final = re.compile(r":\d\d(\.\d+)? \d\d:?\d\d$", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row that was looked at, and where it was then."""

    at: datetime
    id: str
    offset: int

    @property
    def text(self) -> str:
        """The cursor as it travels."""
        return f"{(self.at - _EPOCH) // _MICROSECOND}.{self.offset}.{self.id}"

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The cursor of its text. Raises `ApiError`."""
        if not _CURSOR.fullmatch(text):
            raise invalid("cursor", "This is no cursor of ours: begin again without one.")
        at, offset, last = text.split(".", 2)
        return cls(_EPOCH + timedelta(microseconds=int(at)), last, int(offset))


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list, and where the next part begins (None: there is no more)."""

    rows: list[Row]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of a list."""

    limit: int = DEFAULT_LIMIT
    cursor: Cursor | None = None
    since: datetime | None = None

    @classmethod
    def read(cls, parameters: dict[str, str]) -> Wanted:
        """From a query's parameters. Raises `ApiError`."""
        limit, cursor = parameters.get("limit"), parameters.get("cursor")
        return cls(
            DEFAULT_LIMIT if limit is None else whole("limit", limit, 1, MAX_LIMIT),
            None if cursor is None else Cursor.read(cursor),
            moment("since", parameters["since"]) if "since" in parameters else None,
        )


async def page(fetch: Fetch[Row], wanted: Wanted, fits: Callable[[Row], bool] | None = None) -> Page[Row]:
    """The page that is asked for, of the rows that fit."""
    after = wanted.cursor
    found: list[Row] = []
    last = after
    looked = 0
    async for row, offset in _rows(fetch, after.offset if after else 0, wanted.limit + 2):
        if after is not None and row.created_at >= after.at:
            # What came in since stands in front of the row that was shown last, and has pushed it back.
            if row.id == after.id:
                after = None
            elif looked == MAX_LOOKED_THROUGH:
                return Page(found, Cursor(after.at, after.id, offset))
            looked += 1
            continue
        after = None
        if wanted.since is not None and row.created_at < wanted.since:
            break
        if len(found) == wanted.limit or looked >= MAX_LOOKED_THROUGH:
            return Page(found, last)
        looked += 1
        if fits is None or fits(row):
            found.append(row)
        last = Cursor(row.created_at, row.id, offset)
    return Page(found, None)


async def _rows(fetch: Fetch[Row], offset: int, limit: int) -> AsyncIterator[tuple[Row, int]]:
    """Rows from an offset on, each with its own; `limit` of them to begin with.

    What comes in between two reads pushes rows back that were told already: each read begins with the last one told.
    """
    told: Row | None = None
    while True:  # ends: a list is finite, and each turn reads on
        wanted = min(limit, MAX_PAGE)
        rows = await fetch(offset, wanted)
        sought = told
        following = offset + len(rows)
        for place, row in enumerate(rows, offset):
            if sought is not None and row.created_at >= sought.created_at:
                if row.id == sought.id:
                    sought, following = None, place
                continue
            sought = None
            yield row, place
            told, following = row, place
        if len(rows) < wanted:
            return
        offset, limit = following, MAX_PAGE


def whole(field: str, text: str, least: int, most: int) -> int:
    """A whole number between bounds. Raises `ApiError`."""
    if text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most:
        return int(text)
    raise invalid(field, f"This is a whole number from {least} to {most}.")


def moment(field: str, text: str) -> datetime:
    """An instant in ISO 8601; one without a zone is UTC, as the exchange writes its own. Raises `ApiError`.

    A plus that was not escaped arrives as a blank: "…T12:00:00 02:00" is two hours east of UTC.
    """
    if _UNESCAPED_PLUS.search(text):
        text = "+".join(text.rsplit(" ", 1))
    try:
        at = datetime.fromisoformat(text) if text.isascii() and len(text) <= 40 else None
        if at is not None:
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise invalid(field, "This is an instant like 2026-01-31T12:00:00Z.")


def choice(field: str, text: str, allowed: frozenset[str]) -> frozenset[str]:
    """Words from a set, separated by commas. Raises `ApiError`."""
    given = frozenset(text.split(","))
    if not given <= allowed:
        raise invalid(field, f"Choose from {', '.join(sorted(allowed))}, separated by commas.")
    return given


def flag(field: str, text: str) -> bool:
    """`true` or `false`. Raises `ApiError`."""
    if text not in ("true", "false"):
        raise invalid(field, "This is true or false.")
    return text == "true"


def invalid(field: str, words: str) -> ApiError:
    """What a parameter or a field of the body is refused with."""
    return ApiError("request_invalid", f"{field}: {words}", {field: [words]})
