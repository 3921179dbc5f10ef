"""What verbs take, in the forms that programs have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from parallax.client.values import Order, Quote
from parallax.domain.entities import Incident, User

SETTLE_SECONDS: Final = 60.0
"""How long an order is waited for unless told otherwise: orders usually settle within ten seconds."""


def id_of(subject: User | Quote | Order | Incident | str) -> str:
    """The id of a value, or the id itself."""
    return subject if isinstance(subject, str) else subject.id


def words_of(words: str | Iterable[str]) -> tuple[str, ...]:
    """One word or several, as several."""
    return (words,) if isinstance(words, str) else tuple(words)
