"""`parallax users`."""

from __future__ import annotations

from dataclasses import asdict

from parallax.cli.output import show
from parallax.cli.remote import AsJson, Url, running_desk


def users(*, url: Url = None, as_json: AsJson = False) -> int:
    """List everybody on whose behalf orders can be placed."""
    with running_desk(url) as desk:
        rows = [asdict(user) for user in desk.users()]
    show(rows, ("id", "name", "email"), as_json=as_json, nothing="The exchange has named no users yet.")
    return 0
