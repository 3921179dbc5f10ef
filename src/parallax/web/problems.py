"""Every error of the desk as people and programs meet it over HTTP: one map from code to status and title.

A test checks that the map is complete; pages and the JSON API both answer from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from parallax.domain.errors import DeskError, VenueUnavailable


@dataclass(frozen=True, slots=True)
class Problem:
    """How an error is answered: its HTTP `status` and a `title` of a few words."""

    status: HTTPStatus
    title: str


PROBLEMS: Final[dict[str, Problem]] = {
    "desk_error": Problem(HTTPStatus.BAD_REQUEST, "That cannot be done"),
    "amount_invalid": Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The amount is not acceptable"),
    "currency_unknown": Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The currency is not known"),
    "not_found": Problem(HTTPStatus.NOT_FOUND, "Not found"),
    "quote_taken": Problem(HTTPStatus.CONFLICT, "The quote has been used"),
    "key_reused": Problem(HTTPStatus.CONFLICT, "The key belongs to another order"),
    "possible_duplicate": Problem(HTTPStatus.CONFLICT, "This may be the same order again"),
    "quote_expired": Problem(HTTPStatus.GONE, "The quote has expired"),
    "venue_unavailable": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The exchange cannot be reached"),
    "venue_busy": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Too many calls to the exchange just now"),
    "not_read_yet": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The exchange's list has not been read yet"),
    "venue_misbehaved": Problem(HTTPStatus.BAD_GATEWAY, "The exchange gave an answer that makes no sense"),
    "desk_paused": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "New orders are paused"),
    "desk_stopping": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The desk is stopping"),
    "journal_failed": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The journal cannot be written"),
}
"""Error code → how it is answered."""

DEFAULT_RETRY_AFTER: Final = 2
"""Seconds that a caller is asked to wait when an error may pass and nothing better is known."""


def problem_of(error: DeskError) -> Problem:
    """How an error is answered."""
    return PROBLEMS[error.code]


def retry_after(error: DeskError) -> int | None:
    """Whole seconds for a `Retry-After` header, or None when trying again cannot help."""
    if not error.retry:
        return None
    known = error.retry_in if isinstance(error, VenueUnavailable) else None
    return max(1, round(known)) if known is not None else DEFAULT_RETRY_AFTER
