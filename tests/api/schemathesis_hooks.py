"""What the description of one request cannot say: a new thing to be done has a new idempotency key."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis

HEADER = "Idempotency-Key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give a request that is meant to be good a key of its own; a bad key stays as it is."""
    good = case.meta is None or case.meta.generation.mode.is_positive
    if good and case.headers and HEADER in case.headers:
        case.headers[HEADER] = str(uuid.uuid4())
