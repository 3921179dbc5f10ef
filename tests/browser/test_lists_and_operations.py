"""Lists are searched, filtered and exported; operations are watched, paused and rehearsed."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from playwright.sync_api import expect

from tests.browser.conftest import ONE, THREE, TWO, Exchange, People, generate, live, place, visit


def test_orders_are_filtered_and_searched_as_one_types_and_stay_live(people: People, practice: str) -> None:
    page = people.window(f"{practice}/u/{THREE}/exchange")
    small = place(page, "10")
    visit(page, f"{practice}/u/{THREE}/exchange")
    large = place(page, "9000")
    visit(page, f"{practice}/u/{THREE}/orders")
    rows = page.locator("#order-rows .order")
    expect(rows.first).to_have_id(f"order-{large}")
    page.get_by_label("Sort").select_option("smallest")
    expect(rows.first).to_have_id(f"order-{small}")
    page.keyboard.press("/")
    page.keyboard.press("/")
    search = page.get_by_label("Search by id or amount")
    search.fill("9000")
    expect(rows).to_have_count(1)
    expect(rows.first).to_have_id(f"order-{large}")
    assert "q=9000" in page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    exported = Path(download.value.path()).read_text()
    assert large in exported
    assert small not in exported
    search.fill("zzz")
    expect(page.get_by_text("No order matches")).to_be_visible()
    page.get_by_role("link", name="Show all orders").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Open", exact=True).check(force=True)
    expect(page).to_have_url(re.compile("state=open"))


def order_elsewhere(desk: str, user: str, amount: int) -> str:
    """An order, placed by a program; its id."""
    quote = httpx2.post(f"{desk}/api/quotes").json()["data"]["id"]
    fields = {"quote_id": quote, "user_id": user, "from_amount": str(amount)}
    answer = httpx2.post(f"{desk}/api/orders", json=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["id"]


def test_a_list_of_orders_keeps_to_its_filter_and_its_count(
    people: People, desk: str, exchange: Exchange
) -> None:
    everything = people.window(f"{desk}/u/{THREE}/orders")
    opened = people.window(f"{desk}/u/{THREE}/orders?state=open")
    before = everything.locator("#order-rows .order").count()
    first = order_elsewhere(desk, THREE, 10)
    expect(everything.locator(".pager")).to_contain_text(f"1–{before + 1} of {before + 1}")
    expect(everything.get_by_role("link", name="Export CSV")).to_be_visible()
    expect(everything.locator(f"#order-{first}")).to_contain_text("Completed")
    expect(opened.get_by_text("No order matches")).to_be_visible()

    exchange.ask("POST", "/_control", action="configure", settle_seconds=[600, 600])
    try:
        held = order_elsewhere(desk, THREE, 11)
        row = opened.locator(f"#order-{held}")
        row.get_by_role("link").focus()
        exchange.ask("POST", "/_control", action="settle")
        everything.get_by_role("button", name="Read again").click()
        expect(row).to_contain_text("Completed")
        opened.wait_for_timeout(2_500)
        expect(row.get_by_role("link")).to_be_focused()  # not taken from under a person
        opened.get_by_label("Search by id or amount").focus()
        expect(row).to_have_count(0)
    finally:
        exchange.ask("POST", "/_control", action="configure", settle_seconds=[0.8, 1.5])


def test_a_reader_of_a_later_page_stays_there_when_an_order_comes(people: People, practice: str) -> None:
    for amount in range(51):
        order_elsewhere(practice, TWO, 20 + amount)
    page = people.window(f"{practice}/u/{TWO}/orders")
    page.get_by_role("link", name="Next page").click()
    live(page)
    before = page.locator(".pager").inner_text().partition(" of ")[2].split()[0]
    order_elsewhere(practice, TWO, 99)
    expect(page.locator(".pager")).to_contain_text(f"of {int(before) + 1}")
    expect(page.locator(".pager")).to_contain_text("51–")
    assert "offset=50" in page.url


def test_orders_that_were_read_again_say_so(people: People, practice: str) -> None:
    page = people.window(f"{practice}/u/{TWO}/orders")
    page.evaluate("document.querySelector('#orders-read local-time').setAttribute('at', '0')")
    expect(page.locator("#orders-read")).not_to_contain_text("just now")
    page.get_by_role("button", name="Read again").click()
    expect(page.locator(".notice.good")).to_contain_text("Orders are up to date")
    expect(page.locator("#orders-read")).to_contain_text("just now")


def test_a_receipt_is_downloaded_from_the_order(people: People, practice: str) -> None:
    page = people.window(f"{practice}/u/{ONE}/exchange")
    order = place(page, "42")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download receipt").click()
    assert order in Path(download.value.path()).read_text()


def test_users_are_found_and_switched_from_the_keyboard(people: People, practice: str) -> None:
    page = people.window(f"{practice}/")
    page.keyboard.press("/")
    page.keyboard.type("two")
    expect(page.locator("#user-rows .user")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="User Two")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/u/{TWO}/exchange")
    page.get_by_role("button", name=re.compile("Switch user")).click()
    page.keyboard.type("three")
    expect(page.locator("#switch-list a")).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/u/{THREE}/exchange")


def test_a_pause_is_seen_everywhere_at_once_and_lifted(people: People, practice: str) -> None:
    desk = people.window(f"{practice}/u/{ONE}/exchange")
    page = people.window(f"{practice}/operations")
    quote = generate(desk)
    desk.locator(f"#quote-{quote}").get_by_role("link").click()
    desk.get_by_label("You send").fill("5")
    page.get_by_placeholder("Why, in words for everyone").fill("Rates look odd")
    page.get_by_role("button", name="Pause new orders").click()
    expect(desk.locator(".banner")).to_contain_text("Rates look odd")
    expect(desk.locator("[data-confirm]")).to_be_disabled()
    expect(desk.locator("#ticket")).to_contain_text("New orders are paused")
    expect(desk.get_by_role("heading", name="New orders are paused")).to_have_count(1)
    page.get_by_role("button", name="Allow new orders again").click()
    expect(desk.locator(".banner")).to_have_count(0)
    # An open ticket follows, with what is typed in it.
    expect(desk.locator("#ticket")).not_to_contain_text("New orders are paused")
    page.get_by_placeholder("Why, in words for everyone").fill("Lunch")
    page.get_by_role("button", name="Pause new orders").click()
    expect(desk.locator("#ticket")).to_contain_text("Lunch")
    expect(desk.get_by_label("You send")).to_have_value("5")
    page.get_by_role("button", name="Allow new orders again").click()
    expect(desk.locator("#ticket")).not_to_contain_text("Lunch")
    desk.locator("[data-confirm]").click()
    desk.wait_for_url("**/orders/*")


def test_a_drill_loses_an_answer_and_the_desk_finds_the_order(people: People, practice: str) -> None:
    page = people.window(f"{practice}/operations")
    page.get_by_role("button", name="Start: Lose the next answer").click()
    expect(page.locator(".faults")).to_contain_text("The connection is closed")
    desk = people.window(f"{practice}/u/{ONE}/exchange")
    place(desk, "31")
    expect(desk.locator(".timeline")).to_contain_text("No clear answer")
    expect(desk.locator(".timeline")).to_contain_text("Found at the exchange")
    expect(page.locator(".faults")).to_have_count(0)


def test_rates_can_be_read_as_a_table(people: People, practice: str) -> None:
    page = people.window(f"{practice}/u/{TWO}/exchange")
    generate(page)
    generate(page)
    page.get_by_text("As a table").click()
    expect(page.locator("#rate-table tbody tr").nth(1)).to_be_visible()
