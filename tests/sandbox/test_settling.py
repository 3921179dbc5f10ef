"""Orders settle by the clock alone; lists follow; what an order becomes is drawn when it is accepted."""

from __future__ import annotations

import pytest

from tests.sandbox.support import USER, Wire


async def status_of(wire: Wire, order: dict[str, str]) -> str:
    return (await wire("GET", f"/api/orders/{order['id']}"))[1]["data"]["status"]


async def test_an_order_settles_between_five_and_ten_seconds() -> None:
    wire = Wire(fail_share=0.0)
    orders = [await wire.order() for _ in range(20)]
    wire.clock.move(4.99)
    assert {await status_of(wire, order) for order in orders} == {"pending"}
    wire.clock.move(2.5)
    assert {await status_of(wire, order) for order in orders} == {"pending", "completed"}
    wire.clock.move(2.51)
    assert {await status_of(wire, order) for order in orders} == {"completed"}


@pytest.mark.parametrize(("share", "outcome"), [(0.0, "completed"), (1.0, "failed")])
async def test_the_share_of_failures_is_kept(share: float, outcome: str) -> None:
    wire = Wire(fail_share=share)
    order = await wire.order()
    wire.clock.move(10)
    assert await status_of(wire, order) == outcome


async def test_an_order_moves_in_the_list_when_it_settles() -> None:
    wire = Wire(settle_seconds=(5, 5))
    first = await wire.order()
    wire.clock.move(2)
    second = await wire.order()
    assert [order["id"] for order in await wire.orders()] == [first["id"], second["id"]]
    wire.clock.move(3)
    listed = await wire.orders()
    assert [order["id"] for order in listed] == [second["id"], first["id"]]
    assert listed[0]["status"] == "pending"
    assert listed[1]["status"] != "pending"


async def test_the_list_and_the_single_order_agree_at_any_time() -> None:
    wire = Wire(fail_share=0.5)
    orders = [await wire.order() for _ in range(10)]
    wire.exchange.change_mind(wire.exchange.orders[orders[0]["id"]], 3)
    wire.exchange.list_later(wire.exchange.orders[orders[1]["id"]], 7)
    listed: dict[str, str] = {}
    for _ in range(30):
        listed = {order["id"]: order["status"] for order in await wire.orders()}
        for order in orders:
            if order["id"] in listed:
                assert listed[order["id"]] == await status_of(wire, order)
        wire.clock.move(0.5)
    assert len(listed) == 10


async def test_settle_all_settles_as_was_drawn() -> None:
    one, other = Wire(fail_share=0.5), Wire(fail_share=0.5)
    for wire in (one, other):
        for _ in range(20):
            await wire.order()
    assert one.exchange.settle_all() == 20
    assert one.exchange.settle_all() == 0
    other.clock.move(10)
    assert {order["id"]: order["status"] for order in await one.orders()} == {
        order["id"]: order["status"] for order in await other.orders()
    }


async def test_the_list_of_many_orders_is_whole_and_ends_with_what_changed_last() -> None:
    wire = Wire(settle_seconds=(0, 0))
    wire.exchange.seed_quotes(2000)
    for quote_id in list(wire.exchange.quotes):
        wire.exchange.place_elsewhere(USER, "1", quote_id)
    assert len(await wire.orders()) == 2000
    order = await wire.order()
    assert (await wire.orders())[-1]["id"] == order["id"]
