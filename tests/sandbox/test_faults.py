"""Each fault does what its row says, to the calls it is aimed at, as often as it was told."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import pytest

from parallax.sandbox import FAULTS, KINDS, ConnectionDropped, RawAnswer, Refusal
from parallax.sandbox.faults import DOCUMENT_SHAPES, FIELD_SHAPES
from tests.sandbox.support import NOWHERE, USER, Wire, until

SHORT = 0.02


def outcomes(wire: Wire) -> list[list[int]]:
    return [[outcome.status for outcome in request.outcomes] for request in wire.exchange.requests]


async def order_raw(wire: Wire) -> RawAnswer:
    quote = wire.exchange.create_quote()
    body = {"quote_id": quote.id, "user_id": USER, "from_amount": "1"}
    return await wire.raw("POST", "/api/orders", body)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_delay(when: str) -> None:
    wire = Wire()
    wire.exchange.faults.add("delay", on="order_create", seconds=SHORT, when=when)
    running = asyncio.create_task(order_raw(wire))
    await until(lambda: wire.app.connections.waiting)
    assert len(wire.exchange.requests) == 1
    assert len(wire.exchange.orders) == (0 if when == "before" else 1)
    assert (await running).status == 201


async def test_a_delayed_request_is_carried_out_though_its_client_has_gone() -> None:
    wire = Wire()
    wire.exchange.faults.add("delay", on="order_create", seconds=SHORT, when="before")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT / 4):
            await order_raw(wire)
    assert not wire.exchange.orders
    await until(lambda: not wire.calls.running)
    assert outcomes(wire) == [[201]]


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_hang_ends_when_the_client_goes(when: str, orders: int) -> None:
    wire = Wire()
    wire.exchange.faults.add("hang", on="order_create", when=when)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT):
            await order_raw(wire)
    await until(lambda: not wire.calls.running)
    assert len(wire.exchange.orders) == orders
    assert not wire.app.connections.waiting


async def test_hang_ends_at_its_bound() -> None:
    wire = Wire()
    wire.exchange.faults.add("hang", seconds=SHORT)
    with pytest.raises(ConnectionDropped):
        await wire.raw("GET", "/api/users")


@pytest.mark.parametrize("status", [408, 500, 502, 503])
@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_status(status: int, when: str, orders: int) -> None:
    wire = Wire()
    wire.exchange.faults.add("status", status=status, when=when, body="\ud800 away")
    assert (await order_raw(wire)).status == status
    assert len(wire.exchange.orders) == orders
    assert outcomes(wire) == [[201]] * orders or outcomes(wire) == [[]]


async def test_rate_limited() -> None:
    wire = Wire()
    for form in ("seconds", "date", "none"):
        wire.exchange.faults.add("rate_limited", retry_after=30, form=form, times=1)
    first, second, third = [await order_raw(wire) for _ in range(3)]
    assert {first.status, second.status, third.status} == {429}
    assert not wire.exchange.orders
    assert first.header(b"retry-after") == b"30"
    dates = [second.header(b"retry-after"), second.header(b"date")]
    until, now = [parsedate_to_datetime((date or b"").decode()) for date in dates]
    assert until - now == timedelta(seconds=30)
    assert third.header(b"retry-after") is None


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_close(when: str, orders: int) -> None:
    wire = Wire()
    wire.exchange.faults.add("close", when=when)
    with pytest.raises(ConnectionDropped):
        await order_raw(wire)
    assert len(wire.exchange.orders) == orders
    assert len(wire.exchange.requests) == 1
    assert wire.exchange.stats.answers == {("order_create", "dropped"): 1}


async def test_cut_off() -> None:
    wire = Wire()
    wire.exchange.faults.add("cut_off", share_sent=0.5)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/users",
        "headers": [(b"x-api-key", b"test-key")],
    }
    with pytest.raises(ConnectionDropped):
        await wire.app(scope, receive, send)
    promised = int(dict(sent[0]["headers"])[b"content-length"])
    assert 0 < len(sent[1]["body"]) < promised
    assert sent[1]["more_body"]


async def test_slow() -> None:
    wire = Wire()
    wire.exchange.faults.add("slow", seconds=SHORT)
    running = asyncio.create_task(order_raw(wire))
    await until(lambda: wire.app.connections.waiting)
    assert len(wire.exchange.orders) == 1
    assert json.loads((await running).body)["data"]["status"] == "pending"


async def test_not_json() -> None:
    wire = Wire()
    wire.exchange.faults.add("not_json", body="<p>")
    answer = await order_raw(wire)
    assert (answer.status, answer.body) == (201, b"<p>")
    assert outcomes(wire) == [[201]]


@pytest.mark.parametrize("shape", [*DOCUMENT_SHAPES, *FIELD_SHAPES])
@pytest.mark.parametrize("path", ["/api/users", "/api/quotes"])
async def test_wrong_shape(shape: str, path: str) -> None:
    wire = Wire()
    await wire.quote()
    _, right = await wire("GET", path)
    wire.exchange.faults.add("wrong_shape", shape=shape, field="id")
    answer = await wire.raw("GET", path)
    assert answer.status == 200
    wrong = json.loads(answer.body)
    assert wrong != right
    if shape == "extra_field":
        assert all(row["id"] and row["id_note"] for row in wrong["data"])
    if shape == "missing_field":
        assert all("id" not in row for row in wrong["data"])


async def test_wrong_shape_touches_single_objects_and_leaves_refusals_whole() -> None:
    wire = Wire(refusal_shape="text")
    wire.exchange.faults.add("wrong_shape", shape="bad_value", field="status")
    assert json.loads((await order_raw(wire)).body)["data"]["status"] == "???"
    assert (await wire.raw("GET", f"/api/orders/{NOWHERE}")).body == b"id not found"


async def test_duplicate_gives_the_second_answer() -> None:
    wire = Wire()
    wire.exchange.faults.add("duplicate", on="order_create", seconds=SHORT)
    answer = await order_raw(wire)
    assert answer.status == 422
    assert b"already been executed" in answer.body
    assert outcomes(wire) == [[201, 422]]  # one request came; it was carried out twice
    assert len(wire.exchange.orders) == 1


async def test_clock_skew() -> None:
    wire = Wire()
    quote = await wire.quote()
    wire.exchange.faults.add("clock_skew", seconds=300, for_seconds=10)
    answer = await wire.raw("GET", "/api/users")
    assert answer.header(b"date") == b"Fri, 01 Feb 2030 00:04:58 GMT"
    assert (await wire.quote())["created_at"] == "2030-02-01T00:04:58"
    assert (await wire.try_order(quote["id"]))[0] == 422  # expired, by that clock
    wire.clock.move(10)
    await wire.order(quote["id"])


async def test_clock_skew_of_the_date_header_alone() -> None:
    wire = Wire()
    wire.exchange.faults.add("clock_skew", seconds=-3600, only="date", times=1)
    answer = await wire.raw("POST", "/api/quotes")
    assert answer.header(b"date") == b"Thu, 31 Jan 2030 22:59:58 GMT"
    assert json.loads(answer.body)["data"]["created_at"] == "2030-01-31T23:59:58"
    assert (await wire.raw("GET", "/api/users")).header(b"date") == b"Thu, 31 Jan 2030 23:59:58 GMT"


async def test_late_listing() -> None:
    wire = Wire()
    wire.exchange.faults.add("late_listing", seconds=20, times=1)
    hidden, shown = await wire.order(), await wire.order()
    assert [order["id"] for order in await wire.orders()] == [shown["id"]]
    assert (await wire.raw("GET", f"/api/orders/{hidden['id']}")).status == 200
    wire.clock.move(19.9)
    assert len(await wire.orders()) == 1
    wire.clock.move(0.1)
    assert {order["id"] for order in await wire.orders()} == {hidden["id"], shown["id"]}


@pytest.mark.parametrize(("to", "then"), [("opposite", "failed"), ("pending", "pending")])
async def test_change_of_mind(to: str, then: str) -> None:
    wire = Wire(fail_share=0.0, settle_seconds=(5, 5))
    wire.exchange.faults.add("change_of_mind", seconds=10, to=to)
    order = await wire.order()
    seen: list[str] = []
    for _ in range(4):
        [listed] = await wire.orders()
        assert listed == (await wire("GET", f"/api/orders/{order['id']}"))[1]["data"]
        seen.append(listed["status"])
        wire.clock.move(5)
    assert seen == ["pending", "completed", "completed", then]


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_restart(when: str, orders: int) -> None:
    wire = Wire()
    before = await wire.order()
    wire.exchange.faults.add("hang", on="users")
    wire.exchange.faults.add("restart", on="order_create", down_seconds=3, when=when)
    held = asyncio.create_task(wire.raw("GET", "/api/users"))
    await until(lambda: wire.app.connections.waiting)
    with pytest.raises(ConnectionDropped):
        await order_raw(wire)
    with pytest.raises(ConnectionDropped):
        await held
    assert len(wire.exchange.orders) == 1 + orders
    with pytest.raises(ConnectionDropped):
        await wire.raw("GET", "/api/quotes")
    wire.clock.move(3)
    assert before["id"] in {order["id"] for order in await wire.orders()}


def test_every_fault_has_its_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert [name for name in FAULTS if not any(test.startswith(name) for test in tested)] == []


# Aim, count, share, end


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_hits_only_the_kind_it_is_aimed_at(kind: str) -> None:
    wire = Wire()
    order = await wire.order()
    wire.exchange.faults.add("status", on=kind)
    quote = wire.exchange.create_quote()
    calls = {
        "users": ("GET", "/api/users", None),
        "quotes": ("GET", "/api/quotes", None),
        "quote_create": ("POST", "/api/quotes", None),
        "order": ("GET", f"/api/orders/{order['id']}", None),
        "orders": ("GET", f"/api/users/{USER}/orders", None),
        "order_create": (
            "POST",
            "/api/orders",
            {"quote_id": quote.id, "user_id": USER, "from_amount": "1"},
        ),
    }
    assert set(calls) == set(KINDS)
    hit = {name for name, call in calls.items() if (await wire.raw(*call)).status == 500}
    assert hit == {kind}


async def test_a_fault_hits_the_next_n_calls() -> None:
    wire = Wire()
    fault = wire.exchange.faults.add("status", on=["users", "quotes"], times=2)
    seen = [(await wire.raw("GET", f"/api/{path}")).status for path in ("users", "quotes", "users")]
    assert seen == [500, 500, 200]
    assert fault.hits == 2
    assert not wire.exchange.faults.active


async def test_a_fault_hits_a_share_of_calls_from_the_seed() -> None:
    async def run(seed: int) -> list[int]:
        wire = Wire(seed=seed)
        wire.exchange.faults.add("status", share=0.3)
        return [(await wire.raw("GET", "/api/users")).status for _ in range(200)]

    one, again, other = await run(1), await run(1), await run(2)
    assert one == again != other
    assert 30 < one.count(500) < 90


async def test_a_fault_ends_at_its_time() -> None:
    wire = Wire()
    wire.exchange.faults.add("status", until=(wire.clock() + timedelta(seconds=5)).isoformat())
    assert (await wire.raw("GET", "/api/users")).status == 500
    wire.clock.move(5)
    assert (await wire.raw("GET", "/api/users")).status == 200
    assert not wire.exchange.faults.active


async def test_faults_act_together_the_first_outermost() -> None:
    wire = Wire()
    wire.exchange.faults.add("delay", seconds=SHORT, when="after")
    wire.exchange.faults.add("status", status=503, when="after")
    running = asyncio.create_task(order_raw(wire))
    await until(lambda: wire.app.connections.waiting)
    assert len(wire.exchange.orders) == 1
    assert (await running).status == 503


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "nonsense"}, "fault"),
        ({"name": "delay", "seconds": -1}, "seconds"),
        ({"name": "delay", "seconds": "1"}, "seconds"),
        ({"name": "delay", "seconds": float("nan")}, "seconds"),
        ({"name": "delay", "seconds": True}, "seconds"),
        ({"name": "delay", "when": "never"}, "when"),
        ({"name": "delay", "status": 500}, "status"),
        ({"name": "status", "status": 404}, "status"),
        ({"name": "status", "body": 1}, "body"),
        ({"name": "rate_limited", "retry_after": 1.5}, "retry_after"),
        ({"name": "close", "on": "everything"}, "on"),
        ({"name": "close", "on": []}, "on"),
        ({"name": "close", "on": [["users"]]}, "on"),
        ({"name": "late_listing", "on": "users"}, "on"),
        ({"name": "close", "times": 0}, "times"),
        ({"name": "close", "times": 1.5}, "times"),
        ({"name": "close", "share": 1.5}, "share"),
        ({"name": "close", "until": "tomorrow"}, "until"),
        ({"name": "close", "until": "2030-01-01T00:00:00"}, "until"),
        ({"name": "close", "until": 5}, "until"),
        ({"name": "close", "until": "2030-01-01T00:00:00Z", "for_seconds": 1}, "until"),
    ],
)
def test_a_senseless_fault_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as caught:
        Wire().exchange.faults.add(**spec)
    assert list(caught.value.errors) == [field]


def test_the_number_of_faults_is_bounded() -> None:
    faults = Wire().exchange.faults
    for _ in range(100):
        faults.add("close")
    with pytest.raises(Refusal, match="one too many"):
        faults.add("close")
    assert [a.id + 1 == b.id for a, b in pairwise(faults.active)] == [True] * 99
