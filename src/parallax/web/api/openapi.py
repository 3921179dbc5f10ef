"""The API's description as OpenAPI 3.1, made once from the table of operations and the models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from parallax import __version__
from parallax.domain.facts import FACT_TYPES
from parallax.web.api import examples, models, overview
from parallax.web.api.errors import PROBLEM_PAGE, RETRYABLE, every_problem
from parallax.web.api.operations import (
    API_KEY,
    OPERATIONS,
    SHARED_PROBLEMS,
    Operation,
    Parameter,
    Schema,
    Success,
)
from parallax.web.api.wire import Answer, Reply, Request, encode

SERVER: Final = "/api"

WORDS: Final = """\
Parallax stands between programs and a currency exchange: one quote, at most one order; no order lost, none invented,
none guessed at. The calls marked **as the exchange** take and give what the exchange's own do, with further fields.

Amounts and rates are decimal strings, currencies lowercase. Every answer is wrapped in `data`; every refusal is an
RFC 9457 problem with a stable `code`, a `retry` hint and `errors` by field."""

TAGS: Final = {
    "users": "On whose behalf orders are placed.",
    "quotes": "Firm rates, usable once, good for five minutes.",
    "orders": "What quotes become.",
    "events": "Everything that happens, as it happens.",
    "desk": "How the desk and the exchange are doing.",
    "description": "What you are reading.",
}

NEW_ORDER: Final[Schema] = {
    "type": "object",
    "description": "What places an order.",
    "required": ["quote_id", "user_id", "from_amount"],
    "properties": {
        "quote_id": {"type": "string", "minLength": 1, "maxLength": 64, "examples": [examples.QUOTE_ID]},
        "user_id": {"type": "string", "minLength": 1, "maxLength": 64, "examples": [examples.USER_ID]},
        "from_amount": {
            "description": "More than zero, with at most the currency's minor units and 15 digits before the point.",
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,15}(\.[0-9]{1,18})?$"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 999_999_999_999_999},
            ],
            "examples": ["100.50"],
        },
        "unless_unknown": {
            "type": "boolean",
            "description": "With `true`, an order that may be a duplicate is a 409 `possible_duplicate`, and nothing"
            " is sent: one for the same user and amount as another whose outcome is unknown, or that was placed within"
            " the last minute. Without it, `possible_duplicate_of` in the answer names the other.",
        },
    },
}

NEW_QUOTE: Final[Schema] = {
    "type": ["object", "array", "null"],
    "maxItems": 0,
    "description": "Nothing is asked: the exchange names the pair.",
}

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "Why a request was not answered as hoped (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "retry", "errors"],
    "properties": {
        "type": {"type": "string", "description": "Where the code is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, fit to be shown."},
        "code": {"type": "string", "enum": sorted(every_problem())},
        "retry": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "retry_after": {"type": "integer", "description": "In how many seconds that is worth trying."},
        "errors": {
            "type": "object",
            "description": "The same by field, as the exchange writes it; `detail` is the request as a whole.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "reason": {"type": "string", "description": "What is wrong with an amount, as a stable word."},
        "order_id": {"type": ["string", "null"], "description": "The order that this is about."},
        "quote_id": {"type": "string"},
        "by": {"type": ["string", "null"], "description": "Who placed the order that holds the quote."},
        "reasons": {"type": "array", "items": {"type": "string"}, "description": "The exchange's own words."},
        "venue_status": {
            "type": ["integer", "null"],
            "description": "The HTTP status of the exchange's refusal.",
        },
    },
}

EVENT: Final[Schema] = {
    "type": "object",
    "description": "One event of the stream. An event without `data` only moves the position.",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "The fact's position in the journal."},
        "event": {"type": "string", "enum": sorted(FACT_TYPES), "description": "The fact's name."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "The fact's fields, as the journal records them.",
        },
        "retry": {"type": "integer", "description": "Milliseconds to wait before connecting again."},
    },
}

META: Final[Schema] = {
    "type": "object",
    "description": "About a page and its list.",
    "required": ["next"],
    "properties": {
        "next": {"type": ["string", "null"], "description": "The cursor of the next page; null at the end."},
        "total": {
            "type": "integer",
            "description": "Rows of the list, whatever their status and age.",
        },
        "read_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When the whole list was last read from the exchange, before this start too; single"
            " rows are newer. Null for everybody's orders, which are no list of the exchange's.",
        },
    },
}

RETRYABLE_CODES: Final = RETRYABLE | {
    "venue_unavailable",
    "venue_busy",
    "not_read_yet",
    "venue_misbehaved",
    "desk_paused",
    "desk_stopping",
}
"""Every code that may pass by itself; a test compares it with the errors themselves."""


async def serve(_: Request) -> Reply:
    """The document."""
    return Answer(200, encoded())


@lru_cache(maxsize=1)
def encoded() -> bytes:
    """The document as bytes."""
    return encode(document())


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Parallax",
            "version": __version__,
            "summary": "A quote-to-order desk for currency exchange.",
            "description": WORDS,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": SERVER}],
        "tags": [{"name": name, "description": words} for name, words in TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def problems_of(operation: Operation) -> list[str]:
    """The codes that a call may be refused with."""
    return [*operation.problems, *SHARED_PROBLEMS]


def problem_example(code: str) -> dict[str, Any]:
    """What a refusal with this code looks like."""
    problem = every_problem()[code]
    hint = {"retry_after": 2} if code in RETRYABLE_CODES else {}
    return {
        "type": f"{SERVER}/{PROBLEM_PAGE}{code}",
        "title": problem.title,
        "status": int(problem.status),
        "detail": f"{problem.title}.",
        "code": code,
        "retry": code in RETRYABLE_CODES,
        **hint,
        "errors": {"detail": [f"{problem.title}."]},
    }


def _schemas() -> dict[str, Any]:
    kinds = [
        models.User,
        models.Quote,
        models.Order,
        models.PlacedOrder,
        models.Incident,
        models.Resolution,
        overview.Status,
    ]
    _, made = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {
        **made,
        "NewOrder": NEW_ORDER,
        "NewQuote": NEW_QUOTE,
        "Event": EVENT,
        "Meta": META,
        "Problem": PROBLEM,
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": ("**As the exchange.** " if operation.exchange else "") + operation.words,
        "parameters": [_parameter(one) for one in (*operation.parameters, API_KEY)],
        "responses": {str(answer.status): _success(operation, answer) for answer in operation.answers},
    }
    if operation.takes:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {
                "application/json": {
                    "schema": _ref(operation.takes),
                    "examples": {"usual": {"value": operation.takes_example}},
                }
            },
        }
    by_status: dict[int, list[str]] = {}
    for code in problems_of(operation):
        by_status.setdefault(int(every_problem()[code].status), []).append(code)
    for status, codes in sorted(by_status.items()):
        described["responses"][str(status)] = _refusal(codes)
    return described


def _parameter(one: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": one.schema, "minItems": 1} if one.listed else one.schema
    described: dict[str, Any] = {
        "name": one.name,
        "in": one.where,
        "required": one.where == "path",
        "description": one.words,
        "schema": schema,
    }
    if one.listed:
        described |= {"style": "form", "explode": False}
    if one.example is not None:
        described["example"] = [one.example] if one.listed else one.example
    return described


_PLAIN: Final[dict[str, Schema]] = {
    "application/json": {"type": "object"},
    "text/html": {"type": "string"},
    "text/event-stream": {"$ref": "#/components/schemas/Event"},
}


def _success(operation: Operation, answer: Success) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.words}
    if answer.model is None:
        content: dict[str, Any] = {"schema": _PLAIN[answer.content_type]}
        if answer.example is not None:
            content["examples"] = {"usual": {"value": answer.example}}
        described["content"] = {answer.content_type: content}
        return described
    schema, example = _envelope(answer)
    described["content"] = {
        answer.content_type: {"schema": schema, "examples": {"usual": {"value": example}}}
    }
    headers: dict[str, Any] = {}
    if answer.located:
        headers["Location"] = {"description": "Where it is.", "schema": {"type": "string"}}
    if any(one.name == "Idempotency-Key" for one in operation.parameters):
        headers["Idempotency-Replayed"] = {
            "description": "`true` when this is the answer that was given before.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    if headers:
        described["headers"] = headers
    if links := _links(operation):
        described["links"] = links
    return described


def _envelope(answer: Success) -> tuple[Schema, dict[str, Any]]:
    assert answer.model is not None, "an answer without a model has no envelope"
    row = _ref(answer.model.__name__)
    properties: dict[str, Any] = {"data": {"type": "array", "items": row} if answer.many else row}
    example: dict[str, Any] = {"data": answer.example}
    required = ["data"]
    if answer.paged:
        properties["meta"] = _ref("Meta")
        example["meta"] = {"next": examples.CURSOR, "total": 512, "read_at": "2026-01-31T11:59:30Z"}
    if answer.links:
        properties["links"] = {"type": "object", "additionalProperties": {"type": "string"}}
        example["links"] = examples.LINKS
        required.append("links")
    return {"type": "object", "required": required, "properties": properties}, example


def _links(operation: Operation) -> dict[str, Any]:
    match operation.name:
        case "listUsers":
            return {
                "orders": {
                    "operationId": "listUserOrders",
                    "parameters": {"user_id": "$response.body#/data/0/id"},
                }
            }
        case "createQuote":
            return {
                "quote": {"operationId": "getQuote", "parameters": {"quote_id": "$response.body#/data/id"}},
                "order": {
                    "operationId": "createOrder",
                    "requestBody": {
                        **examples.NEW_ORDER,
                        "quote_id": "$response.body#/data/id",
                    },
                },
            }
        case "createOrder":
            return {
                "order": {"operationId": "getOrder", "parameters": {"order_id": "$response.body#/data/id"}},
                "quote": {
                    "operationId": "getQuote",
                    "parameters": {"quote_id": "$response.body#/data/quote_id"},
                },
                "orders": {
                    "operationId": "listUserOrders",
                    "parameters": {"user_id": "$response.body#/data/user_id"},
                },
            }
        case _:
            return {}


def _refusal(codes: list[str]) -> dict[str, Any]:
    problems = every_problem()
    return {
        "description": "; ".join(f"`{code}`: {problems[code].title}" for code in codes) + ".",
        "content": {
            "application/problem+json": {
                "schema": _ref("Problem"),
                "examples": {code: {"value": problem_example(code)} for code in codes},
            }
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
