"""The control door: faults and actions over HTTP, the counters, and the record that holds the truth."""

from __future__ import annotations

import json

import pytest

from parallax.sandbox import FAULTS, ConnectionDropped
from tests.sandbox.support import NOWHERE, OTHER_USER, USER, Wire


async def test_a_fault_is_added_shown_and_cleared() -> None:
    wire = Wire()
    added = await wire.control(fault="status", on="users", times=3, status=503)
    assert added == {
        "id": 1,
        "fault": "status",
        "status": 503,
        "when": "before",
        "body": "upstream trouble",
        "on": ["users"],
        "times_left": 3,
        "share": 1.0,
        "until": None,
        "hits": 0,
    }
    assert (await wire.raw("GET", "/api/users")).status == 503
    _, document = await wire("GET", "/_control")
    assert document["data"]["faults"] == [{**added, "times_left": 2, "hits": 1}]
    assert await wire("DELETE", "/_control") == (200, {"data": {"cleared": 1}})
    assert (await wire.raw("GET", "/api/users")).status == 200


async def test_one_fault_is_cleared_by_its_id() -> None:
    wire = Wire()
    first, second = await wire.control(fault="close"), await wire.control(fault="slow")
    assert await wire("DELETE", f"/_control/{first['id']}") == (200, {"data": {"cleared": 1}})
    assert [fault.id for fault in wire.exchange.faults.active] == [second["id"]]
    for wrong in (first["id"], "x", "٣", "1" * 5000):
        assert (await wire.raw("DELETE", f"/_control/{wrong}")).status == 404


async def test_the_table_of_faults_is_served_with_its_parameters() -> None:
    _, document = await Wire()("GET", "/_control")
    available = document["data"]["available"]
    assert set(available) == set(FAULTS)
    assert available["delay"]["parameters"]["when"]["choices"] == ["before", "after"]
    assert all(row["summary"] for row in available.values())


async def test_every_fault_can_be_added_with_its_defaults() -> None:
    wire = Wire()
    for name in FAULTS:
        await wire.control(fault=name)
    assert (await wire.raw("GET", "/_control")).status == 200  # no fault reaches the control door


async def test_the_control_door_is_below_the_base_url_too() -> None:
    wire = Wire()
    assert (await wire.raw("GET", "/api/_stats")).status == 200
    assert wire.exchange.stats.calls == {}  # and is not counted


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"fault":"close","action":"settle"}', 422),
        (b'{"fault":["close"]}', 422),
        (b'{"fault":"close","name":1}', 422),
        (b'{"fault":"close","self":1}', 422),
        (b'{"fault":"close","extra":1}', 422),
        (b'{"action":"dance"}', 422),
        (b'{"action":["settle"]}', 422),
        (b'{"action":"settle","count":1}', 422),
        (b'{"action":"configure","users":[]}', 422),
        (b'{"action":"configure","settle_seconds":[9,1]}', 422),
        (b'{"action":"configure","settle_seconds":"fast"}', 422),
        (b'{"action":"configure","fail_share":"half"}', 422),
        (b'{"action":"configure","created_fraction":1}', 422),
        (b'{"action":"configure","created_status":200.5}', 422),
        (b'{"action":"configure","pairs":[["usd"]]}', 422),
        (b'{"action":"configure","pairs":"usd"}', 422),
        (b'{"action":"configure","refusal_shape":[]}', 422),
        (b'{"action":"place_order","force":"yes"}', 422),
        (b'{"action":"place_order","user_id":"x","from_amount":"1"}', 422),
        (b'{"action":"change_mind","order_id":"x"}', 404),
        (b'{"action":"change_mind","order_id":[]}', 404),
        (b'{"action":"restart","down_seconds":-1}', 422),
        (b'{"action":"seed_quotes","count":1e9}', 422),
        (b"x" * 65_537, 413),
    ],
)
async def test_no_control_body_can_hurt(body: bytes, status: int) -> None:
    answer = await Wire().raw("POST", "/_control", body)
    assert answer.status == status
    assert json.loads(answer.body)["errors"]


async def test_an_order_is_placed_elsewhere() -> None:
    wire = Wire()
    placed = await wire.control(action="place_order", user_id=OTHER_USER, from_amount="5.00")
    assert placed["elsewhere"]
    [listed] = await wire.orders(OTHER_USER)
    assert listed["id"] == placed["id"]
    assert (await wire.try_order(placed["quote_id"]))[0] == 422
    assert len(wire.exchange.requests) == 1  # the refused one: an order placed elsewhere was no request here


async def test_two_orders_on_one_quote_only_by_force() -> None:
    wire = Wire()
    order = await wire.order()
    again = {"user_id": USER, "from_amount": "1", "quote_id": order["quote_id"]}
    assert (await wire("POST", "/_control", {"action": "place_order", **again}))[0] == 422
    await wire.control(action="place_order", force=True, **again)
    assert [listed["quote_id"] for listed in await wire.orders()] == [order["quote_id"]] * 2


async def test_settling_is_configured_and_forced() -> None:
    wire = Wire()
    settings = await wire.control(action="configure", settle_seconds=[60, 60], fail_share=1)
    assert settings["settle_seconds"] == [60, 60]
    await wire.order()
    wire.clock.move(59)
    assert (await wire.orders())[0]["status"] == "pending"
    assert await wire.control(action="settle") == {"settled": 1}
    assert (await wire.orders())[0]["status"] == "failed"


async def test_an_order_changes_its_mind_once_settled() -> None:
    wire = Wire(fail_share=0.0)
    order = await wire.order()
    change = {"action": "change_mind", "order_id": order["id"]}
    assert (await wire("POST", "/_control", change))[0] == 422
    wire.clock.move(10)
    for status in ("failed", "completed"):
        assert (await wire.control(**change))["status"] == status
        assert (await wire.orders())[0]["status"] == status
    assert (await wire("POST", "/_control", {**change, "status": "lost"}))[0] == 422


async def test_a_restart_takes_the_exchange_down_for_a_while() -> None:
    wire = Wire()
    assert await wire.control(action="restart", down_seconds=5) == {"starts": 2}
    with pytest.raises(ConnectionDropped):
        await wire.raw("GET", "/api/users")
    wire.clock.move(5)
    assert (await wire.raw("GET", "/api/users")).status == 200


async def test_quotes_are_seeded() -> None:
    wire = Wire()
    assert await wire.control(action="seed_quotes", count=500) == {"quotes": 500}
    _, document = await wire("GET", "/api/quotes")
    assert len(document["data"]) == 500


async def test_stats_count_calls_by_kind_and_answer() -> None:
    wire = Wire()
    order = await wire.order()
    await wire.try_order(order["quote_id"])
    await wire.raw("GET", "/api/nowhere")
    await wire.raw("GET", "/api/users", headers=())
    assert await wire("GET", "/_stats") == (
        200,
        {
            "data": {
                "total": 5,
                "calls": {"quote_create": 1, "order_create": 2, "other": 1, "users": 1},
                "answers": {
                    "quote_create": {"201": 1},
                    "order_create": {"201": 1, "422": 1},
                    "other": {"404": 1},
                    "users": {"401": 1},
                },
            }
        },
    )
    await wire.raw("DELETE", "/_stats")
    assert (await wire("GET", "/_stats"))[1]["data"]["total"] == 0


async def test_the_record_holds_every_request_order_and_quote() -> None:
    wire = Wire(fail_share=0.0, settle_seconds=(5, 5))
    order = await wire.order()
    wire.clock.move(1)
    await wire.control(fault="close", on="order_create", times=1)
    swallowed = await wire.quote()
    with pytest.raises(ConnectionDropped):
        await wire.try_order(swallowed["id"], "3")
    await wire.try_order(NOWHERE, "x" * 1000)
    record = (await wire("GET", "/_record"))[1]["data"]
    accepted, lost, refused = record["requests"]
    assert accepted == {
        "received_at": "2030-01-31T23:59:58.750000Z",
        "quote_id": order["quote_id"],
        "user_id": USER,
        "from_amount": "10.50",
        "outcomes": [
            {"at": "2030-01-31T23:59:58.750000Z", "order_id": order["id"], "refused": None, "status": 201}
        ],
    }
    assert (lost["quote_id"], lost["outcomes"]) == (swallowed["id"], [])
    assert refused["outcomes"][0]["refused"] == "quote_id does not exist; from_amount is not a number"
    assert len(refused["from_amount"]) == 200
    assert [kept["id"] for kept in record["orders"]] == [order["id"]]
    assert [step["status"] for step in record["orders"][0]["life"]] == ["pending", "completed"]
    assert [quote["order_id"] for quote in record["quotes"]] == [order["id"], None]


async def test_the_control_door_can_be_closed() -> None:
    wire = Wire(control=False)
    for path in ("/_control", "/_stats", "/_record", "/api/_control"):
        assert (await wire.raw("GET", path)).status == 404
