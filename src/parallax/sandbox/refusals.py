"""How the exchange says no: one exception, and the bodies it can be dressed in.

The public evidence does not settle what a refusal looks like, so the shape is a setting: a client can be
tried against every one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

Errors = Mapping[str, list[str]]
"""What is wrong, by field: each message reads on from the field's name ("has expired")."""

JSON_TYPE: Final = b"application/json; charset=utf-8"
TEXT_TYPE: Final = b"text/plain; charset=utf-8"
HTML_TYPE: Final = b"text/html; charset=utf-8"


class Refusal(Exception):
    """The exchange said no, explicitly: nothing was carried out."""

    def __init__(self, status: int, errors: Errors, *, allow: str | None = None) -> None:
        super().__init__(_sentence(errors))
        self.status = status
        self.errors = errors
        self.allow = allow
        """For a 405: the methods that would have been allowed."""


def _sentence(errors: Errors) -> str:
    return "; ".join(f"{field} {message}" for field, messages in errors.items() for message in messages)


def _json(value: object) -> tuple[bytes, bytes]:
    return json.dumps(value).encode(), JSON_TYPE


def _shape_errors(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"errors": refusal.errors})


def _shape_data_errors(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"data": {"errors": refusal.errors}})


def _shape_both(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"errors": refusal.errors, "data": {"errors": refusal.errors}})


def _shape_flat(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"errors": {field: messages[0] for field, messages in refusal.errors.items()}})


def _shape_list(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"errors": str(refusal).split("; ")})


def _shape_objects(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json(
        {
            "errors": [
                {"field": field, "message": message}
                for field, messages in refusal.errors.items()
                for message in messages
            ]
        }
    )


def _shape_detail(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"errors": {"detail": HTTPStatus(refusal.status).phrase}})


def _shape_error(refusal: Refusal) -> tuple[bytes, bytes]:
    return _json({"error": str(refusal)})


def _shape_text(refusal: Refusal) -> tuple[bytes, bytes]:
    return str(refusal).encode(), TEXT_TYPE


def _shape_html(refusal: Refusal) -> tuple[bytes, bytes]:
    return f"<html><body><h1>{HTTPStatus(refusal.status).phrase}</h1></body></html>".encode(), HTML_TYPE


def _shape_empty(_refusal: Refusal) -> tuple[bytes, bytes]:
    return b"", TEXT_TYPE


REFUSAL_SHAPES: Final[dict[str, Callable[[Refusal], tuple[bytes, bytes]]]] = {
    "both": _shape_both,
    "errors": _shape_errors,
    "data_errors": _shape_data_errors,
    "flat": _shape_flat,
    "list": _shape_list,
    "objects": _shape_objects,
    "detail": _shape_detail,
    "error": _shape_error,
    "text": _shape_text,
    "html": _shape_html,
    "empty": _shape_empty,
}
"""Name of a shape → the function that gives a refusal's body and content type in it."""
