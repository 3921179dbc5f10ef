"""Which faults are on, and which call each of them hits: aim, count, share and end, all from the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, cast

from parallax.sandbox.call import KINDS
from parallax.sandbox.faults import FAULTS, FaultKind, Param, bad_control
from parallax.sandbox.settings import MAX_SECONDS

MAX_FAULTS: Final = 100
"""Faults that may be on at once: each is looked at for every call."""

_TIMES: Final = Param("how many calls it hits; without it, as many as come", 1, 1, 1_000_000)
_SHARE: Final = Param("the share of calls it hits", 1.0, 0.0, 1.0)
_SECONDS: Final = Param("it ends after so long", 60.0, 0.0, MAX_SECONDS)


@dataclass(slots=True)
class Fault:
    """A fault that is on."""

    id: int
    name: str
    kind: FaultKind
    params: Mapping[str, Any]
    on: tuple[str, ...]
    times_left: int | None
    """None: no limit."""
    share: float
    until: datetime | None
    """On the true clock; None: no end."""
    random: Random
    hits: int = 0

    def over(self, now: datetime) -> bool:
        """Whether it can hit no more."""
        return self.times_left == 0 or (self.until is not None and now >= self.until)

    def strikes(self, call_kind: str) -> bool:
        """Whether it hits this call of `call_kind`; if so, it is counted."""
        if call_kind not in self.on or (self.share < 1.0 and self.random.random() >= self.share):
            return False
        self.hits += 1
        if self.times_left is not None:
            self.times_left -= 1
        return True

    def as_json(self) -> dict[str, object]:
        """For the control door."""
        return {
            "id": self.id,
            "fault": self.name,
            **self.params,
            "on": list(self.on),
            "times_left": self.times_left,
            "share": self.share,
            "until": None if self.until is None else self.until.isoformat().replace("+00:00", "Z"),
            "hits": self.hits,
        }


class FaultPlan:
    """The faults that are on. They act in the order in which they were added, the first outermost."""

    __slots__ = ("_added", "_clock", "_seed", "active")

    def __init__(self, seed: int, clock: Callable[[], datetime]) -> None:
        self.active: list[Fault] = []
        self._added = 0
        self._seed = seed
        self._clock = clock

    def add(
        self,
        name: str,
        *,
        on: object = "all",
        times: object = None,
        share: object = 1.0,
        for_seconds: object = None,
        until: object = None,
        **params: object,
    ) -> Fault:
        """Switch a fault on and return it.

        `on` is "all", one kind of call or a list of kinds; `times`, `share`, `for_seconds` and `until` (an
        aware datetime or its ISO text) bound it; `params` are the fault's own. Raises `Refusal` (422) naming
        what is wrong.
        """
        kind = FAULTS.get(name)
        if kind is None:
            raise bad_control("fault", f"must be one of {', '.join(FAULTS)}")
        if len(self.active) >= MAX_FAULTS:
            raise bad_control("fault", f"is one too many: {MAX_FAULTS} are on")
        for given in params:
            if given not in kind.params:
                known = ", ".join(kind.params) or "nothing"
                raise bad_control(given, f"is no parameter of {name}, which takes {known}")
        end = _read_end(self._clock(), for_seconds, until)
        fault = Fault(
            id=self._added + 1,
            name=name,
            kind=kind,
            params={
                key: p.read(key, params[key]) if key in params else p.default
                for key, p in kind.params.items()
            },
            on=_read_aim(name, kind, on),
            times_left=None if times is None else cast("int", _TIMES.read("times", times)),
            share=cast("float", _SHARE.read("share", share)),
            until=end,
            # A stream of its own: a fault more or less changes nobody else's luck.
            random=Random(f"{self._seed}:fault:{self._added + 1}"),
        )
        self._added += 1
        self.active.append(fault)
        return fault

    def strike(self, faults: list[Fault], call_kind: str) -> tuple[Fault | None, list[Fault]]:
        """The first of `faults` that hits a call of `call_kind` now, and those after it.

        Asked when a call gets that far: a fault behind one that answers by itself keeps its turn for later.
        """
        now = self._clock()
        for place, fault in enumerate(faults):
            if not fault.over(now) and fault.strikes(call_kind):
                return fault, faults[place + 1 :]
        return None, []

    def prune(self, now: datetime) -> None:
        """Forget faults that are over."""
        if any(fault.over(now) for fault in self.active):
            self.active = [fault for fault in self.active if not fault.over(now)]

    def remove(self, fault_id: int) -> bool:
        """Switch one off; false when there is none of that id."""
        for fault in self.active:
            if fault.id == fault_id:
                self.active.remove(fault)
                fault.times_left = 0  # calls under way, which may still come to it, pass
                return True
        return False

    def clear(self) -> int:
        """Switch all off; returns how many were on."""
        cleared = list(self.active)
        for fault in cleared:
            self.remove(fault.id)
        return len(cleared)


def _read_aim(name: str, kind: FaultKind, on: object) -> tuple[str, ...]:
    if on == "all":
        return kind.on
    wanted = cast("list[object]", on) if isinstance(on, (list, tuple)) else [on]
    for one in wanted:
        if one not in KINDS:
            raise bad_control("on", f"must be all, or of {', '.join(KINDS)}")
        if one not in kind.on:
            raise bad_control("on", f"for {name} must be of {', '.join(kind.on)}")
    if not wanted:
        raise bad_control("on", "must name a kind of call")
    return tuple(cast("list[str]", wanted))


def _read_end(now: datetime, for_seconds: object, until: object) -> datetime | None:
    if for_seconds is not None and until is not None:
        raise bad_control("until", "cannot be given with for_seconds")
    if for_seconds is not None:
        return now + timedelta(seconds=cast("float", _SECONDS.read("for_seconds", for_seconds)))
    if until is None:
        return None
    try:
        end = datetime.fromisoformat(until) if isinstance(until, str) else until
    except ValueError:
        end = None
    if not isinstance(end, datetime) or end.tzinfo is None:
        raise bad_control("until", "must be an instant with a zone, such as 2030-01-31T12:00:00Z")
    return end.astimezone(UTC)
