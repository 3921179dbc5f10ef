"""What can go wrong on request: a table of faults, each a small function around a call.

A fault gets the call, its own parameters and `proceed`, which carries the call out (and runs the faults added
after it). It may wait, leave `proceed` out, call it twice, or change what comes back. To add a fault: write
the function, add a row to `FAULTS`; the control door, its documentation at `GET /_control` and the checks
follow from the row.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final, Protocol, cast

from parallax.sandbox.call import KINDS, Answer, Call, ConnectionDropped
from parallax.sandbox.model import Order, Status
from parallax.sandbox.refusals import HTML_TYPE, JSON_TYPE, TEXT_TYPE, Refusal
from parallax.sandbox.settings import MAX_SECONDS

Proceed = Callable[[], Awaitable[Answer]]
Params = Mapping[str, Any]
"""A fault's parameters by name, checked and completed with defaults: see `Param`."""


class World(Protocol):
    """The part of the exchange that faults reach for."""

    def now(self) -> datetime:
        """The true clock."""
        ...

    def venue_now(self, skew_seconds: float = 0.0) -> datetime:
        """The exchange's own clock."""
        ...

    def list_later(self, order: Order, seconds: float) -> None:
        """Keep `order` out of the lists for `seconds`."""
        ...

    def change_mind(self, order: Order, after_seconds: float, status: Status | None = None) -> None:
        """Let `order` change its settled status."""
        ...


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a fault: what it may be, and what it is when left out."""

    summary: str
    default: float | int | str | bool
    low: float = 0.0
    high: float = MAX_SECONDS
    choices: tuple[object, ...] = ()

    def read(self, name: str, value: object) -> object:
        """`value` as this parameter. Raises `Refusal` (422) when it is none."""
        if self.choices:
            if value not in self.choices:
                raise bad_control(name, f"must be one of {', '.join(map(str, self.choices))}")
            return self.choices[self.choices.index(value)]  # 500.0 is equal to 500, and no status
        if isinstance(self.default, str):
            if not isinstance(value, str):
                raise bad_control(name, "must be a text")
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise bad_control(name, "must be a number")
        if isinstance(self.default, int) and not isinstance(value, int):
            raise bad_control(name, "must be a whole number")
        if not self.low <= value <= self.high:
            raise bad_control(name, f"must be from {self.low:g} to {self.high:g}")
        return value


def bad_control(name: str, message: str) -> Refusal:
    """A 422 for what was asked of the control door."""
    return Refusal(422, {name: [message]})


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault about to act on a call."""

    world: World
    call: Call
    params: Params
    proceed: Proceed


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A row of the table."""

    summary: str
    run: Callable[[Hit], Awaitable[Answer]]
    params: Mapping[str, Param] = field(default_factory=dict[str, Param])
    on: tuple[str, ...] = KINDS
    """Kinds of call it makes sense for."""


_WHEN: Final = Param("before or after the call is carried out", "before", choices=("before", "after"))


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # half a surrogate pair is valid JSON and no UTF-8


async def _delay(hit: Hit) -> Answer:
    if hit.params["when"] == "before":
        await hit.call.pause(hit.params["seconds"])
        return await hit.proceed()
    answer = await hit.proceed()
    await hit.call.pause(hit.params["seconds"])
    return answer


async def _hang(hit: Hit) -> Answer:
    if hit.params["when"] == "after":
        await hit.proceed()
    await hit.call.hang(hit.params["seconds"])
    raise AssertionError("a hang ends with the connection dropped")


async def _status(hit: Hit) -> Answer:
    if hit.params["when"] == "after":
        await hit.proceed()
    return Answer(hit.params["status"], _bytes(hit.params["body"]), TEXT_TYPE)


async def _rate_limited(hit: Hit) -> Answer:
    wait = hit.params["retry_after"]
    value = str(wait)
    if hit.params["form"] == "date":
        retry_at = hit.world.venue_now(hit.call.skew_seconds) + timedelta(seconds=wait)
        value = format_datetime(retry_at, usegmt=True)
    headers = () if hit.params["form"] == "none" else ((b"retry-after", value.encode()),)
    return Answer(429, b'{"errors":{"detail":["too many requests"]}}', JSON_TYPE, headers)


async def _close(hit: Hit) -> Answer:
    if hit.params["when"] == "after":
        await hit.proceed()
    raise ConnectionDropped(f"closed {hit.params['when']} the call was carried out")


async def _cut_off(hit: Hit) -> Answer:
    return replace(await hit.proceed(), sent_share=hit.params["share_sent"])


async def _slow(hit: Hit) -> Answer:
    return replace(await hit.proceed(), trickle_seconds=hit.params["seconds"])


async def _not_json(hit: Hit) -> Answer:
    return replace(await hit.proceed(), body=_bytes(hit.params["body"]), content_type=HTML_TYPE)


async def _wrong_shape(hit: Hit) -> Answer:
    answer = await hit.proceed()
    if answer.content_type != JSON_TYPE:
        return answer
    document = _misshape(json.loads(answer.body), hit.params["shape"], hit.params["field"])
    return replace(answer, body=json.dumps(document).encode())


async def _duplicate(hit: Hit) -> Answer:
    await hit.proceed()
    if hit.params["seconds"]:
        await hit.call.pause(hit.params["seconds"])
    return await hit.proceed()


async def _clock_skew(hit: Hit) -> Answer:
    if hit.params["only"] == "date":
        hit.call.date_skew_seconds += hit.params["seconds"]
    else:
        hit.call.skew_seconds += hit.params["seconds"]
    return await hit.proceed()


async def _late_listing(hit: Hit) -> Answer:
    answer = await hit.proceed()
    if hit.call.order is not None:
        hit.world.list_later(hit.call.order, hit.params["seconds"])
    return answer


async def _change_of_mind(hit: Hit) -> Answer:
    answer = await hit.proceed()
    if hit.call.order is not None:
        to = None if hit.params["to"] == "opposite" else cast("Status", hit.params["to"])
        hit.world.change_mind(hit.call.order, hit.params["seconds"], to)
    return answer


async def _restart(hit: Hit) -> Answer:
    if hit.params["when"] == "after":
        await hit.proceed()
    hit.call.connections.restart(hit.world.now(), hit.params["down_seconds"])
    raise ConnectionDropped("the exchange restarted")


def _no_envelope(document: Any) -> Any:
    return document.get("data", document)


def _other_container(document: Any) -> Any:
    data = document.get("data")
    return {"data": {"items": cast("list[Any]", data)} if isinstance(data, list) else [data]}


def _missing_field(row: dict[str, Any], name: str) -> None:
    row.pop(name, None)


def _null_field(row: dict[str, Any], name: str) -> None:
    row[name] = None


def _wrong_type(row: dict[str, Any], name: str) -> None:
    row[name] = {"value": row.get(name)}


def _bad_value(row: dict[str, Any], name: str) -> None:
    row[name] = "???"


def _extra_field(row: dict[str, Any], name: str) -> None:
    row[f"{name}_note"] = {"added": "later"}


DOCUMENT_SHAPES: Final[dict[str, Callable[[Any], Any]]] = {
    "no_envelope": _no_envelope,
    "empty_object": lambda _: {},
    "data_null": lambda _: {"data": None},
    "number": lambda _: 42,
    "other_container": _other_container,
}
"""Ways in which a whole answer can be valid JSON and not what was promised."""

FIELD_SHAPES: Final[dict[str, Callable[[dict[str, Any], str], None]]] = {
    "missing_field": _missing_field,
    "null_field": _null_field,
    "wrong_type": _wrong_type,
    "bad_value": _bad_value,
    "extra_field": _extra_field,
}
"""Ways in which one field of every object in it can; `extra_field` is one a client must not mind."""


def _misshape(document: Any, shape: str, name: str) -> Any:
    if shape in DOCUMENT_SHAPES:
        return DOCUMENT_SHAPES[shape](document)
    data = document.get("data")
    for row in cast("list[Any]", data if isinstance(data, list) else [data]):
        if isinstance(row, dict):
            FIELD_SHAPES[shape](cast("dict[str, Any]", row), name)
    return document


FAULTS: Final[dict[str, FaultKind]] = {
    "delay": FaultKind(
        "The call is carried out late, even if the client has gone, or its answer comes late.",
        _delay,
        {"seconds": Param("how long", 2.0), "when": replace(_WHEN, default="after")},
    ),
    "hang": FaultKind(
        "No answer, until the client goes; after `seconds` the connection is closed.",
        _hang,
        {"seconds": Param("longest silence", 60.0), "when": _WHEN},
    ),
    "status": FaultKind(
        "An error status instead of the answer.",
        _status,
        {
            "status": Param("the status", 500, choices=(408, 500, 501, 502, 503, 504, 520, 599)),
            "when": _WHEN,
            "body": Param("the body", "upstream trouble"),
        },
    ),
    "rate_limited": FaultKind(
        "429; the call is not carried out.",
        _rate_limited,
        {
            "retry_after": Param("seconds to wait", 2, 0, 86_400),
            "form": Param("how Retry-After says it", "seconds", choices=("seconds", "date", "none")),
        },
    ),
    "close": FaultKind("The connection is closed without an answer.", _close, {"when": _WHEN}),
    "cut_off": FaultKind(
        "The answer's Content-Length promises more than is sent before the connection closes.",
        _cut_off,
        {"share_sent": Param("share of the body that is sent", 0.5, 0.0, 0.99)},
    ),
    "slow": FaultKind(
        "The answer's body trickles in.", _slow, {"seconds": Param("from first byte to last", 3.0)}
    ),
    "not_json": FaultKind(
        "The call is carried out; the answer's body is something else.",
        _not_json,
        {"body": Param("the body", "<html><body>Bad gateway</body></html>")},
    ),
    "wrong_shape": FaultKind(
        "The call is carried out; the answer is JSON of another shape.",
        _wrong_shape,
        {
            "shape": Param("which", "no_envelope", choices=(*DOCUMENT_SHAPES, *FIELD_SHAPES)),
            "field": Param("for shapes that touch one field: which", "id"),
        },
    ),
    "duplicate": FaultKind(
        "Something on the way sends the request twice; the second answer comes back.",
        _duplicate,
        {"seconds": Param("time between the two", 0.0)},
    ),
    "clock_skew": FaultKind(
        "The exchange's clock is off: its Date, created_at, and what it takes for expired.",
        _clock_skew,
        {
            "seconds": Param("ahead; negative is behind", 120.0, -MAX_SECONDS, MAX_SECONDS),
            "only": Param("`date`: the header alone is off", "all", choices=("all", "date")),
        },
    ),
    "late_listing": FaultKind(
        "The accepted order is missing from the user's list for a while.",
        _late_listing,
        {"seconds": Param("how long", 20.0)},
        ("order_create",),
    ),
    "change_of_mind": FaultKind(
        "The accepted order settles, and later says something else.",
        _change_of_mind,
        {
            "seconds": Param("how long after it settled", 10.0),
            "to": Param(
                "what it becomes", "opposite", choices=("opposite", "pending", "completed", "failed")
            ),
        },
        ("order_create",),
    ),
    "restart": FaultKind(
        "The exchange restarts at this call: every call under way is dropped; state is kept.",
        _restart,
        {"down_seconds": Param("how long nobody answers", 1.0), "when": _WHEN},
    ),
}
"""Name → what it does. `GET /_control` shows this table."""
