"""Lists in pages, newest first, that neither repeat nor lose a row while new ones come in.

A cursor names the last row that was shown, by its time and id; what follows it is found again whatever has been added
in front of it. Rows of one instant are ordered by id, so that memory and journal give the same order.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Generic, Protocol, TypeVar

import msgspec

from parallax.ports.journal import MAX_PAGE
from parallax.web.api.errors import ApiError

MAX_LIMIT: Final = 1_000
"""Rows of one page at most."""

DEFAULT_LIMIT: Final = 100
"""Rows of a page when only a cursor or a filter is given."""

MAX_CURSOR: Final = 256
"""Characters of a cursor."""

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


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row that was looked at, and the offset of the first row of its instant when it was."""

    at: datetime
    id: str
    offset: int

    @property
    def text(self) -> str:
        """The cursor as it travels."""
        written = msgspec.json.encode((self.at, self.id, self.offset))
        return urlsafe_b64encode(written).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The cursor of its text. Raises `ApiError`."""
        try:
            written = urlsafe_b64decode(text[:MAX_CURSOR].encode("ascii") + b"=" * (-len(text) % 4))
            return cls(*msgspec.json.decode(written, type=_Travelling))
        except ValueError:
            raise invalid("cursor", "This is no cursor of ours: begin again without one.") from None


_Travelling = tuple[
    Annotated[datetime, msgspec.Meta(tz=True)],
    Annotated[str, msgspec.Meta(max_length=64)],
    Annotated[int, msgspec.Meta(ge=0, lt=2**53)],
]


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


async def page(
    fetch: Fetch[Row],
    wanted: Wanted,
    fits: Callable[[Row], bool] | None = None,
    *,
    most: int = MAX_LOOKED_THROUGH,
) -> Page[Row]:
    """The page that is asked for, of the rows that fit. Looks through `most` rows, and then some of one instant."""
    after = wanted.cursor
    first = after.offset if after else 0
    key = (after.at, after.id) if after else None
    found: list[Row] = []
    last: Cursor | None = after
    looked = 0
    async for group, offset in _instants(fetch, first, wanted.limit + 1):
        if key is not None and group[0].created_at > key[0]:
            continue  # came in front of what was shown
        if wanted.since is not None and group[0].created_at < wanted.since:
            return Page(found, None)
        for row in group:
            if key is not None and (row.created_at, row.id) >= key:
                continue
            if len(found) == wanted.limit or looked >= most:
                return Page(found, last)
            looked += 1
            if fits is None or fits(row):
                found.append(row)
            last = Cursor(row.created_at, row.id, offset)
    return Page(found, None)


async def _instants(fetch: Fetch[Row], offset: int, limit: int) -> AsyncIterator[tuple[list[Row], int]]:
    """Rows from an offset in groups of one instant, each by id downwards, with the offset of its first row."""
    held: list[Row] = []
    while True:  # ends: a list is finite, and each turn reads on
        wanted = min(limit, MAX_PAGE)
        rows = await fetch(offset + len(held), wanted)
        held += rows
        begin = 0
        for index in range(1, len(held)):
            if held[index].created_at != held[begin].created_at:
                yield _by_id(held[begin:index]), offset + begin
                begin = index
        held, offset, limit = held[begin:], offset + begin, MAX_PAGE
        if len(rows) < wanted:
            if held:
                yield _by_id(held), offset
            return


def _by_id(group: list[Row]) -> list[Row]:
    return sorted(group, key=lambda row: row.id, reverse=True) if len(group) > 1 else group


def whole(field: str, text: str, least: int, most: int) -> int:
    """A whole number between bounds. Raises `ApiError`."""
    if text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most:
        return int(text)
    raise invalid(field, f"This is a whole number from {least} to {most}.")


def moment(field: str, text: str) -> datetime:
    """An instant in ISO 8601; one without a zone is UTC, as the exchange writes its own. Raises `ApiError`."""
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
