"""What one seed does: how many people, how rich a run, and which faults how often.

Each seed turns on a few kinds of fault and leaves the others off, because faults hide one another: a connection that
always breaks never shows what a late answer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

ORDER_FAULTS: Final = (
    "unreachable",
    "lost_request",
    "lost_reply",
    "late_request",
    "late_reply",
    "duplicate",
    "error_before",
    "error_after",
    "limited",
    "key_refused",
    "amount_refused",
    "garbage",
    "cut",
)
"""What can happen to an order request on its way."""

READ_FAULTS: Final = (
    "unreachable",
    "lost_reply",
    "late_reply",
    "error_before",
    "limited",
    "garbage",
    "cut",
)
"""What can happen to any other call; carrying one out twice or late changes little."""

MAX_JUMP: Final = 12.0
"""Seconds that the venue's clock jumps at most, one way or the other: see the assumptions in docs/guarantees.md."""

MAX_LATE_LISTING: Final = 20.0
"""Seconds that an accepted order is missing from the lists at most: the same."""

MAX_LATE: Final = 240.0
"""Seconds that a request or an answer is held up in the network at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of one run. Times are seconds of the virtual clock, chances are shares of calls or actions."""

    seed: int
    operators: int
    quotes: int
    active: float
    """How long people work."""
    storm: float
    """How long the network and the disk make trouble; afterwards they heal and everything must be resolved."""
    order_faults: dict[str, float]
    read_faults: dict[str, float]
    slow: float
    """Seconds that a message takes at worst when nothing else befalls it."""
    desk_skew: float
    """How far the desk's wall clock is off."""
    venue_skew: float
    desk_jumps: int
    venue_jumps: int
    venue_restarts: int
    kills: int
    stops: int
    disk_failures: int
    slow_disk: float
    """The chance that an fsync takes long."""
    pages: float
    """The share of lists of orders that come as a first page, and say so: a venue that does it nearly always does."""
    late_listing: float
    change_of_mind: float
    elsewhere: int
    """Orders that other programs place at the venue meanwhile."""
    contradictions: bool
    """Whether some of those land on a quote that has been used."""
    grace: float
    """The desk's grace, in seconds."""
    hashed: bool
    """Whether facts are encoded and chained as they are written, as on a real disk; it costs time."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"{seed}:plan")
    stormy = random.random() < 0.85

    def faults(names: tuple[str, ...], kinds: int, chances: tuple[float, ...]) -> dict[str, float]:
        if not stormy:
            return {}
        return {name: random.choice(chances) for name in random.sample(names, random.randint(1, kinds))}

    active = random.uniform(60.0, 150.0)
    return Plan(
        seed=seed,
        operators=random.randint(2, 3),
        quotes=random.randint(3, 6),
        active=active,
        # Long enough in every other seed that conclusions about the last orders are drawn in bad weather too.
        storm=active + random.choice((0.0, 0.0, 250.0, 350.0)),
        order_faults=faults(ORDER_FAULTS, 4, (0.15, 0.3, 0.5)),
        read_faults=faults(READ_FAULTS, 3, (0.05, 0.15, 0.3)),
        slow=random.choice((0.1, 0.1, 2.0, 6.0)),
        desk_skew=random.choice((0.0, 0.0, 0.4, -1.7, 75.0, -130.0, 400.0, -400.0)),
        venue_skew=random.choice((0.0, 0.0, 3.0, -3.0, 90.0, -90.0)),
        desk_jumps=random.choice((0, 0, 1, 2)),
        venue_jumps=random.choice((0, 0, 0, 0, 1)),
        venue_restarts=random.choice((0, 0, 0, 1)) if stormy else 0,
        kills=random.choice((0, 0, 1, 1, 2)),
        stops=random.choice((0, 0, 0, 1)),
        disk_failures=random.choice((0, 0, 0, 0, 0, 1)),
        slow_disk=random.choice((0.0, 0.0, 0.05, 0.3)),
        pages=Random(f"{seed}:pages").choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.8)) if stormy else 0.0,
        late_listing=random.choice((0.0, 0.0, 0.5)),
        change_of_mind=random.choice((0.0, 0.0, 0.0, 0.2)),
        elsewhere=random.choice((0, 0, 1, 3)),
        contradictions=random.random() < 0.15,
        grace=60.0,
        hashed=random.random() < 0.1,
    )
