"""What can go wrong, as few typed errors: each has a stable code, words that say what to do, and whether
trying again can help. The map from code to HTTP status stands in `parallax.web.problems`.
"""

from __future__ import annotations

from typing import ClassVar


class DeskError(Exception):
    """Something a person or a program asked for cannot be done. `str(error)` is fit to be shown."""

    code: ClassVar[str] = "desk_error"
    retry: ClassVar[bool] = False
    """Whether the same request may succeed later without being changed."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class AmountInvalid(DeskError):
    """An amount or a rate that is not acceptable. `reason` is a stable word, such as `too_precise`."""

    code = "amount_invalid"

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class CurrencyUnknown(DeskError):
    """A currency code that ISO 4217 does not know."""

    code = "currency_unknown"

    def __init__(self, given: str) -> None:
        super().__init__(f"{given[:8]!r} is not an ISO 4217 currency code.")


class NotFound(DeskError):
    """No such user, quote or order here. `kind` is the word for what was looked for."""

    code = "not_found"

    def __init__(self, kind: str, given: str) -> None:
        super().__init__(f"There is no {kind} {given[:64]!r} here.")
        self.kind = kind


class QuoteTaken(DeskError):
    """The quote belongs to an order already. `order_id` names it; `by` says who placed it; `undecided` says that its
    outcome is not known."""

    code = "quote_taken"

    def __init__(self, order_id: str | None, by: str | None, *, undecided: bool = False) -> None:
        order = f"order {order_id}" if order_id else "another order"
        if undecided:
            words = (
                f"This quote belongs to {order}. Outcome unknown: do not order again. The desk finds out what became"
                " of it."
            )
        else:
            words = (
                f"This quote has been used, by {order}: a quote can become one order only. Look at it first."
            )
        super().__init__(words)
        self.order_id = order_id
        self.by = by
        self.undecided = undecided


class KeyReused(DeskError):
    """An idempotency key belongs to an order for something else; `order_id` names it."""

    code = "key_reused"

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"Order {order_id} was placed under this key, and for something else. Nothing more was sent."
            " Use a new key for each thing you want done."
        )
        self.order_id = order_id


class PossibleDuplicate(DeskError):
    """An order for the same user and amount is undecided, or was placed a moment ago; `order_id` names it."""

    code = "possible_duplicate"

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"Order {order_id} is for the same user and amount, and its outcome is unknown or it was placed within the"
            " last minute. Nothing was sent. Look at that order before you repeat."
        )
        self.order_id = order_id


class QuoteExpired(DeskError):
    """The quote's time is over, or so little is left that an order could arrive too late. Nothing was sent."""

    code = "quote_expired"

    def __init__(
        self,
        words: str = "This quote has expired and nothing was sent. Ask for a new quote.",
    ) -> None:
        super().__init__(words)


class VenueUnavailable(DeskError):
    """The exchange cannot be reached or will not serve this call now. `retry_in` is in seconds, when known."""

    code = "venue_unavailable"
    retry = True

    def __init__(self, words: str, retry_in: float | None = None) -> None:
        super().__init__(words)
        self.retry_in = retry_in


class VenueBusy(VenueUnavailable):
    """The call budget has no room for this call in time: it was never sent."""

    code = "venue_busy"


class NotReadYet(VenueUnavailable):
    """A list that the exchange has not given yet. What it holds is not known, which does not mean that it is empty."""

    code = "not_read_yet"


class VenueMisbehaved(VenueUnavailable):
    """The exchange answered with something that is not what was asked for; the words name the call and the field."""

    code = "venue_misbehaved"


class DeskPaused(DeskError):
    """New orders are paused by an operator, who gave a reason."""

    code = "desk_paused"
    retry = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"New orders are paused: {reason}")


class DeskStopping(DeskError):
    """The desk is shutting down and takes nothing new."""

    code = "desk_stopping"
    retry = True

    def __init__(self) -> None:
        super().__init__("The desk is stopping; nothing was sent. Try again when it is back.")


class JournalFailed(DeskError):
    """The journal cannot be written or read, so nothing may be sent. An administrator has to look."""

    code = "journal_failed"


class IllegalTransition(Exception):
    """A fact that the transition table does not allow: a mistake in the program, never shown as words."""

    def __init__(self, subject: str, state: str, fact: str) -> None:
        super().__init__(f"{subject}: no step from {state} by {fact}")
        self.subject, self.state, self.fact = subject, state, fact
