"""`parallax serve`: the desk, its pages and its API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallax.cli import fail


def serve(
    *,
    host: Annotated[str | None, Parameter(help="The loopback address to serve at (HOST).")] = None,
    port: Annotated[int | None, Parameter(help="The port to serve at (PORT, 4000).")] = None,
    journal: Annotated[Path | None, Parameter(help="The journal's file (PARALLAX_JOURNAL).")] = None,
    in_memory: Annotated[bool, Parameter(help="Keep nothing: for a first look.", negative="")] = False,
) -> None:
    """Serve the desk: with no API_KEY beside the bundled sandbox exchange, with one in front of the real exchange."""
    from parallax.bootstrap import CannotStart
    from parallax.domain.errors import JournalFailed
    from parallax.server import run
    from parallax.settings import SettingsInvalid, load

    try:
        run(load(host=host, port=port, parallax_journal=journal), in_memory=in_memory)
    except (SettingsInvalid, CannotStart, JournalFailed) as error:
        raise fail(str(error)) from None
