"""The wire, read strictly: what is accepted, what is not, and that nothing else ever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parallax.domain.errors import VenueMisbehaved
from parallax.domain.identity import QuoteId, UserId
from parallax.ports.venue import Accepted, OrderRequest, Refused, Unknown, VenueOrderStatus
from parallax.venues import wire

REQUEST = OrderRequest(QuoteId("q-1"), UserId("u-1"), "100.50")
QUOTE: dict[str, Any] = {
    "id": "160582fd-6943-465d-9c0e-3c137b82c345",
    "created_at": "2026-03-01T12:00:05",
    "rate": "54.42",
    "from_currency": "usd",
    "to_currency": "php",
}
ORDER: dict[str, Any] = {
    "id": "o-1",
    "status": "pending",
    "quote_id": "q-1",
    "user_id": "u-1",
    "from_amount": "100.50",
}
USER: dict[str, Any] = {"id": "u-1", "name": "User One", "email": "user1@example.com"}


def enveloped(value: object, **beside: object) -> bytes:
    return json.dumps({"data": value, **beside}).encode()


def quote_with(**changes: object) -> bytes:
    return enveloped({**QUOTE, **changes})


def order_with(**changes: object) -> bytes:
    return enveloped({**ORDER, **changes})


class TestQuotes:
    def test_a_quote_becomes_domain_values(self) -> None:
        quote = wire.read_quote("POST /quotes", enveloped(QUOTE))
        assert quote.id == QUOTE["id"]
        assert quote.rate.wire == "54.42"
        assert quote.rate.pair == "USD/PHP"
        assert quote.created_at == datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("2026-03-01T12:00:05", datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)),
            ("2026-03-01T12:00:05.25", datetime(2026, 3, 1, 12, 0, 5, 250_000, tzinfo=UTC)),
            ("2026-03-01T12:00:05Z", datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)),
            ("2026-03-01T14:00:05+02:00", datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)),
            ("2026-02-28T23:30:00-01:30", datetime(2026, 3, 1, 1, 0, tzinfo=UTC)),
        ],
    )
    def test_time_without_a_zone_is_utc_and_a_zone_is_converted(self, written: str, meant: datetime) -> None:
        created_at = wire.read_quote("POST /quotes", quote_with(created_at=written)).created_at
        assert created_at == meant
        assert created_at.tzinfo is UTC

    def test_a_rate_may_be_a_json_number_and_keeps_its_text(self) -> None:
        body = enveloped(QUOTE).replace(b'"54.42"', b"54.420000000000000000001")
        assert wire.read_quote("POST /quotes", body).rate.wire == "54.420000000000000000001"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("id", 7),
            ("id", ""),
            ("id", "a/b"),
            ("id", "x" * 65),
            ("created_at", "yesterday"),
            ("created_at", 1_772_366_405),
            ("created_at", "2026-03-01"),
            ("created_at", "0001-01-01T00:00:00+23:00"),
            ("created_at", "9999-12-31T23:59:59"),
            ("rate", "0"),
            ("rate", "-1"),
            ("rate", "NaN"),
            ("rate", "1e400"),
            ("rate", "5,4"),
            ("rate", " 54"),
            ("rate", "٥٤"),
            ("rate", "9" * 40),
            ("rate", None),
            ("rate", [1]),
            ("from_currency", "dollars"),
            ("from_currency", "zzz"),
            ("to_currency", "xxx"),
            ("to_currency", None),
        ],
    )
    def test_a_wrong_field_is_named_with_its_call(self, field: str, value: object) -> None:
        with pytest.raises(VenueMisbehaved) as caught:
            wire.read_quote("POST /quotes", quote_with(**{field: value}))
        assert "POST /quotes" in caught.value.words
        assert field in caught.value.words
        assert len(caught.value.words) < 300

    @pytest.mark.parametrize("field", list(QUOTE))
    def test_a_missing_field_is_named(self, field: str) -> None:
        body = enveloped([{key: value for key, value in QUOTE.items() if key != field}])
        with pytest.raises(VenueMisbehaved, match=f"GET /quotes.*{field}"):
            wire.read_quotes("GET /quotes", body)

    def test_unknown_fields_are_ignored(self) -> None:
        body = enveloped([{**QUOTE, "mood": {"x": 1e3}}], meta={"took": 3.5})
        assert len(wire.read_quotes("GET /quotes", body)) == 1


class TestOrdersAndUsers:
    def test_an_order_becomes_domain_values(self) -> None:
        order = wire.read_order("GET /orders/:id", order_with(status="completed"))
        assert (order.id, order.quote_id, order.user_id) == ("o-1", "q-1", "u-1")
        assert (order.amount, order.status) == ("100.50", VenueOrderStatus.COMPLETED)

    @pytest.mark.parametrize(
        ("literal", "text"),
        [
            (b"100", "100"),
            (b"100.50", "100.50"),
            (b"0.1", "0.1"),
            (b"1e2", "100"),
            (b"1.5E-3", "0.0015"),
            (b"123456789012345678.12", "123456789012345678.12"),
            (b'"1E+2"', "100"),
            (b'"1\\u0030"', "10"),
        ],
    )
    def test_an_amount_keeps_the_digits_that_were_written(self, literal: bytes, text: str) -> None:
        body = enveloped(ORDER).replace(b'"100.50"', literal)
        assert wire.read_order("GET /orders/:id", body).amount == text

    @pytest.mark.parametrize(
        "amount", ["", "-5", "abc", "1e999", "1e-999", "9" * 65, "1.2.3", True, None, {}]
    )
    def test_an_amount_that_is_none_is_refused(self, amount: object) -> None:
        with pytest.raises(VenueMisbehaved, match="from_amount"):
            wire.read_order("GET /orders/:id", order_with(from_amount=amount))

    def test_a_settled_order_that_looks_the_same_is_the_same_object(self) -> None:
        """By which those who have looked at it before can tell that there is nothing new."""

        def read(**changes: object) -> object:
            return wire.read_order("GET /orders/:id", order_with(**{"status": "completed", **changes}))

        assert read() is read()
        others = (
            {"status": "failed"},
            {"from_amount": "100.5"},
            {"quote_id": "q-2"},
            {"user_id": "u-2"},
            {"id": "o-2"},
        )
        for other in others:
            assert read(**other) is not read()
            assert read(**other) != read()
        assert read(status="pending") is not read(status="pending")

    def test_a_status_of_other_words_is_refused(self) -> None:
        with pytest.raises(VenueMisbehaved, match="status"):
            wire.read_order("GET /orders/:id", order_with(status="cancelled"))

    def test_users(self) -> None:
        (user,) = wire.read_users("GET /users", enveloped([{**USER, "age": 7}]))
        assert (user.id, user.name, user.email) == ("u-1", "User One", "user1@example.com")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["pending", "q-1", "u-1", "usd", "54.42"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "errors", "error", "message", "from_amount", "quote_id", "id", "detail"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
bodies = (
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda name, value: order_with(**{name: value}), st.sampled_from(list(ORDER)), json_values)
    | st.builds(
        lambda body, at, byte: body[:at] + bytes([byte]) + body[at + 1 :],
        st.just(enveloped(ORDER)),
        st.integers(0, len(enveloped(ORDER)) - 1),
        st.integers(0, 255),
    )
)
READERS: list[Callable[[str, bytes], object]] = [
    wire.read_users,
    wire.read_quote,
    wire.read_quotes,
    wire.read_order,
    wire.read_orders,
]


def complaint(read: Callable[[str, bytes], object], body: bytes) -> str | None:
    """The words of the one error that reading may raise, or None when it went well."""
    try:
        read("GET /things", body)
    except VenueMisbehaved as error:
        return error.words
    return None


class TestAnyBytes:
    @given(bodies)
    @example(b"[" * 100_000)
    @example(b'{"data":' * 10_000)
    @example(b'{"data":[{"id":"\\ud800"}]}')
    @example(b'{"data":{"id":"\xff"}}')
    @example(b'{"data":[],"meta":' + b"[" * 50_000)
    def test_reading_gives_values_or_one_clear_error(self, body: bytes) -> None:
        for read in READERS:
            words = complaint(read, body)
            assert words is None or ("GET /things" in words and len(words) < 400)

    @given(json_values)
    def test_whatever_a_field_holds_nothing_but_the_one_error_comes(self, value: object) -> None:
        for shape, read in ((QUOTE, wire.read_quote), (ORDER, wire.read_order)):
            for name in shape:
                words = complaint(read, enveloped({**shape, name: value}))
                assert words is None or f"`{name}`" in words or f".{name}`" in words

    @given(st.decimals(min_value="0.0001", max_value="1e12", places=4))
    def test_rates_and_amounts_survive_exactly(self, value: Decimal) -> None:
        text = format(value, "f")
        assert wire.read_quote("q", quote_with(rate=text)).rate.value == value
        assert wire.read_order("o", order_with(from_amount=text)).amount == text


statuses = st.integers(100, 599)


class TestOutcome:
    @given(statuses, bodies)
    def test_every_answer_has_a_meaning_and_only_an_explicit_no_is_a_refusal(
        self, status: int, body: bytes
    ) -> None:
        outcome = wire.order_outcome(REQUEST, status, body)
        if isinstance(outcome, Accepted):
            assert status in (200, 201)
            assert (outcome.order.quote_id, outcome.order.user_id) == ("q-1", "u-1")
        elif isinstance(outcome, Refused):
            assert 400 <= status < 500
            assert status not in (408, 425, 499)
            assert outcome.reasons
            assert all(len(reason) <= 200 and reason.isprintable() for reason in outcome.reasons)
        else:
            assert outcome.cause in (f"status_{status}", "unreadable_answer")

    @pytest.mark.parametrize("status", [200, 201])
    def test_yes(self, status: int) -> None:
        outcome = wire.order_outcome(REQUEST, status, enveloped(ORDER))
        assert isinstance(outcome, Accepted)
        assert outcome.order.id == "o-1"

    def test_yes_with_another_amount_is_still_yes(self) -> None:
        outcome = wire.order_outcome(REQUEST, 201, order_with(from_amount="7"))
        assert isinstance(outcome, Accepted)
        assert outcome.order.amount == "7"

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"{}", order_with(quote_id="q-2"), order_with(user_id="u-2"), enveloped([ORDER])],
    )
    def test_a_yes_that_is_not_about_our_order_is_unknown(self, body: bytes) -> None:
        outcome = wire.order_outcome(REQUEST, 201, body)
        assert isinstance(outcome, Unknown)
        assert outcome.cause == "unreadable_answer"

    @pytest.mark.parametrize("status", [401, 403, 405, 406, 411, 413, 414, 415, 429, 431])
    def test_refusals_that_leave_the_quote_usable(self, status: int) -> None:
        outcome = wire.order_outcome(REQUEST, status, b"no")
        assert outcome == Refused(status, ("no",), leaves_quote_usable=True)

    @pytest.mark.parametrize("status", [400, 402, 404, 409, 410, 418, 422, 423, 451])
    def test_refusals_that_are_doubted(self, status: int) -> None:
        body = b'{"errors": {"quote_id": ["has already been used"]}}'
        outcome = wire.order_outcome(REQUEST, status, body)
        assert outcome == Refused(status, ("quote_id: has already been used",), leaves_quote_usable=False)

    @pytest.mark.parametrize("status", [400, 422])
    @pytest.mark.parametrize(
        "body",
        [
            {"errors": {"from_amount": ["must be greater than 0"]}},
            {"data": {"errors": {"amount": "is too large"}}},
            {"errors": [{"field": "from_amount", "message": "is too large"}]},
            {"detail": [{"loc": ["body", "from_amount"], "msg": "is too large"}]},
            {"errors": [{"source": {"pointer": "/data/from_amount"}, "detail": "is too large"}]},
            {"title": "Unprocessable", "invalid-params": [{"name": "from_amount", "reason": "is too large"}]},
        ],
    )
    def test_a_refusal_of_the_amount_alone_leaves_the_quote_usable(self, status: int, body: object) -> None:
        outcome = wire.order_outcome(REQUEST, status, json.dumps(body).encode())
        assert isinstance(outcome, Refused)
        assert outcome.about_amount
        assert outcome.leaves_quote_usable

    @pytest.mark.parametrize(
        "body",
        [
            {"errors": {"from_amount": ["is odd"], "quote_id": ["is used"]}},
            {"errors": {"quote_id": [], "from_amount": ["is odd"]}},
            {"errors": [{"field": "from_amount", "message": "is odd"}, {"message": "quote is used"}]},
            {"errors": ["from_amount is odd"]},
            {"errors": {"from_amount": {"quote": "is used"}}},
            {"error": "amount"},
            {},
        ],
    )
    def test_a_refusal_that_may_be_about_more_than_the_amount_is_doubted(self, body: object) -> None:
        outcome = wire.order_outcome(REQUEST, 422, json.dumps(body).encode())
        assert isinstance(outcome, Refused)
        assert not outcome.leaves_quote_usable
        assert not outcome.about_amount

    def test_an_amount_error_under_another_status_is_doubted(self) -> None:
        outcome = wire.order_outcome(REQUEST, 409, b'{"errors": {"from_amount": ["no"]}}')
        assert isinstance(outcome, Refused)
        assert not outcome.leaves_quote_usable

    @pytest.mark.parametrize(
        "status", [100, 202, 204, 206, 301, 302, 307, 308, 408, 425, 499, 500, 502, 503, 504]
    )
    def test_everything_else_is_unknown(self, status: int) -> None:
        outcome = wire.order_outcome(REQUEST, status, enveloped(ORDER))
        assert isinstance(outcome, Unknown)
        assert outcome.cause == f"status_{status}"
