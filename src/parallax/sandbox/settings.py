"""What a sandbox exchange can be told to be like: one frozen value, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, cast

from parallax.sandbox.model import USER_FIXTURES, User
from parallax.sandbox.refusals import REFUSAL_SHAPES

MAX_SECONDS: Final = 86_400.0
"""Longest duration any setting or fault takes: a day. Longer is a typing mistake, not a drill."""

MAX_SEEDED_QUOTES: Final = 500_000
"""Most quotes made ahead in one go: enough for every benchmark, small enough for a laptop's memory."""


class InvalidSetting(ValueError):
    """A setting has a value the sandbox cannot work with; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How the exchange behaves when nothing is wrong. Durations are seconds.

    Raises `InvalidSetting` when a value makes no sense.
    """

    users: tuple[User, ...] = USER_FIXTURES
    pairs: tuple[tuple[str, str], ...] = (("usd", "php"),)
    """Currency pairs quotes are drawn from, lowercase; a quote picks one of them at random."""
    quote_valid_seconds: float = 300.0
    settle_seconds: tuple[float, float] = (5.0, 10.0)
    """Shortest and longest time from acceptance to settlement; drawn uniformly for each order."""
    fail_share: float = 0.1
    """Share of orders that settle as failed, 0 to 1."""
    skew_seconds: float = 0.0
    """How far the exchange's own clock is ahead of the clock it was given."""
    refusal_shape: str = "both"
    """Body of every refusal: one of `REFUSAL_SHAPES`."""
    created_status: int = 201
    """Status of an answer that made something: 201 or 200."""
    created_fraction: bool = False
    """Whether `created_at` carries microseconds."""
    quotes: int = 0
    """Quotes that exist before the first call, made over the quote's validity up to now."""

    def __post_init__(self) -> None:
        if not self.users:
            raise InvalidSetting("users", "must name at least one user")
        if len({user.id for user in self.users}) != len(self.users):
            raise InvalidSetting("users", "must have distinct ids")
        if not self.pairs:
            raise InvalidSetting("pairs", "must name at least one pair")
        for pair in self.pairs:
            if len(pair) != 2 or not all(_is_currency(code) for code in pair) or pair[0] == pair[1]:
                raise InvalidSetting("pairs", 'must be pairs of two lowercase codes such as ("usd", "php")')
        _check_seconds("quote_valid_seconds", self.quote_valid_seconds, 0.0)
        low, high = self.settle_seconds
        _check_seconds("settle_seconds", low, 0.0)
        _check_seconds("settle_seconds", high, low)
        _check_seconds("skew_seconds", self.skew_seconds, -MAX_SECONDS)
        if not 0.0 <= self.fail_share <= 1.0:
            raise InvalidSetting("fail_share", "must be from 0 to 1")
        if self.refusal_shape not in REFUSAL_SHAPES:
            raise InvalidSetting("refusal_shape", f"must be one of {', '.join(REFUSAL_SHAPES)}")
        if self.created_status not in (200, 201):
            raise InvalidSetting("created_status", "must be 200 or 201")
        if not 0 <= self.quotes <= MAX_SEEDED_QUOTES:
            raise InvalidSetting("quotes", f"must be from 0 to {MAX_SEEDED_QUOTES}")

    def changed(self, changes: Mapping[str, object]) -> SandboxSettings:
        """These settings with `changes` (values as they come from JSON) applied.

        Raises `InvalidSetting` for a name that cannot be changed while running, or a bad value.
        """
        values: dict[str, Any] = {}
        for name, value in changes.items():
            reader = _CHANGEABLE.get(name)
            if reader is None:
                raise InvalidSetting(name, f"cannot be changed; changeable are {', '.join(_CHANGEABLE)}")
            values[name] = reader(name, value)
        return replace(self, **values)

    def changeable(self) -> dict[str, object]:
        """The settings that can be changed while running, as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in _CHANGEABLE}


def _is_currency(code: object) -> bool:
    return isinstance(code, str) and len(code) == 3 and code.isascii() and code.isalpha() and code.islower()


def _check_seconds(field: str, value: float, minimum: float) -> None:
    if not minimum <= value <= MAX_SECONDS:  # false for NaN too
        raise InvalidSetting(field, f"must be from {minimum:g} to {MAX_SECONDS:g} seconds")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSetting(name, "must be a number")
    return float(value)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidSetting(name, "must be a whole number")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidSetting(name, "must be true or false")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidSetting(name, "must be a text")
    return value


def _range(name: str, value: object) -> tuple[float, float]:
    items = cast("list[object]", value) if isinstance(value, (list, tuple)) else []
    if len(items) != 2:
        raise InvalidSetting(name, "must be a list of two numbers")
    return _number(name, items[0]), _number(name, items[1])


def _pairs(name: str, value: object) -> tuple[tuple[str, str], ...]:
    message = 'must be a list such as [["usd", "php"]]'
    if not isinstance(value, (list, tuple)):
        raise InvalidSetting(name, message)
    pairs: list[tuple[str, str]] = []
    for item in cast("list[object]", value):
        codes = cast("list[object]", item) if isinstance(item, (list, tuple)) else []
        if len(codes) != 2:
            raise InvalidSetting(name, message)
        pairs.append((_text(name, codes[0]), _text(name, codes[1])))
    return tuple(pairs)


_CHANGEABLE: Final[dict[str, Callable[[str, object], object]]] = {
    "pairs": _pairs,
    "quote_valid_seconds": _number,
    "settle_seconds": _range,
    "fail_share": _number,
    "skew_seconds": _number,
    "refusal_shape": _text,
    "created_status": _whole,
    "created_fraction": _flag,
}
