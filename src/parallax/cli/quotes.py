"""`parallax quotes` and `parallax quote`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallax.cli.output import show_quotes
from parallax.cli.remote import AsJson, Limit, Statuses, Url, running_desk


def quotes(*, status: Statuses = "", limit: Limit = 20, url: Url = None, as_json: AsJson = False) -> int:
    """List quotes, newest first. Times are UTC; a quote's are by the exchange's clock."""
    with running_desk(url) as desk:
        found = desk.quotes(status=status, limit=limit)
    show_quotes(found, as_json=as_json, nothing="No quotes. `parallax quote` asks for one.")
    return 0


def quote(
    quote: Annotated[str | None, Parameter(help="A quote's id: show it instead of asking for one.")] = None,
    /,
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Ask the exchange for a firm quote; with an id, show that one."""
    with running_desk(url) as desk:
        found = desk.quote(quote) if quote else desk.request_quote()
    show_quotes([found], as_json=as_json)
    return 0
