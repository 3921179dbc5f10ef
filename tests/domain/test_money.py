"""Money is exact: parsing, conversion, rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallax.domain.errors import AmountInvalid, CurrencyUnknown
from parallax.domain.money import (
    Money,
    Rate,
    currency,
    parse_amount,
    parse_rate,
    parse_wire_amount,
)

USD, PHP, JPY = currency("USD"), currency("PHP"), currency("JPY")

cents = st.integers(min_value=1, max_value=10**17 - 1).map(lambda n: Decimal(n).scaleb(-2))
rates = st.decimals(
    min_value="0.000001", max_value="1000000", places=6, allow_nan=False, allow_infinity=False
)


def test_one_oh_eight_at_54_02_is_58_34() -> None:
    """The original showed 58.34160000000001."""
    rate = parse_rate("54.02", USD, PHP)
    assert str(rate.convert(parse_amount("1.08", USD))) == "58.34 PHP"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abc", "not_a_number"),
        ("-5", "not_a_number"),
        ("12abc", "not_a_number"),
        ("1e400", "not_a_number"),
        ("NaN", "not_a_number"),
        ("sNaN", "not_a_number"),
        ("Infinity", "not_a_number"),
        ("", "missing"),
        ("  ", "missing"),
        ("0", "not_positive"),
        ("0.00", "not_positive"),
        ("1.005", "too_precise"),
        (".5", "not_a_number"),
        ("5.", "not_a_number"),
        ("+5", "not_a_number"),
        ("\u0665", "not_a_number"),
        ("1_000", "not_a_number"),
        ("1,00", "not_a_number"),
        ("1,0000", "not_a_number"),
        ("1,000 000", "not_a_number"),
        ("1" * 16, "too_large"),
        ("1" * 65, "too_long"),
        ("1\n", "not_a_number"),
    ],
)
def test_what_is_no_amount_is_refused_in_words(text: str, reason: str) -> None:
    for grouped in (False, True):
        if grouped and text == "1\n":
            continue  # blanks around are fine in a form
        with pytest.raises(AmountInvalid) as refused:
            parse_amount(text, USD, grouped=grouped)
        assert refused.value.reason == (reason if grouped or text.strip() or not text else "not_a_number")
        assert refused.value.words.endswith(".")


def test_precision_is_the_currencys_and_said_so() -> None:
    with pytest.raises(AmountInvalid, match="USD has 2 decimals"):
        parse_amount("1.234", USD)
    with pytest.raises(AmountInvalid, match="JPY has no decimals"):
        parse_amount("1.2", JPY)
    assert parse_amount("1.234", currency("KWD")).wire == "1.234"


@pytest.mark.parametrize("text", ["1,250.50", " 1250.50 ", "1 250.50", "1\u00a0250.50", "1\u202f250.50"])
def test_forms_take_separators_and_blanks(text: str) -> None:
    assert parse_amount(text, USD, grouped=True).amount == Decimal("1250.50")
    with pytest.raises(AmountInvalid):
        parse_amount(text, USD)


def test_an_amount_keeps_its_digits_on_the_wire() -> None:
    assert parse_amount("100", USD).wire == "100"
    assert parse_amount("100.10", USD).wire == "100.10"
    assert str(parse_amount("100", USD)) == "100.00 USD"


def test_a_currency_nobody_knows() -> None:
    with pytest.raises(CurrencyUnknown):
        currency("ZZZ")


@given(amount=cents, rate=rates)
def test_conversion_is_the_exact_product_rounded_once_half_up(amount: Decimal, rate: Decimal) -> None:
    shown = Rate(rate, USD, PHP).convert(Money(amount, USD)).amount
    exact = Fraction(amount) * Fraction(rate)
    whole, rest = divmod(exact * 100, 1)
    assert Fraction(shown) * 100 == whole + (1 if rest >= Fraction(1, 2) else 0)


@given(wanted=st.integers(min_value=1, max_value=10**12), rate=rates)
def test_the_other_side_is_the_least_amount_that_buys_what_is_wanted(wanted: int, rate: Decimal) -> None:
    target = Money(Decimal(wanted).scaleb(-2), PHP)
    sent = Rate(rate, USD, PHP).amount_for(target)
    assert Rate(rate, USD, PHP).convert(sent).amount >= target.amount
    less = sent.amount - USD.unit
    if less > 0:
        assert Rate(rate, USD, PHP).convert(Money(less, USD)).amount < target.amount


@given(text=st.text(max_size=80))
def test_any_text_is_an_amount_or_a_refusal(text: str) -> None:
    for read in (
        lambda: parse_amount(text, USD),
        lambda: parse_amount(text, USD, grouped=True),
        lambda: parse_wire_amount(text, USD),
    ):
        try:
            money = read()
        except AmountInvalid:
            continue
        assert money.amount.is_finite()
        assert money.amount >= 0


@given(amount=cents)
def test_an_amount_survives_the_wire(amount: Decimal) -> None:
    money = Money(amount, USD)
    assert parse_wire_amount(money.wire, USD) == money


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-1", "0"])
def test_a_rate_is_a_finite_number_above_zero(value: str) -> None:
    with pytest.raises(AmountInvalid):
        Rate(Decimal(value), USD, PHP)


def test_money_of_the_wrong_currency_is_not_converted() -> None:
    rate = parse_rate("54.02", USD, PHP)
    with pytest.raises(AmountInvalid):
        rate.convert(parse_amount("1", PHP))
    with pytest.raises(AmountInvalid):
        rate.amount_for(parse_amount("1", USD))
