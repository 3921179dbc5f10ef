"""What a `MemoryJournal` keeps things on: a disk that keeps everything, and one that takes its time and can crash."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from parallax.domain.facts import Fact
from parallax.ports.journal import Remembered

Entry: TypeAlias = bytes | Fact | Remembered
"""What a disk keeps: a fact's record (or, unhashed, the fact itself), or a remembered answer."""


class Disk(Protocol):
    """Where a `MemoryJournal` keeps what must survive."""

    def load(self) -> Sequence[Entry]:
        """What survived, oldest first."""
        ...

    def sync(self, entries: Sequence[Entry], durable: Callable[[], None]) -> None:
        """Keep entries, all or none, after all that were given before.

        Calls `durable` in a later step of the loop, once they would survive a crash; never, when a crash comes
        first. The journal gives the next only after that. Raises `OSError` when it cannot.
        """
        ...


class MemoryDisk:
    """Keeps everything, and is done in the loop's next step."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def load(self) -> Sequence[Entry]:
        return tuple(self._entries)

    def sync(self, entries: Sequence[Entry], durable: Callable[[], None]) -> None:
        self._entries += entries
        asyncio.get_running_loop().call_soon(durable)


class SimulatedDisk:
    """A disk whose syncs take `delay()` seconds of the loop's time, and that can crash or fill up."""

    def __init__(self, delay: Callable[[], float]) -> None:
        self.full = False
        """When set, the next sync fails as on a full disk."""
        self.syncs = 0
        self._delay = delay
        self._entries: list[Entry] = []
        self._under_way: Sequence[Entry] | None = None
        self._crashes = 0

    def load(self) -> Sequence[Entry]:
        return tuple(self._entries)

    def sync(self, entries: Sequence[Entry], durable: Callable[[], None]) -> None:
        assert self._under_way is None, "one sync at a time"
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._under_way = entries
        asyncio.get_running_loop().call_later(self._delay(), self._synced, self._crashes, durable)

    def crash(self, *, survives: bool = False) -> None:
        """Power off: the sync under way is lost, or with `survives` it was on the disk though nobody was told.
        Nobody who waited hears anything any more."""
        if survives and self._under_way is not None:
            self._entries += self._under_way
        self._under_way = None
        self._crashes += 1

    def _synced(self, crashes: int, durable: Callable[[], None]) -> None:
        if crashes != self._crashes or self._under_way is None:
            return
        self._entries += self._under_way
        self._under_way = None
        self.syncs += 1
        durable()
