"""`parallax receipt verify FILE`: check an order's receipt, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from parallax.cli import COMMANDS, EXIT_NO, fail, say
from parallax.cli.output import to_json

app = App(name="receipt", help=COMMANDS["receipt"][1])


@app.command
def verify(
    file: Annotated[Path, Parameter(help="The receipt, as downloaded from the order's page.")],
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON document.", negative="")] = False,
) -> int:
    """Check that a receipt's facts and their hashes belong together. Needs no desk. Status 1: they do not."""
    from parallax.ports.receipt import MAX_RECEIPT, ReceiptInvalid
    from parallax.ports.receipt import verify as check

    try:
        with file.open("rb") as opened:
            document = opened.read(MAX_RECEIPT + 1)
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from None
    try:
        found = check(document)
    except ReceiptInvalid as error:
        raise fail(f"{file} does not verify: {error}", EXIT_NO) from None
    if as_json:
        facts = [{"kind": type(fact).__name__, "at": fact.at} for fact in found.facts]
        say(
            to_json(
                {
                    "order_id": found.order_id,
                    "state": str(found.state),
                    "first_position": found.first_position,
                    "last_position": found.last_position,
                    "parts": found.parts,
                    "head": found.head,
                    "facts": facts,
                }
            )
        )
        return 0
    say(f"The receipt verifies: order {found.order_id} is {found.state}.")
    for fact in found.facts:
        say(f"  {fact.at:%Y-%m-%d %H:%M:%S} UTC  {type(fact).__name__}")
    gaps = f", in {found.parts} parts: what lies between them is not covered" if found.parts > 1 else ""
    say(f"Facts {found.first_position} to {found.last_position} of the journal{gaps}. Hash of the last:")
    say(f"  {found.head}")
    return 0
