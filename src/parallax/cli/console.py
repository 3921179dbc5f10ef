"""`parallax console`: IPython with a connected desk."""

from __future__ import annotations

from typing import Any, Final

from parallax.cli import fail, say
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
        from IPython.terminal.ipapp import TerminalIPythonApp
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
    names: dict[str, Any] = {"desk": desk, "parallax": parallax, "Decimal": Decimal}
    app: Any = TerminalIPythonApp.instance(user_ns=names, config=config)
    app.initialize([])
    _make_helpful(app.shell)
    app.start()
    return 0


def _make_helpful(shell: Any) -> None:
    """Values in short, also those in lists; what the desk says no to in a line, without the way it took through us."""
    from types import CoroutineType

    import parallax

    plain = shell.display_formatter.formatters["text/plain"]
    for kind in (parallax.Quote, parallax.Order):
        plain.for_type(kind, _in_short)
    plain.for_type(CoroutineType, _not_awaited)
    shell.set_custom_exc((parallax.DeskError,), _told)


def _in_short(value: object, printer: Any, _cycle: bool) -> None:
    printer.text(f"<{type(value).__name__} {value}>")


def _not_awaited(value: Any, printer: Any, _cycle: bool) -> None:
    printer.text(
        f"<nothing has been done yet: write `await` in front of {value.__qualname__.rpartition('.')[2]}(…)>"
    )


def _told(_shell: Any, kind: type[Exception], error: Exception, _trace: Any, **_: object) -> None:
    say(f"{kind.__name__}: {error}")
