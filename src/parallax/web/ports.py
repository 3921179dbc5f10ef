"""What the pages need beside the desk, as protocols: what operations shows, and the sandbox's drill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one purpose since the start: how many were `made`, how many a cache or a shared read `saved`, how
    many `failed`, and how long the middle one and the slowest of a hundred took, in milliseconds."""

    purpose: str
    made: int
    saved: int
    failed: int
    p50: int | None = None
    p99: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """The call budget: calls allowed a second, calls `under_way` of those allowed `at_once`, calls waiting for their
    turn, and the breaker's state in words."""

    calls: Sequence[Calls] = ()
    per_second: str = ""
    under_way: int = 0
    at_once: int = 0
    waiting: int = 0
    breaker: str = ""


class OperationsView(Protocol):
    """What only the venue's adapter knows of how things run."""

    def budget(self) -> Budget:
        """The call budget now."""
        ...


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that is on: its `id` for switching it off, and in words what it does, to what, and how often still."""

    id: str
    words: str


class Drill(Protocol):
    """The sandbox's faults, for rehearsals. Every call raises `parallax.domain.errors.DeskError` when it fails."""

    async def faults(self) -> Sequence[ActiveFault]:
        """What is on now."""
        ...

    async def inject(self, kind: str, fields: Mapping[str, object]) -> None:
        """Switch a fault on, or run an action: `kind` and `fields` as the sandbox's control door takes them."""
        ...

    async def clear(self) -> None:
        """Switch everything off."""
        ...


@dataclass(frozen=True, slots=True)
class Exercise:
    """A rehearsal on offer: what it does and what to watch for. `kind` names a fault or, with `action`, an action."""

    key: str
    name: str
    watch: str
    kind: str
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
