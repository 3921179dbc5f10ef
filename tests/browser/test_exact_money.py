"""The browser reckons as the server does: the same words for bad amounts, the same digits for good ones."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from parallax.domain.errors import AmountInvalid
from parallax.domain.money import Rate, currency, parse_amount
from tests.browser.conftest import People

CURRENCIES = ("USD", "JPY", "KWD", "PHP", "CLF")
CASES = 1_500

RECKON = """async (cases) => {
  const source = document.querySelector('link[href$="/js/money.js"]').href;
  const { parseAmount, parseRate, convert, amountFor, plain } = await import(source);
  return cases.map(([text, rate, from, fromDigits, to, toDigits, side]) => {
    try {
      const value = parseAmount(text, side === "send" ? from : to, side === "send" ? fromDigits : toDigits);
      const sent = side === "send" ? value : amountFor(value, parseRate(rate), fromDigits, toDigits);
      return [plain(sent), plain(convert(sent, parseRate(rate), toDigits))];
    } catch (error) {
      return [error.message, ""];
    }
  });
}"""


def texts(random: Random) -> str:
    """An amount as someone might type it, good or bad."""
    digits = "".join(random.choice("0123456789") for _ in range(random.randint(1, 18)))
    match random.randrange(8):
        case 0:
            return f"{random.randint(1, 999)},{random.randint(0, 999):03}.{random.randint(0, 99):02}"
        case 1:
            return f"  {digits} "
        case 2:
            return f"{random.randint(1, 999)} {random.randint(0, 999):03} {random.randint(0, 999):03}"
        case 3:
            return random.choice(
                ["", " ", "abc", "-5", "1e9", "NaN", "1.", ".5", "1,00", "0", "0.00", "١٢", "1_0"]
            )
        case 4:
            return f"{digits[:6]}.{random.randint(0, 99_999)}"
        case _:
            return f"{int(digits[:9])}.{random.randint(0, 99):02}"


def reckoned(text: str, rate: Rate, side: str) -> list[str]:
    """What the server makes of it."""
    try:
        if side == "send":
            sent = parse_amount(text, rate.from_currency, grouped=True)
        else:
            sent = rate.amount_for(parse_amount(text, rate.to_currency, grouped=True))
    except AmountInvalid as error:
        return [error.words, ""]
    return [sent.wire, rate.convert(sent).wire]


def test_browser_and_server_agree_on_every_amount(people: People, desk: str) -> None:
    random = Random(20_260_101)
    cases: list[list[object]] = []
    expected: list[list[str]] = []
    for _ in range(CASES):
        sold, bought = random.sample(CURRENCIES, 2)
        value = Decimal(random.randint(1, 10**8)).scaleb(-random.randint(0, 6))
        rate = Rate(value, currency(sold), currency(bought))
        text, side = texts(random), random.choice(["send", "receive"])
        digits = (rate.from_currency.digits, rate.to_currency.digits)
        cases.append([text, rate.wire, sold, digits[0], bought, digits[1], side])
        expected.append(reckoned(text, rate, side))
    found = people.window(f"{desk}/").evaluate(RECKON, cases)
    differing = [
        (case, ours, theirs)
        for case, ours, theirs in zip(cases, expected, found, strict=True)
        if [_plain(part) for part in ours] != [_plain(part) for part in theirs]
    ]
    assert differing[:5] == []


def _plain(text: str) -> str:
    """Digits without the zeros in front that a person may have typed."""
    return text.lstrip("0") if text[:1].isdigit() else text
