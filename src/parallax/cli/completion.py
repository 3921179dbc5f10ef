"""`parallax completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from parallax.cli import say


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell.")], /) -> int:
    """Print what a shell needs to complete commands and options. Where to put it: docs/commands.md."""
    from parallax.cli.app import app

    say(app.generate_completion(shell=shell))
    return 0
