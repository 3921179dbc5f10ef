"""The venue's time, estimated from the `Date` headers of its answers (rule 8).

A `Date` header tells whole seconds: an answer that says D was made when the venue's clock stood in [D, D + 1 s), at
some moment between our sending and its arriving. So each answer confines the venue's clock to an interval, and all
of them together to where the intervals meet, which after a few answers is far narrower than any one of them: about
the quickest round trip. The estimate is the middle of what is left.

It is kept against the desk's *monotonic* clock, so that a jump of the desk's own wall clock moves `offset` and
nothing else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from parallax.ports.clock import Clock
from parallax.ports.venue import VenueTime

FIRST_UNCERTAINTY: Final = timedelta(seconds=2)
"""Assumed before any answer: two machines that keep time, and neither of them well."""

DATE_RESOLUTION: Final = 1.0
"""Seconds that a `Date` header stands for."""

STALE_DATE: Final = 1.0
"""Seconds by which a `Date` may be old at a server that renews its header text once a second (uvicorn and cowboy
do). Assumed of a venue from the first time that its answers show it. One that renews it at the same moment of
every second cannot be told from one whose clock is slow: then the estimate is up to this much early, on the side
where the venue itself says no."""

GRAIN: Final = 0.002
"""Seconds by which a loop's clock may run behind the moment it is read (uvloop's counts milliseconds)."""

DRIFT: Final = 200e-6
"""Seconds per second by which two clocks may part: a poor quartz (100 ppm) at each end."""

WALL_JUMP: Final = 0.5
"""Seconds by which the desk's wall clock may part from its monotonic one between two answers before it counts as a
jump: more than any slewing does in minutes."""

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_USUAL: Final = re.compile(
    rf"[A-Z][a-z]{{2}}, ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}}) ([0-9]{{2}}):([0-9]{{2}}):([0-9]{{2}}) GMT"
)
"""The form that nearly every server sends: read twenty times faster than the others, for every answer."""


class VenueClockEstimate:
    """`VenueClock` from `Date` headers. Feed it with `heard`; it reads nothing but the clock handed in.

    What it claims: if the venue's clock runs evenly and its `Date` is honest, the venue's time is between
    `earliest()` and `latest()`. `samples` counts the answers used, `jumps` how often they contradicted what
    was known (the venue's clock was set), `as_of` is when the last was used, by the desk's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.samples = 0
        self.jumps = 0
        self.as_of: datetime | None = None
        self._origin_wall = clock.now()
        self._origin = clock.monotonic()
        # The venue's clock is origin wall + (monotonic − origin) + x seconds; x lies in [low, high] as of `at`.
        self._low = self._high = 0.0
        self._at = self._origin
        self._wall_lead = 0.0
        self._stale = 0.0

    def heard(self, date: str | None, sent: float, answered: float) -> bool:
        """Use an answer's `Date` header, given when the request was sent and the answer arrived (monotonic
        seconds). Says whether it was usable."""
        told = parse_http_date(date) if date else None
        if told is None or answered < sent:
            return False
        seconds = (told - self._origin_wall).total_seconds()
        low = seconds - (answered - self._origin) - GRAIN
        high = seconds + DATE_RESOLUTION - (sent - self._origin) + GRAIN
        wall = self._clock.now()
        lead = self._lead(wall, self._clock.monotonic())
        if self.samples:
            self._meet(low, high, answered, lead)
        else:
            self._low, self._high = low, high
        self.samples += 1
        self._at = max(self._at, answered)
        self._wall_lead = lead
        self.as_of = wall
        return True

    def read(self) -> VenueTime:
        """The venue's time now, as best known, and how sure that is; the desk's own time before any answer."""
        if not self.samples:
            return VenueTime(self._clock.now(), FIRST_UNCERTAINTY)
        at = self._clock.monotonic()
        low, high = self._bounds(at, self._lead(self._clock.now(), at))
        passed = at - self._origin
        return VenueTime(
            self._origin_wall + timedelta(seconds=passed + (low + high) / 2),
            timedelta(seconds=(high - low) / 2),
        )

    def now(self) -> datetime:
        """The venue's time now, as best known."""
        return self.read().now

    def earliest(self) -> datetime:
        """The venue's time now is not before this. Proof that something is *over* rests on it."""
        time = self.read()
        return time.now - time.uncertainty

    def latest(self) -> datetime:
        """The venue's time now is not after this. A last check that something is *not yet* over rests on it."""
        time = self.read()
        return time.now + time.uncertainty

    @property
    def offset(self) -> timedelta:
        """What to add to the desk's wall clock to get the venue's."""
        return self.now() - self._clock.now()

    @property
    def uncertainty(self) -> timedelta:
        """Half the width of what the offset may be; it grows with the age of the last answer."""
        return self.read().uncertainty

    def _meet(self, low: float, high: float, at: float, lead: float) -> None:
        """Narrow what is known to where it meets a new interval, or start over from that when it does not."""
        known_low, known_high = self._bounds(at, lead)
        high += self._stale
        if not self._stale and 0 < max(known_low - high, low - known_high) <= STALE_DATE:
            # So near a miss is a `Date` that was old already. That makes every upper end too low, never a lower.
            self._stale = STALE_DATE
            known_high += STALE_DATE
            high += STALE_DATE
        if low > known_high or high < known_low:
            self.jumps += 1
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, known_low), min(high, known_high)

    def _bounds(self, at: float, lead: float) -> tuple[float, float]:
        """What x may be at a moment: as last known, wider by drift, and by a jump of the wall clock."""
        drift = DRIFT * (at - self._at) if at > self._at else 0.0
        jump = lead - self._wall_lead
        # A wall clock that leaps ahead was either set, or the machine slept and its monotonic clock with it: only
        # then has the venue's clock run on unseen. One that leaps back was set.
        slept = jump if jump > WALL_JUMP else 0.0
        return self._low - drift, self._high + drift + slept

    def _lead(self, wall: datetime, at: float) -> float:
        """How far the wall clock has parted from the monotonic one since the origin, in seconds."""
        return (wall - self._origin_wall).total_seconds() - (at - self._origin)


@lru_cache(maxsize=16)  # answers of the same second carry the same text
def parse_http_date(text: str) -> datetime | None:
    """The instant of an HTTP date in any of its three forms, or None. Without a zone it is GMT."""
    if len(text) > 64:
        return None
    if (usual := _USUAL.fullmatch(text)) is not None:
        day, month, year, hour, minute, second = usual.groups()
        text = f"{year}-{_MONTHS[month]:02}-{day}T{hour}:{minute}:{second}+00:00"
    try:
        told = datetime.fromisoformat(text) if usual is not None else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    told = told.replace(tzinfo=UTC) if told.tzinfo is None else told
    return told if 1990 <= told.year <= 9000 else None
