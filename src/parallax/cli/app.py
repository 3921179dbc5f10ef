"""The commands as a parser sees them."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App, CycloptsError

from parallax.cli import COMMANDS, fail, overview, version

app = App(
    name="parallax", help=overview().partition("\n")[0], version=version, version_flags=["--version", "-V"]
)
for _name, (_target, _summary) in COMMANDS.items():
    app.command(_target, name=_name, help=_summary)


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives its exit status. Raises `SystemExit` for what was typed wrong."""
    try:
        status = app(arguments, print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        raise fail(f"{error} (parallax --help lists the commands)") from None
    return status if isinstance(status, int) else 0
