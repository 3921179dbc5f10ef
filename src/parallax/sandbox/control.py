"""The control door: faults and actions on request, the counters, and the record. All of it JSON, all behind
the key.

GET    /_control          what is on, the settings, and the table of faults with their parameters
POST   /_control          {"fault": name, …} switches one on; {"action": name, …} does something at once
DELETE /_control[/{id}]   switches all faults, or one, off
GET    /_stats            calls by kind and by answer;  DELETE /_stats begins at zero
GET    /_record           every order request, order and quote, oldest first
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from parallax.sandbox.call import KINDS
from parallax.sandbox.faults import FAULTS, Param, bad_control
from parallax.sandbox.refusals import Refusal
from parallax.sandbox.settings import MAX_SECONDS, MAX_SEEDED_QUOTES, InvalidSetting

if TYPE_CHECKING:
    from parallax.sandbox.app import SandboxApp

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the control door."""

    app: SandboxApp
    rest: str
    """What stands behind the second slash of the path."""
    body: bytes


def handle(app: SandboxApp, method: str, path: str, body: bytes) -> tuple[int, object]:
    """Status and document for one call of the control door. Raises `Refusal`."""
    _, _, below = path.partition("/")
    door, slash, rest = below.partition("/")
    methods = _DOORS.get(door + slash)
    if methods is None:
        raise Refusal(404, {"path": ["not found"]})
    answer = methods.get(method)
    if answer is None:
        raise Refusal(405, {"method": ["not allowed"]}, allow=", ".join(methods))
    return answer(Asked(app, rest, body))


def _show(asked: Asked) -> tuple[int, object]:
    return 200, _overview(asked.app)


def _clear(asked: Asked) -> tuple[int, object]:
    return 200, {"cleared": asked.app.exchange.faults.clear()}


def _remove(asked: Asked) -> tuple[int, object]:
    digits = asked.rest[:9]
    if digits != asked.rest or not digits.isascii() or not digits.isdigit():
        raise Refusal(404, {"id": ["not found"]})
    if not asked.app.exchange.faults.remove(int(digits)):
        raise Refusal(404, {"id": ["not found"]})
    return 200, {"cleared": 1}


def _stats(asked: Asked) -> tuple[int, object]:
    return 200, asked.app.exchange.stats.as_json()


def _clear_stats(asked: Asked) -> tuple[int, object]:
    asked.app.exchange.stats.clear()
    return _stats(asked)


def _record(asked: Asked) -> tuple[int, object]:
    return 200, asked.app.exchange.record()


def _overview(app: SandboxApp) -> object:
    exchange = app.exchange
    exchange.faults.prune(exchange.now())
    return {
        "seed": exchange.seed,
        "now": exchange.venue_now().isoformat().replace("+00:00", "Z"),
        "starts": app.connections.starts,
        "held_up": app.connections.waiting,
        "faults": [fault.as_json() for fault in exchange.faults.active],
        "settings": exchange.settings.changeable(),
        "kinds": KINDS,
        "available": {
            name: {
                "summary": kind.summary,
                "on": kind.on,
                "parameters": {key: _described(param) for key, param in kind.params.items()},
            }
            for name, kind in FAULTS.items()
        },
        "actions": list(_ACTIONS),
    }


def _described(param: Param) -> object:
    described: dict[str, object] = {"summary": param.summary, "default": param.default}
    if param.choices:
        described["choices"] = param.choices
    elif not isinstance(param.default, str):
        described["from"], described["to"] = param.low, param.high
    return described


def _fields(body: bytes) -> dict[str, Any]:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, {"body": ["is not valid JSON"]}) from None
    if not isinstance(document, dict):
        raise bad_control("body", "is not an object")
    return cast("dict[str, Any]", document)


def _post(asked: Asked) -> tuple[int, object]:
    app, fields = asked.app, _fields(asked.body)
    if ("fault" in fields) == ("action" in fields):
        raise bad_control("fault", "or action must be given, one of the two")
    if "fault" in fields:
        name = fields.pop("fault")
        if not isinstance(name, str):
            raise bad_control("fault", f"must be one of {', '.join(FAULTS)}")
        if "name" in fields or "self" in fields:
            raise bad_control("name", f"is no parameter of {name}")
        return 201, app.exchange.faults.add(name, **fields).as_json()
    action = fields.pop("action")
    act = _ACTIONS.get(action) if isinstance(action, str) else None
    if act is None:
        raise bad_control("action", f"must be one of {', '.join(_ACTIONS)}")
    takes, run = act
    for name in fields:
        if takes is not None and name not in takes:
            raise bad_control(
                name, f"is no parameter of {action}, which takes {', '.join(takes) or 'nothing'}"
            )
    try:
        return 200, run(app, fields)
    except InvalidSetting as error:
        raise bad_control(error.field, error.message) from None


def _place_order(app: SandboxApp, fields: Fields) -> object:
    force = fields.get("force", False)
    if not isinstance(force, bool):
        raise bad_control("force", "must be true or false")
    order = app.exchange.place_elsewhere(
        fields.get("user_id"),
        fields.get("from_amount"),
        fields.get("quote_id"),
        force=force,
    )
    return order.as_json(app.exchange.now())


def _settle(app: SandboxApp, _fields: Fields) -> object:
    return {"settled": app.exchange.settle_all()}


def _change_mind(app: SandboxApp, fields: Fields) -> object:
    order_id, status = fields.get("order_id"), fields.get("status")
    order = app.exchange.order(order_id if isinstance(order_id, str) else "")
    if status not in (None, "pending", "completed", "failed"):
        raise bad_control("status", "must be pending, completed or failed")
    if order.settles_at > app.exchange.now():
        raise bad_control("order_id", "has not settled yet")
    app.exchange.change_mind(order, 0.0, status)
    return order.as_json(app.exchange.now())


def _restart(app: SandboxApp, fields: Fields) -> object:
    seconds = _DOWN.read("down_seconds", fields.get("down_seconds", _DOWN.default))
    app.restart(cast("float", seconds))
    return {"starts": app.connections.starts}


def _seed_quotes(app: SandboxApp, fields: Fields) -> object:
    count = cast("int", _COUNT.read("count", fields.get("count", _COUNT.default)))
    oldest = cast("float", _OLDEST.read("oldest_seconds", fields.get("oldest_seconds", _OLDEST.default)))
    app.exchange.seed_quotes(count, oldest)
    return {"quotes": len(app.exchange.quotes)}


def _configure(app: SandboxApp, fields: Fields) -> object:
    app.exchange.configure(fields)
    return app.exchange.settings.changeable()


_DOWN: Final = Param("how long nobody answers", 0.0, 0.0, MAX_SECONDS)
_COUNT: Final = Param("how many", 1000, 0, MAX_SEEDED_QUOTES)
_OLDEST: Final = Param("age of the oldest", 0.0, 0.0, MAX_SECONDS)

_ACTIONS: Final[dict[str, tuple[tuple[str, ...] | None, Callable[[SandboxApp, Fields], object]]]] = {
    "place_order": (("user_id", "from_amount", "quote_id", "force"), _place_order),
    "settle": ((), _settle),
    "change_mind": (("order_id", "status"), _change_mind),
    "restart": (("down_seconds",), _restart),
    "seed_quotes": (("count", "oldest_seconds"), _seed_quotes),
    "configure": (None, _configure),
}
"""Name → the fields it takes (None: it checks them itself) and what it does."""

_DOORS: Final[dict[str, dict[str, Callable[[Asked], tuple[int, object]]]]] = {
    "_control": {"GET": _show, "POST": _post, "DELETE": _clear},
    "_control/": {"DELETE": _remove},
    "_stats": {"GET": _stats, "DELETE": _clear_stats},
    "_record": {"GET": _record},
}
"""Path → method → what answers; a door with a slash takes an id behind it."""
