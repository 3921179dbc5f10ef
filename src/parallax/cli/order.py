"""`parallax order` and `parallax orders`."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from parallax.cli import EXIT_FATE_OPEN, EXIT_INTERRUPTED, EXIT_NO, fail
from parallax.cli.output import STYLES, show_orders
from parallax.cli.remote import AsJson, Limit, Statuses, Url, running_desk, user_of

if TYPE_CHECKING:
    from rich.text import Text

    from parallax.client.blocking import Client
    from parallax.client.values import Order

LOOK_SECONDS: Final = 0.25
"""Between two looks at an order that is waited for; the desk answers from memory."""

WAIT_SECONDS: Final = 900.0
"""How long `--wait` waits unless told otherwise: long enough for an order without an answer to be proven absent."""


def orders(
    user: Annotated[str | None, Parameter(help="Only this user's: id, e-mail address or name.")] = None,
    /,
    *,
    status: Statuses = "",
    limit: Limit = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """List orders, newest first. Times are UTC."""
    with running_desk(url) as desk:
        whose = user_of(desk, user) if user else None
        found = desk.orders(whose, status=status, limit=limit)
    show_orders(found, as_json=as_json, nothing="No orders.")
    return 0


def order(
    quote: Annotated[str, Parameter(help="The quote's id. Alone: the id of an order to look at.")],
    user: Annotated[str | None, Parameter(help="For whom: id, e-mail address or name.")] = None,
    amount: Annotated[str | None, Parameter(help="How much to sell, like 100.50.")] = None,
    /,
    *,
    wait: Annotated[bool, Parameter(help="Return when the order has settled.", negative="")] = False,
    timeout: Annotated[float, Parameter(help="Seconds to wait at most.")] = WAIT_SECONDS,
    repeat: Annotated[
        bool, Parameter(help="Order although another may be the same: do not ask.", negative="")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Turn a quote into an order: QUOTE USER AMOUNT. With an order's id alone, look at that order.

    Status 0: the exchange has it (with --wait: completed). 1: it was refused, or failed. 4: there is no answer yet;
    it may have been placed, and must not be placed again.

    When another order for the same user and amount is undecided, or a minute old at most, it asks before it repeats
    that; without a terminal to ask at it ends with status 1, and --repeat orders.
    """
    if (user is None) != (amount is None):
        raise fail("an order wants QUOTE USER AMOUNT; an order's id alone looks at it")
    with running_desk(url) as desk:
        if user is None or amount is None:
            found = desk.order(quote)
        else:
            found = _place(desk, quote, user, amount, timeout if wait else None, repeat=repeat)
        if wait and not found.settled:
            with _interruptible(
                f"order {found.id} goes on without you: `parallax order {found.id}` shows it"
            ):
                found = _followed(desk, found, timeout, quiet=as_json)
    show_orders([found], as_json=as_json)
    return _status_of(found, waited=wait)


def _place(desk: Client, quote: str, user: str, amount: str, wait: float | None, *, repeat: bool) -> Order:
    """The placed order; one without an answer is returned only to be waited for."""
    from parallax.client.errors import OrderUnknown
    from parallax.domain.errors import PossibleDuplicate

    whose = user_of(desk, user)
    with _interruptible(
        f"whether it was placed is not known: `parallax quote {quote}` names its order, if any"
    ):
        try:
            try:
                return desk.execute(quote, whose, amount, unless_unknown=not repeat)
            except PossibleDuplicate as error:
                _ask_whether_to_repeat(desk.order(error.order_id))
                return desk.execute(quote, whose, amount)
        except OrderUnknown as unknown:
            if wait is None:
                raise
            return unknown.order or unknown.wait(wait)


def _ask_whether_to_repeat(other: Order) -> None:
    """Go on only when a person at the terminal says so."""
    age = (datetime.now(UTC) - other.created_at).total_seconds()
    known = "its outcome is unknown" if other.fate_open else f"it is {other.state}"
    words = f"order {other.id} is for the same user and amount: {known}, {max(0, age):.0f} s old. Nothing was sent"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise fail(f"{words}; --repeat orders once more", EXIT_NO)
    sys.stderr.write(f"{words}.\nOrder once more? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise fail("nothing was sent", EXIT_NO)


def _status_of(order: Order, *, waited: bool) -> int:
    from parallax.domain.transitions import OrderState

    match order.state:
        case OrderState.COMPLETED:
            return 0
        case OrderState.FAILED | OrderState.REFUSED | OrderState.NOT_PLACED | OrderState.WITHDRAWN:
            why = f": {order.reasons[0]}" if order.reasons else ""
            raise fail(f"order {order.id} is {order.state}{why}", EXIT_NO)
        case OrderState.PENDING if not waited:
            return 0
        case _:
            words = (
                f"order {order.id} is still {order.state}: `parallax order {order.id} --wait` goes on waiting"
            )
            raise fail(words, EXIT_FATE_OPEN)


def _followed(desk: Client, order: Order, timeout: float, *, quiet: bool) -> Order:
    """The order once it is settled or the time is over, shown as it goes."""
    from parallax.client.errors import DeskUnavailable

    deadline = time.monotonic() + timeout
    ends_at, offset = desk.quote(order.quote_id).expires_at, desk.status().clock_offset
    with _display(quiet) as tell:
        trouble = ""
        while not order.settled and time.monotonic() < deadline:
            tell(order, ends_at - (datetime.now(UTC) + offset), trouble)
            time.sleep(LOOK_SECONDS)
            try:
                order, trouble = desk.order(order), ""
            except DeskUnavailable as error:
                trouble = error.words  # the order goes on, or is looked for when the desk is back
    return order


class _Tell:
    """Says how an order is: on a terminal in one line that changes, otherwise a line a change on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._said = ""
        self._began = time.monotonic()
        self.line: Text | None = None

    def __call__(self, order: Order, left: timedelta, trouble: str) -> None:
        from rich.text import Text

        seconds = max(0, int(left.total_seconds()))
        words = f"{order.state}, {time.monotonic() - self._began:.0f} s"
        if order.fate_open:
            words += (
                f"; the quote ends in {seconds // 60}:{seconds % 60:02}"
                if seconds
                else "; the quote has ended"
            )
        self.line = Text.assemble(
            f"{order}  ", (words, STYLES.get(str(order.state), "")), ("  " + trouble, "yellow")
        )
        news = trouble or str(order.state)
        if not self._quiet and not sys.stdout.isatty() and news != self._said:
            sys.stderr.write(f"order {order.id}: {news}\n")
            self._said = news


@contextmanager
def _display(quiet: bool) -> Generator[_Tell]:
    tell = _Tell(quiet)
    if quiet or not sys.stdout.isatty():
        yield tell
        return
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots")

    def drawn() -> Spinner:
        if tell.line is not None:
            spinner.update(text=tell.line)
        return spinner

    with Live(get_renderable=drawn, transient=True, refresh_per_second=10):
        yield tell


@contextmanager
def _interruptible(words: str) -> Generator[None]:
    """Ctrl+C ends the command with where to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise fail(words, EXIT_INTERRUPTED) from None
