"""The tables in docs/architecture.md are the tables in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parallax.domain.transitions import ORDER_STEPS, QUOTE_STEPS

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


@pytest.mark.parametrize(("name", "steps"), [("ORDER_STEPS", ORDER_STEPS), ("QUOTE_STEPS", QUOTE_STEPS)])
def test_the_documented_table_is_the_table(name: str, steps: dict[tuple[object, type], object]) -> None:
    table = re.search(rf"<!-- table: {name} -->(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert table is not None
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in table.group(1).strip().splitlines()[2:]
    }
    assert rows == {(str(state or "–"), fact.__name__, str(after)) for (state, fact), after in steps.items()}
