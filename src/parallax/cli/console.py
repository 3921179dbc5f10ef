"""`parallax console`: IPython with a connected desk."""

from __future__ import annotations

from typing import Any, Final

from parallax.cli import fail
from parallax.cli.remote import Url, desk_url, running_desk

BANNER: Final = """\
Parallax {version} at {url} ({venue}, {health}). `desk` is connected; await works right here. Try:

  users = await desk.users()
  quote = await desk.request_quote()
  order = await desk.settled(await desk.execute(quote, users[0], "100.00"))

desk.<Tab> shows the rest, desk.execute? explains one, exit leaves."""


def console(*, url: Url = None) -> int:
    """Open an interactive Python with a connected `desk`. Wants IPython: pip install 'parallax[console]'."""
    try:
        import IPython
        from traitlets.config import Config
    except ImportError:
        raise fail(
            "the console wants IPython, which is not installed: pip install 'parallax[console]'"
        ) from None
    from decimal import Decimal

    import parallax
    from parallax.client.asynchronous import AsyncClient

    with running_desk(url) as checked:
        status = checked.status()
    desk = AsyncClient(desk_url(url))
    config = Config()
    config.TerminalInteractiveShell.banner1 = ""
    config.TerminalInteractiveShell.banner2 = BANNER.format(
        version=parallax.__version__,
        url=desk.url.removesuffix("/api"),
        venue=status.venue,
        health=status.health,
    )
    config.TerminalInteractiveShell.autoawait = True
    config.InteractiveShellApp.exec_lines = []
    config.PlainTextFormatter.type_printers = dict.fromkeys((parallax.Quote, parallax.Order), _in_short)
    names: dict[str, Any] = {"desk": desk, "parallax": parallax, "Decimal": Decimal}
    IPython.start_ipython(argv=[], user_ns=names, config=config)
    return 0


def _in_short(value: object, printer: Any, _cycle: bool) -> None:
    printer.text(f"<{type(value).__name__} {value}>")
