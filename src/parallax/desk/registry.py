"""One registry per kind: what is live, keyed by id, each entity once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class AlreadyLive(Exception):
    """A second entity with the id of a live one: a mistake in the program."""


class Registry(Generic[Key, Value]):
    """Live entities of one kind. Adding a key twice, or replacing one that is absent, raises."""

    __slots__ = ("_live", "get")

    def __init__(self) -> None:
        self._live: dict[Key, Value] = {}
        self.get: Callable[[Key], Value | None] = self._live.get
        """The live entity with a key, or None. The dictionary's own method: nothing is asked more often."""

    def add(self, key: Key, value: Value) -> None:
        """Let an entity in. Raises `AlreadyLive` if one with this key is in."""
        if self._live.setdefault(key, value) is not value:
            raise AlreadyLive(str(key))

    def replace(self, key: Key, value: Value) -> Value:
        """Put the newer state of a live entity in its place and return the older. Raises `KeyError`."""
        older = self._live[key]
        self._live[key] = value
        return older

    def retire(self, key: Key) -> None:
        """Let an entity go; history is read from the journal."""
        del self._live[key]

    def __contains__(self, key: object) -> bool:
        return key in self._live

    def __len__(self) -> int:
        return len(self._live)

    def newest(self) -> Iterator[Value]:
        """The values, the last added first."""
        return reversed(self._live.values())

    def __iter__(self) -> Iterator[Value]:
        return iter(self._live.values())
