"""The event stream, without I/O: from bytes to events, and where to go on after a lost connection."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any, Final, cast
from urllib.parse import urlencode

import msgspec

from parallax.client.calls import Ask, Reply, refusal
from parallax.client.errors import DeskUnavailable
from parallax.client.values import Event
from parallax.domain.facts import FACT_TYPES, Fact

SILENCE: Final = 45.0
"""Seconds without a byte after which a stream is given up and begun again: the desk says something every 15."""

MAX_LINE: Final = 1_048_576
"""Bytes of one line: the longest fact carries an exchange's refusal of some 100 KB."""

FIRST_GAP: Final = 0.2
"""Seconds before a lost stream is begun again; doubled at each failure in a row."""

LONGEST_GAP: Final = 5.0
"""Seconds between two attempts at most: a desk that is back is heard within them."""

_DECODERS: Final = {name: msgspec.json.Decoder(kind) for name, kind in FACT_TYPES.items()}


class Events:
    """What one watcher asks for, and how far it has come. Feed it pieces of the stream; it gives each event once.

    `position` is that of the last event, or of the desk's last word that there was none up to there; None until the
    desk has said where the stream begins.
    """

    def __init__(self, after: int | None, user_id: str | None, kinds: Iterable[str]) -> None:
        self.position = after
        self._filters = {
            name: value for name, value in (("user", user_id or ""), ("kind", ",".join(kinds))) if value
        }
        self._gap = FIRST_GAP
        self._rest = b""
        self._fields: dict[bytes, bytes] = {}

    def ask(self) -> Ask:
        """The request that goes on where this one is."""
        self._rest, self._fields = b"", {}
        after = {} if self.position is None else {"Last-Event-ID": str(self.position)}
        query = f"?{urlencode(self._filters)}" if self._filters else ""
        return Ask("GET", f"/events{query}", headers={"Accept": "text/event-stream", **after})

    def gap(self) -> float:
        """Seconds to wait before asking again."""
        gap, self._gap = self._gap, min(2 * self._gap, LONGEST_GAP)
        return gap

    def feed(self, piece: bytes) -> Generator[Event, None, None]:
        """The events that a piece completes. Raises `DeskUnavailable` when it is no desk's."""
        self._gap = FIRST_GAP
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            raise _no_stream()
        for line in lines:
            if line:
                name, _, value = line.partition(b":")
                self._fields[name] = value.removeprefix(b" ")
            else:
                fields, self._fields = self._fields, {}
                yield from self._dispatch(fields)

    def _dispatch(self, fields: dict[bytes, bytes]) -> Generator[Event, None, None]:
        if not fields.get(b"id", b"").isdigit():
            return
        position = int(fields[b"id"])
        if self.position is not None and position <= self.position and b"data" in fields:
            return  # told already
        self.position = position
        if b"data" in fields:
            try:
                event = _event(position, fields[b"event"].decode(), fields[b"data"])
            except (KeyError, ValueError):
                raise _no_stream() from None
            yield event


def _event(position: int, kind: str, data: bytes) -> Event:
    return Event(position, kind, cast("dict[str, Any]", json.loads(data)), _fact(kind, data))


def _fact(kind: str, data: bytes) -> Fact | None:
    decoder = _DECODERS.get(kind)
    try:
        return decoder.decode(data) if decoder else None
    except msgspec.ValidationError:
        return None  # a desk of another version: the fields are in `data`


def refused(reply: Reply) -> str:
    """Why a stream could not be had, when it may be had later. Raises the error that the answer is otherwise."""
    if reply.status < 300:
        raise _no_stream()
    error = refusal(reply, {})
    if reply.status < 500 or not error.retry:
        raise error
    return str(error)


def _no_stream() -> DeskUnavailable:
    return DeskUnavailable("What answers is no event stream of a Parallax desk.")
