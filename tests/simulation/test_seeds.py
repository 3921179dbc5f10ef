"""The first thousand seeds, in every run of the tests: this half of them, the other beside it on another worker.

`make simulate SEEDS=…` goes on from there.
"""

from __future__ import annotations

import pytest

from tests.simulation.support import assert_clean

FOUND_SOMETHING = [136, 179, 1686, 10206]
"""Seeds that broke a rule when they were new: an order that vanished by a clock that was set; a list of quotes older
than the order; a stop while a refusal was in doubt; a disk that kept what it said it had not. What a seed does changes
with the simulation, so each fix has a small test of its own too (`tests/desk/test_found_by_simulation.py`)."""


@pytest.mark.parametrize("first", [0, 250])
def test_seeds_break_no_rule(first: int) -> None:
    assert_clean(first, 250)


@pytest.mark.parametrize("seed", FOUND_SOMETHING)
def test_seeds_that_found_something_stay_clean(seed: int) -> None:
    assert_clean(seed, 1)
