"""Where rates come from: the ECB's reference rates for a base, and a seeded walk that moves them a little."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Any, Final, cast

RateSource = Callable[[str, str], Decimal]
"""Gives the rate from one currency to another (lowercase codes): how much of the second one unit of the first
buys."""

STEP_SHARE: Final = Decimal("0.0005")
"""Largest move from one quote to the next, as a share of the base rate."""

BAND_SHARE: Final = Decimal("0.02")
"""How far the walk may stray from the base rate, as a share of it."""

_DECIMALS_BY_SIZE: Final = (
    (Decimal(10), 2),
    (Decimal("0.1"), 4),
    (Decimal("0.001"), 6),
    (Decimal(0), 10),
)
"""Decimals a rate is quoted with, by its size: the market's habit, and at least four telling digits."""


class UnknownCurrency(ValueError):
    """The rate source has no rate for a currency."""


@lru_cache(maxsize=1)
def _ecb() -> Any:
    # Imported here: a simulation injects its own rates and must never pay for loading this.
    from currency_converter import (
        SINGLE_DAY_CURRENCY_FILE,
        CurrencyConverter,
    )

    # The last day of the bank's history: parsing all of it takes half a second and would buy nothing.
    return CurrencyConverter(SINGLE_DAY_CURRENCY_FILE, decimal=True)


def ecb_rates(from_currency: str, to_currency: str) -> Decimal:
    """The latest ECB reference rate shipped with the program; needs no network.

    Raises `UnknownCurrency` when the bank publishes none for one of the two.
    """
    source = _ecb()
    for code in (from_currency, to_currency):
        if code.upper() not in source.currencies:
            raise UnknownCurrency(f"The ECB publishes no rate for {code}")
    return cast("Decimal", source.convert(1, from_currency.upper(), to_currency.upper()))


class RateWalk:
    """The moving rate of one pair: whole steps around a base, so that it is exact and repeats from a seed."""

    __slots__ = ("_base", "_decimals", "_now", "_random", "_step")

    def __init__(self, base: Decimal, random: Random) -> None:
        if not base.is_finite() or base <= 0:
            raise ValueError(f"A rate must be positive, not {base}")
        self._decimals = next(decimals for size, decimals in _DECIMALS_BY_SIZE if base >= size)
        unit = 10**self._decimals
        self._base = max(1, int(base * unit))
        self._step = max(1, int(base * unit * STEP_SHARE))
        self._now = self._base
        self._random = random

    def next(self) -> str:
        """The rate of the next quote, as a decimal string."""
        moved = self._now + self._random.randint(-self._step, self._step)
        band = max(1, int(self._base * BAND_SHARE))
        self._now = max(1, self._base - band, min(self._base + band, moved))
        whole, part = divmod(self._now, 10**self._decimals)
        return f"{whole}.{part:0{self._decimals}d}"


class RateBoard:
    """A walk for each pair, begun when the pair is first asked for."""

    __slots__ = ("_random", "_source", "_walks")

    def __init__(self, source: RateSource, random: Random) -> None:
        self._source = source
        self._random = random
        self._walks: dict[tuple[str, str], RateWalk] = {}

    def rate(self, pair: tuple[str, str]) -> str:
        """The next rate of `pair`. Raises what the source raises for a pair it does not know."""
        return self.walk(pair).next()

    def walk(self, pair: tuple[str, str]) -> RateWalk:
        """The walk of `pair`; loads its base rate when it is new."""
        walk = self._walks.get(pair)
        if walk is None:
            walk = self._walks[pair] = RateWalk(self._source(*pair), self._random)
        return walk
