"""Why an exchange said no, from a body of any shape: short plain sentences, and the fields that they name.

Nobody documents these bodies, so every shape in use is read: `{"errors": {field: [message]}}`, the same in
`data`, lists of strings or of objects, `{"error": …}`, RFC 9457 problems, plain text, a web page, nothing.
Whatever the bytes are, reading them raises nothing.

>>> read_reasons(b'{"errors": {"from_amount": ["must be greater than 0"]}}')
Reasons(words=('from_amount: must be greater than 0',), fields=frozenset({'from_amount'}))
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

MAX_REASONS: Final = 8
"""Sentences kept of a refusal: more than a person reads."""

MAX_REASON_LENGTH: Final = 200
"""Characters kept of each: enough for a sentence, too few for a page."""

MAX_FIELDS: Final = 16
"""Fields kept; a refusal that names more is about more than an amount anyhow."""

MAX_DEPTH: Final = 6
"""How deep errors may be nested before they are taken for nonsense."""

UNNAMED: Final = ""
"""Stands among the fields for a complaint that names none, beside others that do."""

_MESSAGE_KEYS: Final = ("message", "msg", "detail", "reason", "title", "description", "error_description")
_FIELD_KEYS: Final = ("field", "loc", "source", "pointer", "path", "param", "parameter", "name", "property")
_ERROR_KEYS: Final = (
    "errors",
    "error",
    "fields",
    "details",
    "detail",
    "invalid-params",
    "invalid_params",
    "violations",
)
_PAGE_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_DECODER: Final = msgspec.json.Decoder(float_hook=str)  # a number stays the text that it was


@dataclass(frozen=True, slots=True)
class Reasons:
    """What a refusal says: its sentences, and the names of the fields that it complains of."""

    words: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()


def read_reasons(body: bytes) -> Reasons:
    """The reasons in a refusal's body, whatever its shape. Never raises."""
    found = _Found()
    try:
        answer = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found.say(UNNAMED, _text_of(body))
    else:
        _envelope(answer, found, MAX_DEPTH)
    return Reasons(tuple(found.words), frozenset(found.fields))


def plain(text: str, limit: int = MAX_REASON_LENGTH) -> str:
    """`text` on one line without control, formatting or unassigned characters, cut to `limit` characters."""
    readable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: limit * 4])
    line = " ".join(readable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(slots=True)
class _Found:
    words: list[str] = field(default_factory=list[str])
    fields: set[str] = field(default_factory=set[str])

    def say(self, name: str, text: str) -> None:
        words = plain(f"{name}: {text}" if name else text)
        if words and words not in self.words and len(self.words) < MAX_REASONS:
            self.words.append(words)

    def about(self, name: str) -> None:
        # Past the bound the set still tells that there was more than it holds.
        self.fields.add(plain(name, 64) if len(self.fields) < MAX_FIELDS else UNNAMED)


def _envelope(node: object, found: _Found, depth: int) -> None:
    """The outermost objects, whose keys are structure and not fields."""
    if isinstance(node, str):
        found.say(UNNAMED, node)
    elif isinstance(node, list):
        _errors(cast("list[object]", node), found, depth)
    elif isinstance(node, dict):
        answer = cast("dict[str, object]", node)
        for key in _ERROR_KEYS:
            value = answer.get(key)
            if isinstance(value, dict | list) or (key in _ERROR_KEYS[:2] and isinstance(value, str)):
                _errors(cast("object", value), found, depth - 1)
        for key in _MESSAGE_KEYS:
            value = answer.get(key)
            if isinstance(value, str):
                found.say(UNNAMED, value)
        inner = answer.get("data")
        if inner is not None and depth > 0:
            _envelope(inner, found, depth - 1)


def _errors(node: object, found: _Found, depth: int) -> None:
    """What stands under a key such as `errors`: a sentence, several, objects, or a map of fields."""
    if depth <= 0:
        found.about(UNNAMED)
    elif isinstance(node, str):
        found.say(UNNAMED, node)
    elif isinstance(node, list):
        items = cast("list[object]", node)
        for item in items[:MAX_FIELDS]:
            if isinstance(item, str):
                found.about(UNNAMED)
            _errors(item, found, depth - 1)
        if len(items) > MAX_FIELDS:
            found.about(UNNAMED)
    elif isinstance(node, dict):
        entries = cast("dict[str, object]", node)
        if any(isinstance(entries.get(key), str) for key in _MESSAGE_KEYS):
            _complaint(entries, found, depth)
        else:
            for name, messages in entries.items():
                found.about(name)
                _messages(plain(name, 64), messages, found, depth - 1)


def _complaint(entry: dict[str, object], found: _Found, depth: int) -> None:
    """One object that carries a message, and perhaps says which field it is about."""
    name = next((name for key in _FIELD_KEYS if (name := _field_name(entry.get(key)))), UNNAMED)
    found.about(name)
    for key in _MESSAGE_KEYS:
        value = entry.get(key)
        if isinstance(value, str):
            found.say(name, value)
            break
    for key in _ERROR_KEYS:
        value = entry.get(key)
        if isinstance(value, dict | list):
            _errors(cast("object", value), found, depth - 1)


def _field_name(node: object) -> str:
    """The last part of `from_amount`, `/data/from_amount`, `["body", "from_amount"]` or `{"pointer": …}`."""
    if isinstance(node, str):
        return plain(re.split(r"[/.]", node)[-1], 64)
    if isinstance(node, list):
        parts = [part for part in cast("list[object]", node) if isinstance(part, str)]
        return plain(parts[-1], 64) if parts else UNNAMED
    if isinstance(node, dict):
        places = cast("dict[str, object]", node)
        pointer = places.get("pointer") or places.get("parameter")
        return _field_name(pointer) if isinstance(pointer, str) else UNNAMED
    return UNNAMED


def _messages(name: str, node: object, found: _Found, depth: int) -> None:
    """The messages of one field; a nested map names further fields."""
    if isinstance(node, str):
        found.say(name, node)
    elif depth <= 0:
        found.about(UNNAMED)
    elif isinstance(node, list):
        for item in cast("list[object]", node)[:MAX_REASONS]:
            _messages(name, item, found, depth - 1)
    elif isinstance(node, dict):
        _errors(cast("object", node), found, depth - 1)


def _text_of(body: bytes) -> str:
    text = body[: MAX_REASON_LENGTH * 16].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return text
    title = _PAGE_TITLE.search(text)
    return title.group(1) if title else ""
