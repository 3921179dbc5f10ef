"""A number and its noun."""

from __future__ import annotations

import pytest

from parallax.domain.plurals import count


@pytest.mark.parametrize(("number", "words"), [(0, "0 orders"), (1, "1 order"), (2, "2 orders")])
def test_one_is_singular(number: int, words: str) -> None:
    assert count(number, "order") == words
