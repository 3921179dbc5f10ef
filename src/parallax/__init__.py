"""Parallax: a self-hosted quote-to-order desk for currency exchange.

For programs (docs/python.md explains; every name below is loaded when it is first used):

- `open_desk()` opens a desk inside this program: the whole of it, on the sandbox exchange unless told otherwise.
- `Client(url)` and `AsyncClient(url)` talk to a desk that runs elsewhere. All have the same verbs.
- `User`, `Quote`, `Order`, `Event`, `Status`, `Incident` are what they show; `facts` are the kinds of events.
- The errors are all `DeskError`s, and `str(error)` says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from parallax.client.asynchronous import AsyncClient, AsyncDesk
    from parallax.client.blocking import Client
    from parallax.client.errors import DeskUnavailable, OrderNotPlaced, OrderUnknown, RequestInvalid
    from parallax.client.values import Event, Order, Quote, Status
    from parallax.domain import facts
    from parallax.domain.entities import Incident, User
    from parallax.domain.errors import (
        AmountInvalid,
        DeskError,
        DeskPaused,
        DeskStopping,
        JournalFailed,
        KeyReused,
        NotFound,
        NotReadYet,
        PossibleDuplicate,
        QuoteExpired,
        QuoteTaken,
        VenueUnavailable,
    )
    from parallax.domain.money import Currency, Money, Rate
    from parallax.domain.transitions import OrderState, QuoteStatus
    from parallax.embedded import open_desk
    from parallax.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AmountInvalid",
    "AsyncClient",
    "AsyncDesk",
    "Client",
    "Currency",
    "DeskError",
    "DeskPaused",
    "DeskStopping",
    "DeskUnavailable",
    "Event",
    "Incident",
    "JournalFailed",
    "KeyReused",
    "Money",
    "NotFound",
    "NotReadYet",
    "Order",
    "OrderNotPlaced",
    "OrderState",
    "OrderUnknown",
    "PossibleDuplicate",
    "Quote",
    "QuoteExpired",
    "QuoteStatus",
    "QuoteTaken",
    "Rate",
    "RequestInvalid",
    "Settings",
    "Status",
    "User",
    "VenueUnavailable",
    "facts",
    "open_desk",
]

_HOMES: Final = {
    "parallax.client.asynchronous": ("AsyncClient", "AsyncDesk"),
    "parallax.client.blocking": ("Client",),
    "parallax.client.errors": ("DeskUnavailable", "OrderNotPlaced", "OrderUnknown", "RequestInvalid"),
    "parallax.client.values": ("Event", "Order", "Quote", "Status"),
    "parallax.domain.entities": ("Incident", "User"),
    "parallax.domain.errors": (
        "AmountInvalid",
        "DeskError",
        "DeskPaused",
        "DeskStopping",
        "JournalFailed",
        "KeyReused",
        "NotFound",
        "NotReadYet",
        "PossibleDuplicate",
        "QuoteExpired",
        "QuoteTaken",
        "VenueUnavailable",
    ),
    "parallax.domain.money": ("Currency", "Money", "Rate"),
    "parallax.domain.transitions": ("OrderState", "QuoteStatus"),
    "parallax.embedded": ("open_desk",),
    "parallax.settings": ("Settings",),
}


if not TYPE_CHECKING:  # or a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        # `import parallax` costs nothing: `parallax --help` and whoever wants one name of many do not pay for the rest.
        from importlib import import_module

        if name == "facts":
            return import_module("parallax.domain.facts")
        for home, names in _HOMES.items():
            if name in names:
                found = globals()[name] = getattr(import_module(home), name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
