"""The page about the sandbox tells the truth: its examples run, and it names everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parallax.sandbox import FAULTS, KINDS, REFUSAL_SHAPES, SandboxSettings
from parallax.sandbox.control import _ACTIONS
from tests.sandbox.support import Wire

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
EXAMPLES = re.findall(r"^control -d '(.*)'$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("body", EXAMPLES)
async def test_an_example_works(body: str) -> None:
    assert (await Wire().raw("POST", "/_control", body.encode())).status in (200, 201)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_documented_with_its_parameters_and_an_example(fault: str) -> None:
    [row] = re.findall(rf"^\| `{fault}` \|.*$", PAGE.partition("## Actions")[0], re.MULTILINE)
    assert [name for name in FAULTS[fault].params if f"`{name}`" not in row] == []
    choices = [str(choice) for param in FAULTS[fault].params.values() for choice in param.choices]
    assert [choice for choice in choices if choice not in row and choice not in ("before", "after")] == []
    assert any(f'"fault": "{fault}"' in example for example in EXAMPLES)


@pytest.mark.parametrize("name", [*KINDS, *REFUSAL_SHAPES, *_ACTIONS, *SandboxSettings().changeable()])
def test_a_name_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE
