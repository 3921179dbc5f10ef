"""How values look: money, rates, times and spans as text. The one place for each, with `Decimal` throughout.

The server writes numbers in one plain way (`1,250.50`) and instants in UTC; in the browser small elements rewrite both
for the viewer's locale and time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from parallax.domain.money import NO_CURRENCY, Money, Rate
from parallax.domain.plurals import count

SHORT_ID: Final = 13
"""Characters of an id that tell it from others in a list, and find it in a search: ids that begin with the time, as
the desk's own do, differ late."""

MINUS: Final = "−"


def exact(money: Money) -> str:
    """The amount as plain digits: in minor units, or with more digits when it has them. Never an exponent."""
    rounded = money.rounded
    return rounded.wire if rounded.amount == money.amount else money.wire


def digits(money: Money) -> str:
    """The amount with thousands grouped: `1,250.50`."""
    whole, point, fraction = exact(money).partition(".")
    return f"{int(whole):,}{point}{fraction}"


def code(money: Money) -> str:
    """The currency's code, empty where none is known."""
    return "" if money.currency is NO_CURRENCY else money.currency.code


def amount(money: Money) -> str:
    """`1,250.50 USD`."""
    return f"{digits(money)} {code(money)}".rstrip()


@dataclass(frozen=True, slots=True)
class Move:
    """How a rate differs from the one before: `direction` is up, down or same."""

    direction: str
    text: str
    words: str


def move(rate: Rate, before: Rate | None) -> Move | None:
    """The change from `before` to `rate`, or None where there is nothing to compare with."""
    if before is None or before.pair != rate.pair:
        return None
    difference = rate.value - before.value
    if difference == 0:
        return Move("same", "0.00%", "unchanged from the quote before")
    share = (difference / before.value * 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    sign, direction, word = ("+", "up", "up") if difference > 0 else (MINUS, "down", "down")
    text = f"{sign}{abs(share):f}%"
    return Move(direction, text, f"{word} {abs(difference):f} from the quote before")


def iso(at: datetime) -> str:
    """An instant for machines: UTC to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_time(at: datetime) -> str:
    """`12:03:04 UTC`."""
    return at.astimezone(UTC).strftime("%H:%M:%S UTC")


def utc_instant(at: datetime) -> str:
    """`2026-01-31 12:03:04 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970, for the browser's clock."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def countdown(left: timedelta) -> str:
    """`4:09`, never below zero."""
    minutes, seconds = divmod(max(0, left // timedelta(seconds=1)), 60)
    return f"{minutes}:{seconds:02}"


def span(length: timedelta) -> str:
    """A length of time in the words of a person: `3 s`, `2 min 5 s`, `4 h 10 min`, `3 days`."""
    seconds = max(0, length // timedelta(seconds=1))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3_600:
        rest = f" {seconds % 60} s" if seconds % 60 else ""
        return f"{seconds // 60} min{rest}"
    if seconds < 86_400:
        rest = f" {seconds % 3_600 // 60} min" if seconds % 3_600 // 60 else ""
        return f"{seconds // 3_600} h{rest}"
    days = seconds // 86_400
    return count(days, "day")


def signed_seconds(offset: timedelta) -> str:
    """`+2.5 s`, `−0.3 s`."""
    tenths = abs(offset) // timedelta(milliseconds=100)
    sign = "" if tenths == 0 else MINUS if offset < timedelta(0) else "+"
    return f"{sign}{tenths // 10}.{tenths % 10} s"


def short(identifier: str) -> str:
    """The beginning of an id."""
    return identifier[:SHORT_ID]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
