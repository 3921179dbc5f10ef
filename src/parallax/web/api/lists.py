"""Whole lists, as the exchange answers them: long ones are made in slices, so that everybody else gets a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from parallax.ports.journal import MAX_PAGE
from parallax.web.api.paging import Cursor, Fetch, Row, Wanted, page
from parallax.web.api.wire import encode

MAX_WHOLE_LIST: Final = 100_000
"""Rows of a list that is asked for without parameters: as many quotes as memory holds, some 30 MB."""

SLICE: Final = 250
"""Rows made between two chances for everybody else: about a millisecond."""

PARAMETERS: Final = frozenset({"limit", "cursor", "since", "status"})
"""Any of these makes an answer a page."""


async def whole_list(
    fetch: Fetch[Row], encoded: Callable[[Row], bytes], fits: Callable[[Row], bool] | None = None
) -> AsyncIterator[bytes]:
    """The envelope around all rows that fit, in pieces. Beyond the bound `meta.next` says where it goes on."""
    cursor: Cursor | None = None
    written = 0
    before = b'{"data":['
    while written < MAX_WHOLE_LIST:
        part = await page(fetch, Wanted(MAX_PAGE, cursor), fits)
        for begin in range(0, len(part.rows), SLICE):
            yield before + b",".join(map(encoded, part.rows[begin : begin + SLICE]))
            before = b","
            await asyncio.sleep(0)
        written += len(part.rows)
        cursor = part.next
        if cursor is None:
            break
    end = b"]}" if cursor is None else b'],"meta":' + encode({"next": cursor.text}) + b"}"
    yield end if written else before + end
