"""The checker is checked: every planted defect is found, and the page says so truly."""

from __future__ import annotations

import re

import pytest

from simulation import rules
from simulation.defects import DEFECTS
from tests.simulation.support import ROOT, simulate

WITHIN = 500
"""Seeds in which each must be found."""


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_planted_defect_is_found(name: str) -> None:
    run = simulate("defects", "--only", name, "--seeds", str(WITHIN))
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_are_enough_of_them() -> None:
    assert len(DEFECTS) >= 12


def test_the_published_table_names_every_defect() -> None:
    page = (ROOT / "docs/simulation.md").read_text("utf-8")
    published = set(re.findall(r"^\| (\w+) \| .* \| \d+ seeds? \|", page, re.MULTILINE))
    assert published == set(DEFECTS)


def test_every_rule_has_its_promise() -> None:
    page = (ROOT / "docs/guarantees.md").read_text("utf-8")
    names = {value for name, value in vars(rules).items() if name.isupper() and isinstance(value, str)}
    assert len(names) == 14
    for name in names:
        assert f"`{name}`" in page, name


def test_nothing_of_it_is_in_the_package() -> None:
    for source in (ROOT / "src").rglob("*.py"):
        assert "simulation.defects" not in source.read_text("utf-8"), source


def test_every_test_that_the_guarantees_name_exists() -> None:
    page = (ROOT / "docs/guarantees.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    there = set(re.findall(r"def (test_\w+)", sources))
    assert named - there == set()
    assert len(named) > 20
