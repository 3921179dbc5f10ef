"""The wire as clients of the exchange know it, and every way in which it says no."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from http import HTTPStatus

import pytest

from parallax.sandbox import REFUSAL_SHAPES, USER_FIXTURES, InvalidSetting, SandboxSettings
from tests.sandbox.support import KEY, NOWHERE, OTHER_USER, USER, Wire


def refusal(errors: dict[str, list[str]]) -> dict[str, object]:
    """A refusal's body, with its reasons in both places where clients look for them."""
    return {"errors": errors, "data": {"errors": errors}}


async def test_users_are_the_three_known_ones() -> None:
    status, document = await Wire()("GET", "/api/users")
    assert status == 200
    assert document == {"data": [{"id": u.id, "name": u.name, "email": u.email} for u in USER_FIXTURES]}


@pytest.mark.parametrize("body", [None, {}])
async def test_a_quote_needs_no_body(body: object) -> None:
    wire = Wire()
    status, document = await wire("POST", "/api/quotes", body)
    quote = document["data"]
    assert status == 201
    assert set(quote) == {"id", "created_at", "rate", "from_currency", "to_currency"}
    assert uuid.UUID(quote["id"]).version == 4
    assert quote["created_at"] == "2030-01-31T23:59:58"  # no zone, cut to the second
    assert (quote["from_currency"], quote["to_currency"]) == ("usd", "php")
    assert isinstance(quote["rate"], str)


async def test_created_at_may_carry_a_fraction() -> None:
    quote = await Wire(created_fraction=True).quote()
    assert quote["created_at"] == "2030-01-31T23:59:58.750000"


async def test_creations_may_answer_200() -> None:
    wire = Wire(created_status=200)
    assert (await wire.raw("POST", "/api/quotes")).status == 200


async def test_an_order_is_pending_and_carries_what_was_sent() -> None:
    wire = Wire()
    quote = await wire.quote()
    status, document = await wire.try_order(quote["id"], "0010.50")
    order = document["data"]
    assert status == 201
    assert uuid.UUID(order["id"]).version == 4
    assert order == {
        "id": order["id"],
        "status": "pending",
        "quote_id": quote["id"],
        "user_id": USER,
        "from_amount": "0010.50",
    }
    assert (await wire("GET", f"/api/orders/{order['id']}")) == (200, {"data": order})
    assert await wire.orders() == [order]
    assert await wire.orders(OTHER_USER) == []


@pytest.mark.parametrize("number", [b"10.50", b"7", b"123456789012345.67"])
async def test_an_amount_may_be_a_number_and_keeps_its_digits(number: bytes) -> None:
    wire = Wire()
    quote = await wire.quote()
    body = b'{"quote_id":"%s","user_id":"%s","from_amount":%s}' % (
        quote["id"].encode(),
        USER.encode(),
        number,
    )
    answer = await wire.raw("POST", "/api/orders", body)
    assert json.loads(answer.body)["data"]["from_amount"] == number.decode()


async def test_date_follows_the_exchanges_own_clock() -> None:
    wire = Wire(skew_seconds=90)
    assert (await wire.raw("GET", "/api/users")).header(b"date") == b"Fri, 01 Feb 2030 00:01:28 GMT"
    assert (await wire.raw("GET", "/nowhere")).header(b"date") == b"Fri, 01 Feb 2030 00:01:28 GMT"
    assert datetime.fromisoformat((await wire.quote())["created_at"]).minute == 1


async def test_quotes_are_complete_and_in_no_order() -> None:
    wire = Wire()
    made = [(await wire.quote())["id"] for _ in range(50)]
    first, second = [
        [quote["id"] for quote in (await wire("GET", "/api/quotes"))[1]["data"]] for _ in range(2)
    ]
    assert sorted(first) == sorted(second) == sorted(made)
    assert first != second
    assert first not in (made, made[::-1])


async def test_a_thousand_seeded_quotes_are_spread_over_their_validity() -> None:
    wire = Wire(quotes=1000)
    quotes = list(wire.exchange.quotes.values())
    assert len(quotes) == 1000
    ages = [(wire.clock() - quote.created_at).total_seconds() for quote in quotes]
    assert ages[0] == pytest.approx(300)
    assert 0 < ages[-1] < 1


@pytest.mark.parametrize(
    ("headers", "reason"), [((), "is missing"), (((b"x-api-key", b"no"),), "is not valid")]
)
@pytest.mark.parametrize("path", ["/api/users", "/api/quotes", "/api/nowhere", "/_control", "/_record"])
async def test_nothing_without_the_key(headers: object, reason: str, path: str) -> None:
    answer = await Wire().raw("GET", path, headers=headers)  # type: ignore[arg-type]
    assert answer.status == 401
    assert json.loads(answer.body) == refusal({"api_key": [reason]})


async def test_an_order_request_without_the_key_is_on_record() -> None:
    wire = Wire()
    body = {"quote_id": (await wire.quote())["id"], "user_id": USER, "from_amount": "1"}
    assert (await wire.raw("POST", "/api/orders", body, headers=())).status == 401
    [request] = wire.exchange.requests
    assert request.quote_id == body["quote_id"]
    assert request.outcomes[0].status == 401
    assert not wire.exchange.orders


@pytest.mark.parametrize(
    "path",
    [f"/api/orders/{NOWHERE}", "/api/orders/nonsense", f"/api/users/{NOWHERE}/orders"],
)
async def test_unknown_ids_are_404(path: str) -> None:
    assert await Wire()("GET", path) == (404, refusal({"id": ["not found"]}))


@pytest.mark.parametrize("path", ["/api/users/", "/api//users", "/api//quotes//"])
async def test_a_slash_too_many_does_no_harm(path: str) -> None:
    assert (await Wire()("GET", path))[0] == 200


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/user", f"/api/quotes/{NOWHERE}", "/x"])
async def test_unknown_paths_are_404(path: str) -> None:
    assert await Wire()("GET", path) == (404, refusal({"path": ["not found"]}))


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/quotes", b"GET, POST"),
        ("HEAD", "/api/users", b"GET"),
        ("GET", "/api/orders", b"POST"),
        ("PUT", f"/api/orders/{NOWHERE}", b"GET"),
        ("PUT", "/_control", b"GET, POST, DELETE"),
    ],
)
async def test_other_methods_are_405(method: str, path: str, allow: bytes) -> None:
    answer = await Wire().raw(method, path)
    assert answer.status == 405
    assert answer.header(b"allow") == allow


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b"[]", 422),
        (b"42", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"quote_id":[],"user_id":{},"from_amount":true}', 422),
        (b'{"from_amount":' + b"9" * 5000 + b"}", 422),
        (b'{"quote_id":"\\ud800"}', 422),
        (b"x" * 65_537, 413),
    ],
)
async def test_no_body_can_hurt(body: bytes, status: int) -> None:
    wire = Wire()
    answer = await wire.raw("POST", "/api/orders", body)
    assert answer.status == status
    assert json.loads(answer.body)["errors"]
    assert len(wire.exchange.requests) == 1  # received, and on record
    assert not wire.exchange.orders
    json.dumps(wire.exchange.record())


async def test_a_quote_with_a_body_that_is_no_json_is_400() -> None:
    assert (await Wire().raw("POST", "/api/quotes", b"nonsense")).status == 400


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (None, "is missing"),
        ("", "is not a number"),
        ("abc", "is not a number"),
        ("12abc", "is not a number"),
        ("1e2", "is not a number"),
        ("1e400", "is not a number"),
        ("NaN", "is not a number"),
        ("Infinity", "is not a number"),
        (" 1", "is not a number"),
        ("1\n", "is not a number"),
        ("+1", "is not a number"),
        ("1,000", "is not a number"),
        (".5", "is not a number"),
        ("1.", "is not a number"),
        ("\u0661", "is not a number"),
        (True, "is not a number"),
        (["1"], "is not a number"),
        (1e300, "is not a number"),
        ("0", "must be greater than 0"),
        ("0.00", "must be greater than 0"),
        ("-5", "must be greater than 0"),
        (-5, "must be greater than 0"),
        ("10.001", "has more than 2 decimals"),
        ("1234567890123456", "has more than 15 digits before the point"),
    ],
)
async def test_a_bad_amount_is_refused_and_leaves_the_quote_usable(amount: object, reason: str) -> None:
    wire = Wire()
    quote = await wire.quote()
    assert await wire.try_order(quote["id"], amount) == (422, refusal({"from_amount": [reason]}))
    await wire.order(quote["id"])


async def test_decimals_are_those_of_the_currency() -> None:
    wire = Wire(pairs=(("jpy", "usd"),))
    quote = await wire.quote()
    status, document = await wire.try_order(quote["id"], "100.5")
    assert (status, document) == (422, refusal({"from_amount": ["has more than 0 decimals"]}))
    await wire.order(quote["id"], "100")


async def test_a_quote_is_used_once() -> None:
    wire = Wire()
    quote = await wire.quote()
    await wire.order(quote["id"])
    refused = (422, refusal({"quote_id": ["has already been executed"]}))
    assert await wire.try_order(quote["id"]) == refused
    assert await wire.try_order(quote["id"], user=OTHER_USER) == refused
    assert len(wire.exchange.orders) == 1


async def test_a_quote_expires_five_minutes_after_it_was_made() -> None:
    wire = Wire()
    late, just = await wire.quote(), await wire.quote()
    wire.clock.move(299.999)
    await wire.order(just["id"])
    wire.clock.move(0.001)
    assert await wire.try_order(late["id"]) == (422, refusal({"quote_id": ["has expired"]}))


async def test_a_refusal_names_all_that_is_wrong() -> None:
    assert await Wire().try_order(NOWHERE, "-1", "somebody") == (
        422,
        refusal(
            {
                "quote_id": ["does not exist"],
                "user_id": ["does not exist"],
                "from_amount": ["must be greater than 0"],
            }
        ),
    )


# Python 3.13 calls 422 "Unprocessable Content".
PHRASE = HTTPStatus.UNPROCESSABLE_ENTITY.phrase

EXPECTED_SHAPES = {
    "both": b'{"errors": {"quote_id": ["does not exist"], "from_amount": ["is missing"]}, '
    b'"data": {"errors": {"quote_id": ["does not exist"], "from_amount": ["is missing"]}}}',
    "errors": b'{"errors": {"quote_id": ["does not exist"], "from_amount": ["is missing"]}}',
    "data_errors": b'{"data": {"errors": {"quote_id": ["does not exist"], "from_amount": ["is missing"]}}}',
    "flat": b'{"errors": {"quote_id": "does not exist", "from_amount": "is missing"}}',
    "list": b'{"errors": ["quote_id does not exist", "from_amount is missing"]}',
    "objects": b'{"errors": [{"field": "quote_id", "message": "does not exist"}, '
    b'{"field": "from_amount", "message": "is missing"}]}',
    "detail": f'{{"errors": {{"detail": "{PHRASE}"}}}}'.encode(),
    "error": b'{"error": "quote_id does not exist; from_amount is missing"}',
    "text": b"quote_id does not exist; from_amount is missing",
    "html": f"<html><body><h1>{PHRASE}</h1></body></html>".encode(),
    "empty": b"",
}


@pytest.mark.parametrize("shape", REFUSAL_SHAPES)
async def test_refusals_come_in_every_shape(shape: str) -> None:
    wire = Wire(refusal_shape=shape)
    answer = await wire.raw("POST", "/api/orders", {"quote_id": NOWHERE, "user_id": USER})
    assert answer.status == 422
    assert answer.body == EXPECTED_SHAPES[shape]
    kind = {"text": b"text/plain", "empty": b"text/plain", "html": b"text/html"}.get(
        shape, b"application/json"
    )
    assert (answer.header(b"content-type") or b"").startswith(kind)


@pytest.mark.parametrize(
    "settings",
    [
        {"users": ()},
        {"pairs": ()},
        {"pairs": (("USD", "php"),)},
        {"pairs": (("usd", "usd"),)},
        {"settle_seconds": (5.0, 1.0)},
        {"settle_seconds": (float("nan"), 1.0)},
        {"fail_share": 1.1},
        {"refusal_shape": "odd"},
        {"created_status": 204},
        {"quotes": -1},
        {"quote_valid_seconds": 1e9},
    ],
)
def test_senseless_settings_are_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        SandboxSettings(**settings)  # type: ignore[arg-type]
    assert caught.value.field in settings


def test_an_app_needs_a_key() -> None:
    from parallax.sandbox import Exchange, create_app

    with pytest.raises(ValueError, match="API key"):
        create_app(Exchange(), "")
    assert KEY
