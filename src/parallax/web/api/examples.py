"""The examples of the API's description: one morning's trade, the same ids throughout."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

USER_ID: Final = "160582fd-6943-465d-9c0e-3c137b82c345"
QUOTE_ID: Final = "5b0f7f0e-6f0a-4f0c-9b62-3f0a3c2f6f11"
ORDER_ID: Final = "0d9f3c1e-53d5-4a0c-8f4e-7b5f0f6f9a21"
VENUE_ORDER_ID: Final = "c0ffee00-1f2e-4d3c-8b4a-5a6978877665"
CURSOR: Final = f"1769860800000000.99.{QUOTE_ID}"

USER: Final[Json] = {"id": USER_ID, "name": "User One", "email": "user1@example.com"}

QUOTE: Final[Json] = {
    "id": QUOTE_ID,
    "created_at": "2026-01-31T12:00:00",
    "rate": "54.42",
    "from_currency": "usd",
    "to_currency": "php",
    "expires_at": "2026-01-31T12:05:00Z",
    "status": "active",
    "order_id": None,
}

USED_QUOTE: Final[Json] = {**QUOTE, "status": "executed", "order_id": ORDER_ID}

NEW_ORDER: Final[Json] = {"quote_id": QUOTE_ID, "user_id": USER_ID, "from_amount": "100.50"}

ORDER: Final[Json] = {
    "id": ORDER_ID,
    "status": "pending",
    "quote_id": QUOTE_ID,
    "user_id": USER_ID,
    "from_amount": "100.50",
    "from_currency": "usd",
    "to_amount": "5469.21",
    "to_currency": "php",
    "rate": "54.42",
    "state": "pending",
    "venue_order_id": VENUE_ORDER_ID,
    "by": "api",
    "reasons": [],
    "created_at": "2026-01-31T12:00:41.120000Z",
    "sent_at": "2026-01-31T12:00:41.123000Z",
    "settled_at": None,
    "contradicted": False,
}

SETTLED_ORDER: Final[Json] = {
    **ORDER,
    "status": "completed",
    "state": "completed",
    "settled_at": "2026-01-31T12:00:49.301000Z",
}

PLACED_ORDER: Final[Json] = {**ORDER, "possible_duplicate_of": None}

UNKNOWN_ORDER: Final[Json] = {
    **PLACED_ORDER,
    "status": "unknown",
    "state": "unknown",
    "venue_order_id": None,
    "reasons": ["timeout"],
}

LINKS: Final[Json] = {
    "order": f"/api/orders/{ORDER_ID}",
    "orders": f"/api/users/{USER_ID}/orders",
    "events": f"/api/events?user={USER_ID}",
}

INCIDENT: Final[Json] = {
    "id": f"amount_differs.{ORDER_ID}",
    "kind": "amount_differs",
    "words": "The order was sent for 100.50 and the exchange holds it for 105.50.",
    "raised_at": "2026-01-31T12:00:49.301000Z",
    "user_id": USER_ID,
    "quote_id": QUOTE_ID,
    "order_id": ORDER_ID,
    "resolved_at": None,
    "resolved_by": "",
    "note": "",
}

RESOLVED_INCIDENT: Final[Json] = {
    **INCIDENT,
    "resolved_at": "2026-01-31T12:20:00.000000Z",
    "resolved_by": "api",
    "note": "The exchange corrected its record; seen on its statement.",
}

STATUS: Final[Json] = {
    "position": 4211,
    "started_at": "2026-01-31T08:00:00Z",
    "venue": {
        "name": "sandbox",
        "sandbox": True,
        "health": "well",
        "since": "2026-01-31T08:00:00Z",
        "words": "",
        "retry_at": None,
        "clock_offset_ms": 12,
        "clock_uncertainty_ms": 540,
    },
    "paused": None,
    "stopping": False,
    "journal_failed": None,
    "open_orders": 1,
    "open_incidents": 0,
    "users_read_at": "2026-01-31T11:58:00Z",
    "quotes_read_at": "2026-01-31T11:59:30Z",
    "duties": [
        {
            "name": "tracker",
            "purpose": "Follows unsettled orders until they settle.",
            "state": "running",
            "since": "2026-01-31T08:00:00Z",
            "restarts": 0,
            "last_error": "",
        }
    ],
    "calls": [
        {"purpose": "New quote", "made": 31, "saved": 0, "failed": 0, "p50_ms": 41, "p99_ms": 90},
    ],
}

EVENTS: Final = f"""retry: 2000
id: 4209

id: 4210
event: OrderSent
data: {{"at":"2026-01-31T12:00:41.123000Z","order_id":"{ORDER_ID}","quote_id":"{QUOTE_ID}","request":"…"}}

id: 4211
event: OrderAccepted
data: {{"at":"2026-01-31T12:00:41.160000Z","order_id":"{ORDER_ID}","quote_id":"{QUOTE_ID}","venue_order_id":"…"}}

: heartbeat
id: 4211

"""
