"""`parallax incidents`: contradictions that a person must look at, and their end."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from parallax.cli import COMMANDS
from parallax.cli.output import Row, show
from parallax.cli.remote import AsJson, Url, running_desk

if TYPE_CHECKING:
    from parallax.domain.entities import Incident

app = App(name="incidents", help=COMMANDS["incidents"][1])

COLUMNS = ("raised_at", "kind", "words", "id", "resolved_by", "note")


@app.default
def listed(
    *,
    resolved: Annotated[bool, Parameter(help="Also those that were resolved.", negative="")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """List contradictions that a person must look at, newest first."""
    with running_desk(url) as desk:
        rows = [_row(incident) for incident in desk.incidents(resolved=resolved)]
    show(rows, COLUMNS, as_json=as_json, nothing="No incidents.")
    return 0


@app.command
def resolve(
    incident: Annotated[str, Parameter(help="The incident's id.")],
    note: Annotated[str, Parameter(help="What was found, for whoever looks later.")],
    /,
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Close an incident with a note."""
    with running_desk(url) as desk:
        row = _row(desk.resolve_incident(incident, note))
    show([row], COLUMNS, as_json=as_json, nothing="")
    return 0


def _row(incident: Incident) -> Row:
    return asdict(incident)
