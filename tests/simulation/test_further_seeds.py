"""The other half of the first thousand seeds."""

from __future__ import annotations

import pytest

from tests.simulation.support import assert_clean


@pytest.mark.parametrize("first", [500, 750])
def test_seeds_break_no_rule(first: int) -> None:
    assert_clean(first, 250)
