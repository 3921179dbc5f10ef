"""Every call of the API, once: the routes, the OpenAPI document and the documentation page are made from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from parallax.domain.facts import FACT_TYPES
from parallax.domain.transitions import QuoteStatus
from parallax.ports.journal import MAX_ANSWER_KEY
from parallax.web.api import examples, models, overview
from parallax.web.api.events import HEARTBEAT, MAX_POSITION
from parallax.web.api.models import SHOWN
from parallax.web.api.paging import CURSOR, DEFAULT_LIMIT, MAX_LIMIT

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the `query`, `path` or `header`."""

    name: str
    where: str
    words: str
    schema: Schema
    example: object = None
    listed: bool = False
    """Whether several values may stand in one, separated by commas."""


@dataclass(frozen=True, slots=True)
class Success:
    """A good answer: its status, what it means, the model of its `data` (with `many`, a list of it) and an example."""

    status: int
    words: str
    model: type | None
    example: object
    many: bool = False
    paged: bool = False
    links: bool = False
    """Whether it names where to look next."""
    located: bool = False
    """Whether a `Location` header names what was made."""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: `name` is its operationId, `problems` the codes that it may be refused with besides those that every
    call shares."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    words: str
    answers: tuple[Success, ...]
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    takes: str = ""
    """The schema of its body: a name among the components."""
    takes_example: object = None
    body_required: bool = False
    exchange: bool = False
    """Whether the exchange has it too."""


ID: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]*$",
}
INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
FLAG: Final[Schema] = {"type": "boolean"}
SHARED_PROBLEMS: Final = ("no_such_call", "method_not_allowed", "host_not_served", "internal")
"""What any call may be refused with."""
VENUE_PROBLEMS: Final = ("venue_unavailable", "venue_busy", "venue_misbehaved", "journal_failed")

PAGING: Final = (
    Parameter(
        "limit",
        "query",
        f"Rows of a page, {DEFAULT_LIMIT} unless told otherwise. There may be fewer before the end: go on while"
        " `meta.next` is there.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        50,
    ),
    Parameter(
        "cursor",
        "query",
        "`meta.next` of the page before. Nothing is shown twice or left out, whatever has come in since.",
        {"type": "string", "pattern": f"^{CURSOR}$"},
    ),
    Parameter(
        "since", "query", "Only what was created at or after this instant.", INSTANT, "2026-01-31T00:00:00Z"
    ),
)
ORDER_STATUS: Final = Parameter(
    "status",
    "query",
    "Only orders that show one of these words. Without it, orders that never reached the exchange (`refused`,"
    " `withdrawn`, `not_placed`) are left out, as the exchange would not list them; `all` shows everything.",
    {"type": "string", "enum": [*sorted(set(SHOWN.values())), "all"]},
    "pending",
    listed=True,
)
IDEMPOTENCY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "Repeat a request under the same key and it is answered as the first was, for 24 hours and over restarts.",
    # Header values are trimmed on their way: one of blanks alone would arrive empty.
    {"type": "string", "minLength": 1, "maxLength": MAX_ANSWER_KEY, "pattern": "^[!-~]+$"},
    "4c1f6a0e-6d0c-4f7e-9d57-0c8e1d7f5b42",
)
API_KEY: Final = Parameter(
    "X-Api-Key",
    "header",
    "Accepted and ignored: programs written for the exchange send one. The desk has no login and listens on this"
    " machine only.",
    {"type": "string"},
)
INCIDENT_ID: Final = Parameter(
    "incident_id",
    "path",
    "The incident's id.",
    {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]*$"},
    examples.INCIDENT["id"],
)
QUOTE_ID: Final = Parameter("quote_id", "path", "The quote's id.", ID, examples.QUOTE_ID)
USER_ID: Final = Parameter("user_id", "path", "The user's id.", ID, examples.USER_ID)
ORDER_ID: Final = Parameter(
    "order_id", "path", "The order's id on this desk or at the exchange.", ID, examples.ORDER_ID
)

OPERATIONS: Final = (
    Operation(
        "GET",
        "/users",
        "listUsers",
        "users",
        "List users",
        "Everybody on whose behalf orders can be placed, by name, from memory.",
        (Success(200, "The users.", models.User, [examples.USER], many=True),),
        problems=VENUE_PROBLEMS,
        exchange=True,
    ),
    Operation(
        "GET",
        "/users/{user_id}/orders",
        "listUserOrders",
        "orders",
        "List a user's orders",
        "Newest first. Without parameters the whole list, as the exchange answers; with any, a page.",
        (Success(200, "The orders.", models.Order, [examples.SETTLED_ORDER], many=True, paged=True),),
        (USER_ID, ORDER_STATUS, *PAGING),
        ("not_found", "request_invalid", *VENUE_PROBLEMS),
        exchange=True,
    ),
    Operation(
        "POST",
        "/quotes",
        "createQuote",
        "quotes",
        "Ask for a quote",
        "One call to the exchange. The body may be absent, or nothing in JSON: `{}`, `[]` or `null`.",
        (Success(201, "A firm quote.", models.Quote, examples.QUOTE, located=True),),
        (IDEMPOTENCY,),
        (
            "body_unreadable",
            "body_late",
            "body_too_large",
            "request_invalid",
            "idempotency_key_reused",
            "idempotency_key_in_use",
            "origin_not_allowed",
            "desk_stopping",
            *VENUE_PROBLEMS,
        ),
        takes="NewQuote",
        takes_example={},
        exchange=True,
    ),
    Operation(
        "GET",
        "/quotes",
        "listQuotes",
        "quotes",
        "List quotes",
        "Newest first, from memory. Without parameters the whole list (the newest 100,000), as the exchange answers;"
        " with any, a page.",
        (Success(200, "The quotes.", models.Quote, [examples.QUOTE], many=True, paged=True),),
        (
            Parameter(
                "status",
                "query",
                "Only quotes that are one of these at this moment.",
                {"type": "string", "enum": sorted(QuoteStatus)},
                "active",
                listed=True,
            ),
            *PAGING,
        ),
        ("request_invalid", *VENUE_PROBLEMS),
        exchange=True,
    ),
    Operation(
        "GET",
        "/quotes/{quote_id}",
        "getQuote",
        "quotes",
        "Read a quote",
        "From memory, or from the journal for an old one.",
        (Success(200, "The quote.", models.Quote, examples.USED_QUOTE),),
        (QUOTE_ID,),
        ("not_found", *VENUE_PROBLEMS),
    ),
    Operation(
        "POST",
        "/orders",
        "createOrder",
        "orders",
        "Place an order",
        "Claims the quote durably, sends one request to the exchange and waits for its answer. Whatever happens, a"
        " quote becomes at most one order. `from_amount` is a decimal string; a JSON number is read from its digits.",
        (
            Success(
                201, "The exchange has the order.", models.PlacedOrder, examples.PLACED_ORDER, located=True
            ),
            Success(
                202,
                "The request was sent and there is no clear answer. The order is not sent again: look where `Location`"
                " and `links` point until it is settled or proven absent. Do not place it again on another quote"
                " before that.",
                models.PlacedOrder,
                examples.UNKNOWN_ORDER,
                links=True,
                located=True,
            ),
        ),
        (IDEMPOTENCY,),
        (
            "body_unreadable",
            "body_late",
            "body_too_large",
            "request_invalid",
            "amount_invalid",
            "not_found",
            "quote_taken",
            "key_reused",
            "possible_duplicate",
            "quote_expired",
            "order_refused",
            "order_not_placed",
            "order_withdrawn",
            "desk_turned_away",
            "idempotency_key_reused",
            "idempotency_key_in_use",
            "origin_not_allowed",
            "desk_paused",
            "desk_stopping",
            *VENUE_PROBLEMS,
        ),
        takes="NewOrder",
        takes_example=examples.NEW_ORDER,
        body_required=True,
        exchange=True,
    ),
    Operation(
        "GET",
        "/orders",
        "listOrders",
        "orders",
        "List everybody's orders",
        "Newest first, always in pages. With `idempotency_key`, the one order that was placed under that key, or an"
        " empty list: what to ask after an answer was lost.",
        (Success(200, "The orders.", models.Order, [examples.SETTLED_ORDER], many=True, paged=True),),
        (
            Parameter("user", "query", "Only this user's.", ID, examples.USER_ID),
            Parameter(
                "idempotency_key",
                "query",
                "Only the order that was placed under this `Idempotency-Key`, however long ago.",
                {"type": "string", "minLength": 1, "maxLength": MAX_ANSWER_KEY, "pattern": "^[!-~]+$"},
                "4c1f6a0e-6d0c-4f7e-9d57-0c8e1d7f5b42",
            ),
            ORDER_STATUS,
            *PAGING,
        ),
        ("not_found", "request_invalid", *VENUE_PROBLEMS),
    ),
    Operation(
        "GET",
        "/orders/{order_id}",
        "getOrder",
        "orders",
        "Read an order",
        "By its id here or at the exchange. The desk follows orders by itself: reading one costs no call.",
        (Success(200, "The order.", models.Order, examples.SETTLED_ORDER),),
        (ORDER_ID,),
        ("not_found", *VENUE_PROBLEMS),
        exchange=True,
    ),
    Operation(
        "GET",
        "/events",
        "listenToEvents",
        "events",
        "Listen to facts",
        "Server-sent events: each fact of the journal in order, its position as `id`, its name as `event`, its fields"
        f" as `data`. A stream that is silent says so every {HEARTBEAT:.0f} seconds. A reader that is too slow is cut"
        " off and resumes where it was.",
        (
            Success(
                200,
                "The facts, as they become durable.",
                None,
                examples.EVENTS,
                content_type="text/event-stream",
            ),
        ),
        (
            Parameter(
                "after",
                "query",
                "Begin after this position: 0 for everything there ever was. Without it, or with `now`, with what"
                " happens from now.",
                {"oneOf": [{"type": "integer", "minimum": 0, "maximum": MAX_POSITION}, {"const": "now"}]},
                4209,
            ),
            Parameter(
                "Last-Event-ID",
                "header",
                "The same, as browsers send it when they reconnect; goes before `after`.",
                {"type": "string", "pattern": "^[0-9]{1,16}$"},
                "4209",
            ),
            Parameter("user", "query", "Only facts about this user and their orders.", ID, examples.USER_ID),
            Parameter(
                "kind",
                "query",
                "Only facts of these names.",
                {"type": "string", "enum": sorted(FACT_TYPES)},
                "OrderCompleted",
                listed=True,
            ),
            Parameter("follow", "query", "`false`: end when all is told.", FLAG, "false"),
        ),
        ("request_invalid", "position_unknown", "desk_stopping", "journal_failed"),
    ),
    Operation(
        "GET",
        "/status",
        "getStatus",
        "desk",
        "See how things are",
        "The exchange's health, its clock, the pause, the duties, the calls made.",
        (Success(200, "How things are, now.", overview.Status, examples.STATUS),),
    ),
    Operation(
        "GET",
        "/incidents",
        "listIncidents",
        "desk",
        "List incidents",
        "Contradictions that a person must look at, newest first. Without `limit` and `cursor` all of them, 10,000 at"
        " most.",
        (Success(200, "The incidents.", models.Incident, [examples.INCIDENT], many=True, paged=True),),
        (
            Parameter("resolved", "query", "`true`: also those that were resolved.", FLAG, "true"),
            PAGING[0],
            Parameter(
                "cursor",
                "query",
                "`meta.next` of the page before; one that is not known any more begins anew.",
                {"type": "string"},
            ),
        ),
        ("request_invalid",),
    ),
    Operation(
        "POST",
        "/incidents/{incident_id}/resolve",
        "resolveIncident",
        "desk",
        "Resolve an incident",
        "Closes an incident with a note. One that is resolved already stays as it is.",
        (Success(200, "The incident, resolved.", models.Incident, examples.RESOLVED_INCIDENT),),
        (INCIDENT_ID,),
        (
            "body_unreadable",
            "body_late",
            "body_too_large",
            "request_invalid",
            "not_found",
            "origin_not_allowed",
            "journal_failed",
        ),
        takes="Resolution",
        takes_example={"note": examples.RESOLVED_INCIDENT["note"]},
        body_required=True,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "getDescription",
        "description",
        "Read this description",
        "OpenAPI 3.1.",
        (Success(200, "The description.", None, None),),
    ),
    Operation(
        "GET",
        "/docs",
        "readDocumentation",
        "description",
        "Read the documentation",
        "This description as a page.",
        (Success(200, "The page.", None, None, content_type="text/html"),),
    ),
)
