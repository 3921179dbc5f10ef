"""The commands and their names."""

from __future__ import annotations

from cyclopts import App

from parallax import __version__

app = App(
    name="parallax",
    help="A quote-to-order desk for currency exchange: one quote, at most one order.",
    version=f"parallax {__version__}",
)
app.command("parallax.cli.serve:serve", name="serve")
app.command("parallax.cli.sandbox:sandbox", name="sandbox")
