"""Identifiers, each its own type, so that an order's id cannot be passed where a quote's is wanted.

A venue's ids are opaque to us: short, printable, safe in a URL path. `is_identifier` is the one test for that.
"""

from __future__ import annotations

import re
from typing import Final, NewType

UserId = NewType("UserId", str)
"""A customer of the venue; the venue's id."""
QuoteId = NewType("QuoteId", str)
"""A quote; the venue's id."""
OrderId = NewType("OrderId", str)
"""An order on this desk. An order adopted from the venue has the venue's id here too."""
VenueOrderId = NewType("VenueOrderId", str)
"""The same order's id at the venue, known once the venue has answered."""
IncidentId = NewType("IncidentId", str)
"""A contradiction; made of what it is about, so that the same one is raised once."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


def is_identifier(text: str) -> bool:
    """Whether `text` can be an id of the venue: 1–64 letters, digits, `_`, `.`, `:` or `-`."""
    return _IDENTIFIER.fullmatch(text) is not None
