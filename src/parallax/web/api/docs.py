"""The API's description as a page, in the look of the others: no script of its own, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, cast

from jinja2 import ChoiceLoader, FunctionLoader

from parallax.desk.desk import Desk
from parallax.web.api import openapi
from parallax.web.api.errors import every_problem
from parallax.web.api.openapi import RETRYABLE_CODES
from parallax.web.api.operations import OPERATIONS, Operation, Parameter
from parallax.web.api.wire import Answer, Reply, Request
from parallax.web.site import Site

TEMPLATE: Final = "api_docs.html"
STYLE: Final = "api_docs.css"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation as the page shows it."""

    operation: Operation
    parameters: tuple[Parameter, ...]
    curl: str
    answers: list[tuple[int, str, str]]
    """Status, meaning and an example of each good answer."""
    refusals: list[tuple[int, str]]
    """Status and code of each refusal that is its own."""


class Documentation:
    """The page. `site` is the pages' own, where they are served too."""

    def __init__(self, desk: Desk, site: Site | None) -> None:
        self._desk = desk
        self._site = site
        self._shown: Site | None = None

    async def serve(self, _: Request) -> Reply:
        """The page as it is now: its frame shows how things are."""
        fields = {
            "calls": list(_calls()),
            "tags": openapi.TAGS,
            "models": _models(),
            "problems": sorted(
                (int(problem.status), code, problem.title, code in RETRYABLE_CODES)
                for code, problem in every_problem().items()
            ),
            "words": openapi.WORDS.split("\n\n"),
            "section": "api",
        }
        page = self._on_our_shelf().page(TEMPLATE, fields)
        return Answer(200, bytes(page.body), (), b"text/html; charset=utf-8")

    async def serve_style(self, _: Request) -> Reply:
        """The page's own style sheet, beside that of all pages."""
        sheet = (files("parallax.web.api") / "templates" / STYLE).read_bytes()
        return Answer(200, sheet, (), b"text/css; charset=utf-8")

    def _on_our_shelf(self) -> Site:
        """The site with our template beside its own."""
        if self._shown is None:
            site = copy(self._site or Site(self._desk))
            loaders = [FunctionLoader(_template)]
            if site.templates.loader is not None:
                site.templates = site.templates.overlay(
                    loader=ChoiceLoader([*loaders, site.templates.loader])
                )
            self._shown = site
        return self._shown


def _template(name: str) -> str | None:
    entry = files("parallax.web.api") / "templates" / name
    return entry.read_text("utf-8") if entry.is_file() else None


def _calls() -> Iterator[Call]:
    for operation in OPERATIONS:
        described = openapi.document()["paths"][operation.path][operation.method.lower()]
        answers = [
            (answer.status, answer.words, _example(described, answer.status, answer.content_type))
            for answer in operation.answers
        ]
        problems = every_problem()
        refusals = sorted((int(problems[code].status), code) for code in operation.problems)
        yield Call(operation, operation.parameters, _curl(operation), answers, refusals)


def _example(described: dict[str, Any], status: int, content_type: str) -> str:
    content = described["responses"][str(status)]["content"][content_type]
    value = content.get("examples", {}).get("usual", {}).get("value")
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, indent=2)


def _curl(operation: Operation) -> str:
    path = operation.path
    for one in operation.parameters:
        if one.where == "path":
            path = path.replace(f"{{{one.name}}}", str(one.example))
    options = "-N " if operation.name == "listenToEvents" else ""
    if operation.method == "POST":
        options += "-X POST " if not operation.takes_example else ""
    address = f"http://localhost:4000{openapi.SERVER}{path}"
    body = f" \\\n  -d '{json.dumps(operation.takes_example)}'" if operation.takes_example else ""
    return f"curl {options}{address}{body}"


def _models() -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Each model's name, words and fields (name, type, words)."""
    schemas = openapi.document()["components"]["schemas"]
    return [
        (
            name,
            schema.get("description", ""),
            [
                (field, kind(of), of.get("description", ""))
                for field, of in schema.get("properties", {}).items()
            ],
        )
        for name, schema in schemas.items()
    ]


def kind(schema: dict[str, Any]) -> str:
    """A schema's type in a few words."""
    match schema:
        case {"$ref": str(ref)}:
            return ref.rpartition("/")[2]
        case {"enum": values}:
            return " | ".join(f'"{value}"' for value in values if value is not None)
        case {"const": value}:
            return f'"{value}"'
        case {"anyOf": options} | {"oneOf": options}:
            return " or ".join(dict.fromkeys(map(kind, options)))
        case {"type": "array", "items": items}:
            return f"list of {kind(items)}"
        case {"type": list()}:
            return " or ".join(cast("list[str]", schema["type"]))
        case {"type": "string", "format": "date-time"}:
            return "instant"
        case {"type": str(word)}:
            return word
        case _:
            return "any"
