"""The breaker: opens after repeated failure, probes ever less often, closes at the first success."""

from __future__ import annotations

from random import Random

from parallax.venues.breaker import Breaker, BreakerSettings

SETTINGS = BreakerSettings(failures=3, share=0.5, window=30, least_calls=10, first_delay=1, longest_delay=8)


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker(SETTINGS, Random(1))
    for _ in range(3):
        breaker.failed(now, "GET /users timed out.", probe=False)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(SETTINGS, Random(1))
    breaker.failed(0, "x", probe=False)
    breaker.failed(0, "x", probe=False)
    breaker.succeeded(0, probe=False)
    breaker.failed(0, "x", probe=False)
    breaker.failed(0, "x", probe=False)
    assert breaker.down is None
    breaker.failed(1, "the last", probe=False)
    assert breaker.down is not None
    assert (breaker.down.since, breaker.down.cause, breaker.down.failures) == (1, "the last", 3)


def test_a_share_of_failures_opens_it_too_but_only_lately_and_with_enough_calls() -> None:
    breaker = Breaker(SETTINGS, Random(1))
    for n in range(4):
        breaker.failed(n, "x", probe=False)
        breaker.succeeded(n, probe=False)
    assert breaker.down is None
    breaker.failed(100, "x", probe=False)  # the others are forgotten by now
    assert breaker.down is None
    for _ in range(4):
        breaker.succeeded(101, probe=False)
        breaker.failed(101, "x", probe=False)
    assert breaker.down is None
    breaker.failed(101, "x", probe=False)
    assert breaker.down is not None


def test_thirty_percent_of_failures_do_not_stop_the_desk() -> None:
    breaker = Breaker(BreakerSettings(), Random(3))
    random = Random(4)
    opened = 0
    for n in range(3_000):
        now = n * 0.2
        if breaker.down is not None:
            opened += 1
            breaker.succeeded(now, probe=True)
        elif random.random() < 0.3:
            breaker.failed(now, "x", probe=False)
        else:
            breaker.succeeded(now, probe=False)
    assert opened < 15


def test_while_open_only_one_read_goes_and_only_when_it_is_time() -> None:
    breaker = broken()
    assert breaker.down is not None
    due = breaker.down.retry_at
    assert 0.75 <= due <= 1
    assert breaker.refuses(due - 0.01, may_probe=True)
    assert breaker.refuses(due, may_probe=False)
    assert not breaker.refuses(due, may_probe=True)
    assert breaker.begin()
    assert breaker.refuses(due, may_probe=True)
    breaker.abandoned(probe=True)
    assert not breaker.refuses(due, may_probe=True)


def test_probes_come_less_and_less_often_up_to_a_bound() -> None:
    breaker = broken()
    delays: list[float] = []
    now = 0.0
    for _ in range(6):
        assert breaker.down is not None
        now = breaker.down.retry_at
        assert breaker.begin()
        breaker.failed(now, "still", probe=True)
        delays.append(breaker.down.retry_at - now)
    assert all(
        0.75 * bound <= delay <= bound for delay, bound in zip(delays, (2, 4, 8, 8, 8, 8), strict=True)
    )
    assert breaker.down is not None
    assert breaker.down.since == 0


def test_a_late_failure_of_an_older_call_changes_nothing() -> None:
    breaker = broken()
    before = breaker.down
    breaker.failed(0.5, "late", probe=False)
    assert breaker.down == before


def test_the_first_success_closes_it_and_forgets() -> None:
    breaker = broken()
    breaker.begin()
    breaker.succeeded(5, probe=True)
    assert breaker.down is None
    assert not breaker.probing
    breaker.failed(6, "x", probe=False)
    assert breaker.down is None
