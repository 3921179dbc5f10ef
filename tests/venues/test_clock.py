"""The venue's clock: the truth is always inside what the estimate claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallax.venues.clock import FIRST_UNCERTAINTY, VenueClockEstimate, parse_http_date

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Desk:
    """A desk's clock moved by hand."""

    elapsed: float = 0.0
    lead: float = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed + self.lead)

    def monotonic(self) -> float:
        return 1_000.0 + self.elapsed


@dataclass
class World:
    """A desk and a venue whose clock is `skew` seconds ahead and runs `drift` fast."""

    skew: float
    drift: float = 0.0
    stale: bool = False
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.estimate = VenueClockEstimate(self.desk)

    def truth(self) -> datetime:
        return NOON + timedelta(seconds=self.desk.elapsed * (1 + self.drift) + self.skew)

    def call(self, there: float, back: float) -> None:
        sent = self.desk.monotonic()
        self.desk.elapsed += there
        told = self.truth()
        if self.stale:  # a server that renews its Date text every 1.01 s
            told -= timedelta(seconds=self.desk.elapsed % 1.01)
        self.desk.elapsed += back
        assert self.estimate.heard(
            format_datetime(told.replace(microsecond=0), usegmt=True), sent, self.desk.monotonic()
        )

    def holds(self) -> bool:
        slack = timedelta(microseconds=2)  # datetimes count no finer
        return self.estimate.earliest() - slack <= self.truth() <= self.estimate.latest() + slack


trips = st.lists(
    st.tuples(
        st.floats(0, 3),  # there
        st.floats(0, 3),  # back
        st.floats(0, 600),  # quiet time before
    ),
    min_size=1,
    max_size=30,
)


@given(skew=st.floats(-1e6, 1e6), drift=st.floats(-190e-6, 190e-6), calls=trips)
def test_the_truth_is_always_inside(
    skew: float, drift: float, calls: Sequence[tuple[float, float, float]]
) -> None:
    world = World(skew, drift)
    for there, back, quiet in calls:
        world.desk.elapsed += quiet
        world.call(there, back)
        assert world.holds()
    assert world.estimate.jumps == 0
    world.desk.elapsed += 3_600
    assert world.holds()


@given(skew=st.floats(-100, 100), calls=trips)
def test_jumps_of_the_desks_own_clock_and_sleep_do_not_lead_astray(
    skew: float, calls: Sequence[tuple[float, float, float]]
) -> None:
    world = World(skew)
    for n, (there, back, quiet) in enumerate(calls):
        world.call(there, back)
        world.desk.elapsed += quiet
        world.desk.lead += (3_600, -7_200, 0.2)[n % 3]
        assert world.holds()
    assert world.estimate.jumps == 0


def test_a_machine_that_slept_knows_that_it_does_not_know() -> None:
    world = World(0.0)
    world.call(0.01, 0.01)
    # The wall clock goes on during sleep, the monotonic one does not: to the desk it looks like a leap.
    world.skew += 900
    world.desk.lead += 900
    assert world.estimate.uncertainty > timedelta(minutes=7)
    assert world.holds()
    world.call(0.01, 0.01)
    assert world.holds()
    assert world.estimate.uncertainty < timedelta(seconds=1)


def test_before_any_answer_the_desks_own_clock_is_taken() -> None:
    estimate = VenueClockEstimate(Desk())
    assert estimate.offset == timedelta()
    assert estimate.uncertainty == FIRST_UNCERTAINTY
    assert estimate.as_of is None


def test_a_few_answers_tell_far_more_than_one() -> None:
    world = World(skew=37.4)
    world.call(0.02, 0.02)
    assert world.estimate.uncertainty > timedelta(seconds=0.5)
    for n in range(40):
        world.desk.elapsed += 0.37 + 0.01 * n
        world.call(0.02, 0.02)
    assert world.estimate.uncertainty < timedelta(seconds=0.05)
    assert abs(world.estimate.offset.total_seconds() - 37.4) < 0.05
    assert world.estimate.samples == 41


def test_it_grows_less_certain_with_age() -> None:
    world = World(0.0)
    world.call(0.01, 0.01)
    before = world.estimate.uncertainty
    world.desk.elapsed += 1_000
    assert world.estimate.uncertainty - before == pytest.approx(
        timedelta(seconds=0.2), abs=timedelta(seconds=0.01)
    )


@pytest.mark.parametrize("jump", [-120.0, 90.0])
def test_a_jump_of_the_venues_clock_is_noticed_and_followed(jump: float) -> None:
    world = World(0.0)
    for _ in range(5):
        world.desk.elapsed += 1.3
        world.call(0.02, 0.02)
    world.skew += jump
    world.call(0.02, 0.02)
    assert world.estimate.jumps == 1
    assert world.holds()


def test_a_server_whose_date_is_up_to_a_second_old_is_seen_through() -> None:
    world = World(skew=5.0, stale=True)
    for n in range(60):
        world.desk.elapsed += 0.93 + 0.007 * n
        world.call(0.01, 0.01)
    assert world.estimate.jumps == 0
    assert world.holds()


@pytest.mark.parametrize(
    "date", [None, "", "soon", "Sun, 99 Nov 1994 08:49:37 GMT", "x" * 100, "Fri, 31 Dec 9999 00:00:00 GMT"]
)
def test_a_date_that_is_none_is_passed_over(date: str | None) -> None:
    estimate = VenueClockEstimate(Desk())
    assert not estimate.heard(date, 0.0, 0.1)
    assert estimate.samples == 0


@given(st.text(max_size=40))
def test_parsing_a_date_never_raises(text: str) -> None:
    told = parse_http_date(text)
    assert told is None or told.tzinfo is not None
