"""Money is exact: currencies, amounts and rates, and the one place where a result is rounded.

>>> usd, php = currency("USD"), currency("PHP")
>>> rate = Rate(Decimal("54.02"), usd, php)
>>> str(rate.convert(parse_amount("1.08", usd)))
'58.34 PHP'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, ROUND_UP, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final

import iso4217
from msgspec import Struct

from parallax.domain.errors import AmountInvalid, CurrencyUnknown
from parallax.domain.plurals import count

MAX_INTEGER_DIGITS: Final = 15
"""Digits before the point of an amount: a thousand times the largest payment any venue takes."""

MAX_WIRE_LENGTH: Final = 100
"""Characters of an amount that a venue gives (at most 64), or of what it buys at the longest rate."""

MAX_RATE_DIGITS: Final = 30
"""Digits of a rate, both sides of the point together: more is a broken answer, not a price."""

_EXACT: Final = Context(prec=100)
"""Wide enough that amount × rate (at most 64 + 30 digits, where a venue gives both) never rounds before we say so."""

_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SEPARATORS: Final = ", \u00a0\u202f"
_GROUPED: Final = re.compile(rf"[0-9]{{1,3}}(?:([{_SEPARATORS}])[0-9]{{3}}(?:\1[0-9]{{3}})*)(?:\.[0-9]+)?")


class Currency(Struct, frozen=True):
    """An ISO 4217 currency: its `code` ("USD") and how many `digits` its minor unit has (2)."""

    code: str
    digits: int

    @property
    def unit(self) -> Decimal:
        """The smallest amount: `Decimal("0.01")` for USD, `Decimal("1")` for JPY."""
        return Decimal(1).scaleb(-self.digits)

    def __str__(self) -> str:
        return self.code


NO_MINOR_UNIT: Final = 18
"""The `digits` of a currency that has no minor unit, like gold (XAU): its amounts are never rounded."""

NO_CURRENCY: Final = Currency("XXX", NO_MINOR_UNIT)
"""ISO 4217's code for "no currency": an order adopted from a venue that no longer lists its quote."""


@lru_cache(maxsize=512)
def currency(code: str) -> Currency:
    """The currency of an ISO 4217 `code`, in either case. Raises `CurrencyUnknown`."""
    upper = code.upper()
    if upper == NO_CURRENCY.code:
        return NO_CURRENCY
    try:
        entry = iso4217.Currency(upper)
    except ValueError:
        raise CurrencyUnknown(code) from None
    return Currency(upper, NO_MINOR_UNIT if entry.exponent is None else entry.exponent)


class Money(Struct, frozen=True):
    """An exact amount of one currency. The amount keeps the digits it was written with ("100" stays "100")."""

    amount: Decimal
    currency: Currency

    def __post_init__(self) -> None:
        if not self.amount.is_finite():
            raise AmountInvalid("not_a_number", "An amount is a finite number.")

    @property
    def wire(self) -> str:
        """The plain decimal string, never with an exponent: what is sent to the venue."""
        return format(self.amount, "f")

    @property
    def rounded(self) -> Money:
        """This amount in the currency's minor units; the one rounding rule of the desk: half away from zero."""
        if self.currency.digits == NO_MINOR_UNIT:
            return self
        return Money(self.amount.quantize(self.currency.unit, ROUND_HALF_UP, _EXACT), self.currency)

    def __str__(self) -> str:
        return f"{self.rounded.wire} {self.currency.code}"


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of `to_currency` one unit of `from_currency` buys. Always positive and finite."""

    value: Decimal
    from_currency: Currency
    to_currency: Currency
    wire: str = field(init=False, repr=False, compare=False)
    """The plain decimal string of the rate."""

    def __post_init__(self) -> None:
        if not (self.value.is_finite() and self.value > 0):
            raise AmountInvalid("rate_not_positive", "A rate is a finite number above zero.")
        object.__setattr__(self, "wire", format(self.value, "f"))

    @property
    def pair(self) -> str:
        """ "USD/PHP"."""
        return f"{self.from_currency.code}/{self.to_currency.code}"

    def convert(self, sent: Money) -> Money:
        """What `sent` buys: multiplied exactly, then rounded once to minor units (half away from zero)."""
        if sent.currency != self.from_currency:
            raise AmountInvalid("wrong_currency", f"This quote sells {self.from_currency.code}.")
        return Money(_EXACT.multiply(sent.amount, self.value), self.to_currency).rounded

    def amount_for(self, wanted: Money) -> Money:
        """The least amount to send that buys at least `wanted`, in minor units of `from_currency`."""
        if wanted.currency != self.to_currency:
            raise AmountInvalid("wrong_currency", f"This quote buys {self.to_currency.code}.")
        with localcontext(_EXACT):
            enough = (
                wanted.amount - self.to_currency.unit / 2
            )  # from here on a product rounds to what is wanted
            sent = (enough / self.value).quantize(self.from_currency.unit, ROUND_UP)
        return Money(max(sent, self.from_currency.unit), self.from_currency)


def parse_amount(text: str, unit: Currency, *, grouped: bool = False) -> Money:
    """Read an amount that a person or a program wrote, strictly.

    Accepts ASCII digits with at most the currency's minor units, more than zero, at most 15 digits before
    the point. With `grouped` (forms), also surrounding blanks and one kind of thousands separator (a comma or
    a space) at proper places. Raises `AmountInvalid`, whose words can be shown beside the field.
    """
    written = text.strip() if grouped else text
    if not written:
        raise AmountInvalid("missing", "Enter an amount.")
    if len(written) > 64:
        raise AmountInvalid("too_long", "That is too long for an amount.")
    if grouped and _GROUPED.fullmatch(written):
        written = re.sub(f"[{_SEPARATORS}]", "", written)
    if not _PLAIN.fullmatch(written):
        raise AmountInvalid("not_a_number", "Use digits with a point for decimals, like 1250.50.")
    whole, _, fraction = written.partition(".")
    if len(whole.lstrip("0")) > MAX_INTEGER_DIGITS:
        raise AmountInvalid("too_large", f"At most {MAX_INTEGER_DIGITS} digits before the point.")
    if len(fraction) > unit.digits:
        raise AmountInvalid("too_precise", _decimals(unit))
    amount = Decimal(written)
    if amount <= 0:
        raise AmountInvalid("not_positive", "The amount must be more than zero.")
    return Money(amount, unit)


def parse_rate(text: str, from_currency: Currency, to_currency: Currency) -> Rate:
    """Read a rate from the wire: a plain decimal string above zero. Raises `AmountInvalid`."""
    if len(text) > MAX_RATE_DIGITS + 1 or not _PLAIN.fullmatch(text):
        raise AmountInvalid("rate_not_a_number", "A rate is a plain decimal number.")
    return Rate(Decimal(text), from_currency, to_currency)


@lru_cache(maxsize=4_096)
def recorded_rate(text: str, from_code: str, to_code: str) -> Rate:
    """The rate of a text and two currency codes. Prices repeat: the quotes of a pair share theirs, which spares half of
    what a long list costs and a quarter of what it takes to keep. Raises `AmountInvalid` or `CurrencyUnknown`."""
    return parse_rate(text, currency(from_code), currency(to_code))


def parse_wire_amount(text: str, unit: Currency) -> Money:
    """Read an amount as a venue gives it back: plain digits of any precision. Raises `AmountInvalid`."""
    if len(text) > MAX_WIRE_LENGTH or not _PLAIN.fullmatch(text):
        raise AmountInvalid("not_a_number", "An amount is a plain decimal number.")
    return Money(Decimal(text), unit)


def _decimals(unit: Currency) -> str:
    if unit.digits == 0:
        return f"{unit.code} has no decimals."
    return f"{unit.code} has {count(unit.digits, 'decimal')}."
