"""Orders get ids that sort by time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from random import Random

from parallax.bootstrap import time_ordered_id
from parallax.domain.identity import is_identifier


class Ticking:
    """A clock that goes on a millisecond at each look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def monotonic(self) -> float:
        return 0.0


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    clock, random = Ticking(), Random(1)
    made = [time_ordered_id(clock, random) for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == 1_000
    assert all(uuid.UUID(text).version == 7 and is_identifier(text) for text in made)
