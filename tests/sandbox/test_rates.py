"""Rates start from the ECB's and move a little, exactly, from a seed."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallax.sandbox import Exchange, InvalidSetting, ecb_rates
from parallax.sandbox.rates import BAND_SHARE, RateWalk, UnknownCurrency


def test_the_base_is_a_real_rate_and_needs_no_network() -> None:
    assert Decimal(40) < ecb_rates("usd", "php") < Decimal(90)
    assert ecb_rates("eur", "usd") * ecb_rates("usd", "eur") == pytest.approx(Decimal(1))


def test_a_currency_without_a_rate_is_named() -> None:
    with pytest.raises(UnknownCurrency, match="xxx"):
        ecb_rates("usd", "xxx")
    with pytest.raises(InvalidSetting, match="xxx"):
        Exchange().configure({"pairs": [["usd", "xxx"]]})


@given(st.decimals("0.0000001", "100000", places=7), st.integers(0, 1000))
def test_a_walk_stays_near_its_base_and_is_always_positive(base: Decimal, seed: int) -> None:
    walk = RateWalk(base, Random(seed))
    for _ in range(50):
        rate = Decimal(walk.next())
        assert rate > 0
        assert abs(rate - base) <= base * BAND_SHARE + Decimal("0.01")


def test_a_rate_moves_a_little_and_keeps_its_decimals() -> None:
    walk = RateWalk(Decimal("54.4213"), Random(1))
    rates = [walk.next() for _ in range(200)]
    assert all(len(rate.partition(".")[2]) == 2 for rate in rates)
    steps = [abs(Decimal(a) - Decimal(b)) for a, b in pairwise(rates)]
    assert max(steps) <= Decimal("0.03")
    assert any(steps)


@pytest.mark.parametrize(("base", "decimals"), [("151.2", 2), ("1.0842", 4), ("0.0183", 6), ("0.00006", 10)])
def test_small_rates_have_more_decimals(base: str, decimals: int) -> None:
    assert len(RateWalk(Decimal(base), Random(1)).next().partition(".")[2]) == decimals


@pytest.mark.parametrize("base", ["0", "-1", "NaN", "Infinity"])
def test_a_senseless_base_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        RateWalk(Decimal(base), Random(1))
