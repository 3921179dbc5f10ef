"""What the commands for a running desk share: finding it, finding a user, and one clear line when it goes wrong.

The desk is found by `--url`, else by PARALLAX_URL, else by HOST and PORT of the settings.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from parallax.cli import EXIT_FATE_OPEN, EXIT_NO, EXIT_UNREACHABLE, fail

if TYPE_CHECKING:
    from parallax.client.blocking import Client
    from parallax.domain.entities import User
    from parallax.domain.errors import DeskError

URL_VARIABLE = "PARALLAX_URL"

Url = Annotated[
    str | None,
    Parameter(help="The desk's address; without it PARALLAX_URL, else HOST and PORT of the settings."),
]
AsJson = Annotated[bool, Parameter(name="--json", help="One JSON object a line.", negative="")]
Limit = Annotated[int, Parameter(help="Rows at most.")]
Statuses = Annotated[
    str, Parameter(name="--status", help="Only these, with commas between: see docs/commands.md.")
]


def desk_url(url: str | None) -> str:
    """The address of the desk that is meant. Ends the command when the settings cannot be used."""
    given = url or os.environ.get(URL_VARIABLE, "").strip()
    if given:
        return given
    from parallax.settings import SettingsInvalid, load

    try:
        settings = load()
    except SettingsInvalid as error:
        raise fail(str(error)) from None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


@contextmanager
def running_desk(url: str | None) -> Generator[Client]:
    """The desk that is meant. What it says no to, and that it does not answer, ends the command in one line."""
    from parallax.client.blocking import Client
    from parallax.domain.errors import DeskError

    try:
        with Client(desk_url(url), insist=False) as desk:
            yield desk
    except DeskError as error:
        raise failure(error) from None
    except ValueError as error:
        raise fail(str(error)) from None


def failure(error: DeskError) -> SystemExit:
    """How a command ends with an error of the desk: a line that says where to go on, and a status."""
    from parallax.client.errors import DeskUnavailable, OrderUnknown, RequestInvalid
    from parallax.domain.errors import QuoteTaken

    match error:
        case DeskUnavailable():
            return fail(error.words, EXIT_UNREACHABLE)
        case OrderUnknown(order_id=None):
            words = f"the answer was lost: `parallax quote {error.quote_id}` names its order, if there is one"
            return fail(f"{words}. Do not place it again.", EXIT_FATE_OPEN)
        case OrderUnknown():
            words = f"no answer about order {error.order_id} yet; do not place it again"
            return fail(
                f"{words}. `parallax order {error.order_id} --wait` tells what came of it.", EXIT_FATE_OPEN
            )
        case RequestInvalid(reason="request_invalid"):
            return fail(error.words)
        case QuoteTaken(undecided=True):
            return fail(error.words, EXIT_FATE_OPEN)
        case _:
            return fail(error.words, EXIT_NO)


def user_of(desk: Client, text: str) -> User:
    """The user that is meant: by id, e-mail address, or name. Ends the command when it is none or not only one."""
    users = desk.users()
    wanted = text.casefold()
    found = [user for user in users if user.id == text]
    found = found or [user for user in users if user.email.casefold() == wanted]
    found = found or [user for user in users if user.name.casefold() == wanted]
    if not found:
        raise fail(f"there is no user {text[:64]!r} (parallax users lists them)", EXIT_NO)
    if len(found) > 1:
        raise fail(f"{len(found)} users are called {text[:64]!r}: give an id (parallax users)", EXIT_NO)
    return found[0]
