"""How the API says no: RFC 9457 problems that also carry `errors` in the exchange's shape, so that a program written
for either can read them.

What the desk refuses is mapped in `parallax.web.problems`; here stands what only the API can refuse. Together they are
every `code` that a program can meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    KeyReused,
    NotFound,
    PossibleDuplicate,
    QuoteExpired,
    QuoteTaken,
)
from parallax.web.problems import DEFAULT_RETRY_AFTER, PROBLEMS, Problem, problem_of, retry_after

Errors = Mapping[str, Sequence[str]]
"""What is wrong, by field; `detail` stands for the whole request."""

API_PROBLEMS: Final[dict[str, Problem]] = {
    "body_unreadable": Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON"),
    "origin_not_allowed": Problem(HTTPStatus.FORBIDDEN, "The request comes from another site"),
    "no_such_call": Problem(HTTPStatus.NOT_FOUND, "There is no such call"),
    "method_not_allowed": Problem(HTTPStatus.METHOD_NOT_ALLOWED, "The call does not take this method"),
    "body_late": Problem(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time"),
    "idempotency_key_in_use": Problem(HTTPStatus.CONFLICT, "Too much is under way under idempotency keys"),
    "body_too_large": Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    "host_not_served": Problem(HTTPStatus.MISDIRECTED_REQUEST, "The desk does not answer to this host name"),
    "request_invalid": Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid"),
    "idempotency_key_reused": Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request"
    ),
    "position_unknown": Problem(HTTPStatus.NOT_FOUND, "The journal has not reached this position"),
    "order_refused": Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The exchange refused the order"),
    "order_not_placed": Problem(HTTPStatus.CONFLICT, "The order never reached the exchange"),
    "order_withdrawn": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The order was not sent"),
    "desk_turned_away": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The exchange turned the desk away"),
    "internal": Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The desk made a mistake"),
}
"""Code → how it is answered, for what the desk itself does not know of."""

RETRYABLE: Final = frozenset({"body_late", "idempotency_key_in_use", "order_withdrawn", "desk_turned_away"})
"""Of those, the ones that may succeed later without being changed."""

PROBLEM_PAGE: Final = "docs#problem-"
"""Where a problem's `type` points to, beside the API's root."""


class ApiError(Exception):
    """A request that the API turns down. `beside` are further members of the problem."""

    def __init__(
        self,
        code: str,
        words: str,
        errors: Errors | None = None,
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        beside: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(words)
        self.code, self.words, self.headers = code, words, headers
        self.errors = errors
        self.beside = beside or {}


def every_problem() -> dict[str, Problem]:
    """Each code that the API can answer with."""
    return {**PROBLEMS, **API_PROBLEMS}


def problem_body(
    problem: Problem,
    code: str,
    words: str,
    root: str,
    errors: Errors | None,
    wait: int | None,
    beside: Mapping[str, object],
) -> dict[str, object]:
    """An RFC 9457 problem: `retry` says whether the same request may succeed later, `retry_after` in how many
    seconds."""
    hint = {} if wait is None else {"retry_after": wait}
    return {
        "type": f"{root}/{PROBLEM_PAGE}{code}",
        "title": problem.title,
        "status": int(problem.status),
        "detail": words,
        "code": code,
        "retry": wait is not None,
        **hint,
        **beside,
        "errors": errors or {"detail": [words]},
    }


def told(error: DeskError | ApiError) -> tuple[Problem, Errors | None, int | None, Mapping[str, object]]:
    """How an error is answered, its errors by field, when to try again, and what else it names."""
    if isinstance(error, ApiError):
        wait = DEFAULT_RETRY_AFTER if error.code in RETRYABLE else None
        return API_PROBLEMS[error.code], error.errors, wait, error.beside
    return problem_of(error), _by_field(error), retry_after(error), _beside(error)


def _by_field(error: DeskError) -> Errors | None:
    match error:
        case AmountInvalid():
            return {"from_amount": [error.words]}
        case QuoteTaken() | QuoteExpired():
            return {"quote_id": [error.words]}
        case NotFound(kind=("quote" | "user") as kind):
            return {f"{kind}_id": [error.words]}
        case _:
            return None


def _beside(error: DeskError) -> dict[str, object]:
    match error:
        case AmountInvalid():
            return {"reason": error.reason}
        case QuoteTaken():
            return {"order_id": error.order_id, "by": error.by, "undecided": error.undecided}
        case KeyReused() | PossibleDuplicate():
            return {"order_id": error.order_id}
        case _:
            return {}
