"""The examples of the documentation and of the package run as they stand."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

import parallax
from parallax.client import http
from tests.client.running import Running

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs" / "python.md"


def test_the_documented_examples_do_what_they_say(served: Running) -> None:
    text = DOCS.read_text()
    # The address that everybody has, answered by the desk of this test.
    with patch.object(http, "base_of", lambda url: base_of(url.replace("http://localhost:4000", served.url))):
        example = doctest.DocTestParser().get_doctest(shown(text), {}, "python.md", str(DOCS), 0)
        results = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(example)
    assert results.attempted > 15
    assert results.failed == 0


base_of = http.base_of


def shown(text: str) -> str:
    """The document without its fences, which a doctest would take for output."""
    return "\n".join("" if line.startswith("```") else line for line in text.splitlines())


def test_every_public_name_can_be_had_and_is_documented() -> None:
    for name in parallax.__all__:
        assert getattr(parallax, name) is not None
        assert name in dir(parallax)
    assert set(parallax.__all__) == {name for names in parallax._HOMES.values() for name in names} | {"facts"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = parallax.nothing  # type: ignore[attr-defined]


def test_every_error_is_in_the_documentation() -> None:
    errors = {
        name
        for name in parallax.__all__
        if isinstance(found := getattr(parallax, name), type) and issubclass(found, parallax.DeskError)
    }
    assert {name for name in errors if f"`{name}`" not in DOCS.read_text()} == {"DeskError"}


def test_every_verb_is_in_the_documentation() -> None:
    text = DOCS.read_text()
    verbs = [name for name in vars(parallax.AsyncDesk) if not name.startswith("_")]
    assert [name for name in verbs if f"`{name}(" not in text] == []


def test_importing_the_package_loads_nothing_else() -> None:
    heavy = ("parallax.", "httpx2", "msgspec", "asyncio")
    code = f"import sys, parallax; print([name for name in sys.modules if name.startswith({heavy})])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"
