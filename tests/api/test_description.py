"""The description, the documentation and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from starlette.types import Message

from parallax.domain import errors as domain_errors
from parallax.domain.errors import DeskError
from parallax.web.api import models, openapi
from parallax.web.api.errors import API_PROBLEMS, RETRYABLE, every_problem
from parallax.web.api.openapi import RETRYABLE_CODES, document
from parallax.web.api.operations import OPERATIONS
from parallax.web.problems import PROBLEMS
from parallax.web.security import POLICY
from tests.api.support import World

DOCS = Path(__file__).parent.parent.parent / "docs" / "api.md"


def table(name: str) -> list[list[str]]:
    """The rows of a marked table in the documentation."""
    text = DOCS.read_text().split(f"<!-- table: {name} -->")[1].split("<!-- end -->")[0]
    lines = [line for line in text.strip().splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_documented_problems_are_the_codes() -> None:
    documented = {code: (int(status), retry == "yes") for code, status, retry, _ in table("problems")}
    expected = {
        code: (int(problem.status), code in RETRYABLE_CODES) for code, problem in every_problem().items()
    }
    assert documented == expected


def test_retry_hints_are_those_of_the_errors() -> None:
    kinds = [
        kind
        for kind in vars(domain_errors).values()
        if isinstance(kind, type) and issubclass(kind, DeskError)
    ]
    assert {kind.code for kind in kinds if kind.retry} | RETRYABLE == RETRYABLE_CODES
    assert not PROBLEMS.keys() & API_PROBLEMS.keys()


def test_the_documented_states_are_the_words_shown() -> None:
    documented = {state: shown for state, shown, _ in table("statuses")}
    assert documented == {str(state): shown for state, shown in models.SHOWN.items()}


def test_the_documented_calls_are_the_operations() -> None:
    documented = {call for call, *_ in table("calls")}
    assert documented == {f"{one.method} /api{one.path}" for one in OPERATIONS}


def examples(node: Any, path: str = "") -> list[tuple[str, dict[str, Any], Any]]:
    """Every example with its schema, wherever it stands."""
    found: list[tuple[str, dict[str, Any], Any]] = []
    if isinstance(node, dict):
        if "schema" in node:
            found += [
                (f"{path} {name}", node["schema"], example["value"])
                for name, example in node.get("examples", {}).items()
            ]
            if "example" in node:
                found.append((path, node["schema"], node["example"]))
        for key, value in node.items():
            found += examples(value, f"{path}/{key}")
    return found


def test_everything_has_an_example_and_each_fits_its_schema() -> None:
    from jsonschema_rs import validator_for

    whole = document()
    shown = examples(whole["paths"])
    assert len(shown) > 100
    for where, schema, value in shown:
        if "event-stream" in where:
            continue  # the example shows the wire, the schema one event of it
        validator_for({**schema, "components": whole["components"]}).validate(value)
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] != ["description"]:
                contents = [answer["content"] for answer in operation["responses"].values()]
                assert all("examples" in kind for content in contents for kind in content.values()), (
                    path,
                    method,
                )


def test_every_parameter_but_the_ignored_key_has_an_example() -> None:
    bare = {
        parameter["name"]
        for methods in document()["paths"].values()
        for operation in methods.values()
        for parameter in operation["parameters"]
        if "example" not in parameter
    }
    assert bare <= {"X-Api-Key", "cursor"}


async def test_the_description_is_served_as_it_is_made(world: World) -> None:
    got = await world.call("GET", "/api/openapi.json")
    assert got.status == 200
    assert got.json == document()
    assert got.json["openapi"].startswith("3.1")


async def test_the_documentation_page_needs_nothing_from_elsewhere(world: World) -> None:
    got = await world.call("GET", "/api/docs")
    assert got.status == 200
    assert got.headers["content-security-policy"] == POLICY
    html = got.body.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", html)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
    for code in every_problem():
        assert f'id="problem-{code}"' in html
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in html


async def test_the_documentation_page_says_each_header_once(world: World) -> None:
    names: list[bytes] = []

    async def send(message: Message) -> None:
        names.extend(name for name, _ in message.get("headers", ()))

    await world.api(world.client.scope("GET", "/api/docs"), AsyncMock(), send)
    assert names
    assert len(set(names)) == len(names)


async def test_a_problems_type_leads_to_its_explanation(world: World) -> None:
    problem = (await world.call("GET", "/api/nothing")).json
    page, _, anchor = problem["type"].partition("#")
    assert f'id="{anchor}"' in (await world.call("GET", page)).body.decode()


@pytest.mark.parametrize("path", ["/api/status", "/api/incidents", "/api/incidents?resolved=true"])
async def test_the_desk_shows_how_it_is(world: World, path: str) -> None:
    got = await world.call("GET", path)
    assert got.status == 200
    if "status" in path:
        assert got.data["venue"]["sandbox"] is True
        assert {duty["name"] for duty in got.data["duties"]} >= {"tracker", "reconciliation"}
        assert got.data["position"] == world.desk.position


def test_the_description_is_made_once() -> None:
    assert openapi.encoded() is openapi.encoded()
