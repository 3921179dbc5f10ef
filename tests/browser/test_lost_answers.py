"""The desk's answer to an order is lost on its way to the browser: the page finds the order, and nobody buys twice."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import ONE, Exchange, People, generate


def open_ticket(page: Page, amount: str) -> str:
    quote = generate(page)
    page.locator(f"#quote-{quote}").get_by_role("link").click()
    page.get_by_label("You send").fill(amount)
    return quote


def orders(desk: str, quote: str) -> list[str]:
    listed = httpx2.get(f"{desk}/api/users/{ONE}/orders", timeout=10).json()["data"]
    return [order["id"] for order in listed if order["quote_id"] == quote]


def lose(page: Page, *, arrives: bool, status: int | None) -> None:
    """Have the answer to the next order lost: the connection breaks, or a proxy speaks in the desk's place."""

    lost: list[Route] = []

    def handler(route: Route) -> None:
        if route.request.method != "POST" or lost:
            route.continue_()
            return
        lost.append(route)
        if arrives:
            route.fetch()
        if status is None:
            route.abort("connectionreset")
        else:
            route.fulfill(status=status, body="<html><h1>Bad gateway</h1></html>", content_type="text/html")

    page.route("**/exchange/*", handler)


@pytest.mark.parametrize("status", [None, 502, 504])
def test_the_order_is_found_by_the_tickets_key(people: People, desk: str, status: int | None) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = open_ticket(page, f"31.{0 if status is None else status - 490}")
    lose(page, arrives=True, status=status)
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")
    (order,) = orders(desk, quote)
    assert page.url.endswith(order)


def test_an_order_that_did_not_arrive_is_sent_again_by_the_same_ticket(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = open_ticket(page, "32.10")
    lose(page, arrives=False, status=None)
    page.locator("[data-confirm]").click()
    expect(page.locator("[data-lost]")).to_contain_text("The answer was lost: do not order again")
    expect(page.locator("[data-lost]")).to_contain_text("The desk has no order of this ticket yet")
    expect(page.locator("[data-lost]")).to_be_in_viewport()
    assert orders(desk, quote) == []
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")
    assert len(orders(desk, quote)) == 1


def test_while_the_desk_does_not_answer_nothing_invites_to_order_again(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = open_ticket(page, "33.10")
    lose(page, arrives=True, status=None)
    page.route("**/placed?*", lambda route: route.abort("connectionrefused"))
    page.locator("[data-confirm]").click()
    box = page.locator("[data-lost]")
    expect(box).to_contain_text("Your order may have been placed")
    expect(box).to_contain_text("goes on asking")
    expect(page.locator("[data-confirm]")).not_to_be_enabled()
    expect(page.locator(".ticket .fresh")).not_to_be_visible()
    said = page.locator("body").inner_text()
    for untrue in ("Nothing is lost", "Nothing was sent", "try again", "Try again"):
        assert untrue not in said
    page.get_by_label("I know that the first order exists").check()
    expect(page.locator(".ticket .fresh")).to_be_visible()
    page.get_by_label("I know that the first order exists").uncheck()
    page.unroute("**/placed?*")
    page.wait_for_url("**/orders/*")
    assert len(orders(desk, quote)) == 1


def test_the_same_order_again_is_a_step_of_its_own(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    open_ticket(page, "34.10")
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")
    first = page.url.rpartition("/")[2]
    page.goto(f"{desk}/u/{ONE}/exchange")
    quote = open_ticket(page, "34.10")
    page.locator("[data-confirm]").click()
    step = page.locator("[data-duplicate]")
    expect(step.get_by_role("link")).to_have_attribute("href", f"/u/{ONE}/orders/{first}")
    expect(page.locator("[data-confirm]")).not_to_be_visible()
    assert orders(desk, quote) == []
    page.get_by_role("button", name="Place one more order").click()
    page.wait_for_url("**/orders/*")
    assert page.url.rpartition("/")[2] != first
    assert len(orders(desk, quote)) == 1


def test_the_quote_of_an_unknown_order_says_do_not_order_again(
    people: People, desk: str, exchange: Exchange
) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    exchange.fault("close", on="order_create", when="before", times=1)
    quote = open_ticket(page, "35.10")
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")
    expect(page.locator("#order")).to_contain_text("Outcome unknown: do not order again")
    page.goto(f"{desk}/u/{ONE}/exchange/{quote}")
    expect(page.locator(".fate.taken")).to_contain_text("Outcome unknown: do not order again")
    expect(page.locator(".fate.taken").get_by_role("link")).to_be_visible()
    expect(page.locator(".ticket .fresh")).not_to_be_visible()
