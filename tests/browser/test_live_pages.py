"""Pages stay alive: over a restart, with the exchange down, in eight windows, and under a person's hands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
from playwright.sync_api import expect

from tests.browser.conftest import (
    KEY,
    ONE,
    THREE,
    TWO,
    Exchange,
    People,
    generate,
    live,
    program,
    visit,
)

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def ask_for_a_quote(desk: str, user: str) -> None:
    """A quote, asked for elsewhere."""
    assert httpx2.post(f"{desk}/u/{user}/quotes", headers=SAME_ORIGIN).status_code == 303


def test_after_a_restart_a_page_reconnects_and_catches_up(
    people: People, exchange: Exchange, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    settings = {"API_KEY": KEY, "API_URL": exchange.url, "PORT": port}
    address = f"http://localhost:{port}"
    with program(tmp_path, "desk      ", "serve", **settings):
        page = people.window(f"{address}/u/{THREE}/exchange")
        page.evaluate("window.sameDocument = true")
        first = generate(page)
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")
    with program(tmp_path, "desk      ", "serve", **settings):
        ask_for_a_quote(address, THREE)
        live(page)
        expect(page.locator(f"#quote-{first}")).to_be_visible()
        expect(page.locator("#quote-rows .quote").first).not_to_have_id(f"quote-{first}")
        assert page.evaluate("window.sameDocument"), "no reload"


def test_a_ticket_that_is_open_over_a_restart_hears_that_its_quote_was_used(
    people: People, exchange: Exchange, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    settings = {"API_KEY": KEY, "API_URL": exchange.url, "PORT": port}
    address = f"http://localhost:{port}"
    with program(tmp_path, "desk      ", "serve", **settings):
        page = people.window(f"{address}/u/{THREE}/exchange")
        quote = generate(page)
        page.locator(f"#quote-{quote}").get_by_role("link").click()
        page.get_by_label("You send").fill("12")
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")
    with program(tmp_path, "desk      ", "serve", **settings):
        fields = {"quote_id": quote, "user_id": TWO, "from_amount": "20"}
        assert httpx2.post(f"{address}/api/orders", json=fields).status_code == 201
        expect(page.locator(".fate.taken")).to_contain_text("The API")
        expect(page.locator("[data-confirm]")).to_be_hidden()
        expect(page.get_by_label("You send")).to_have_value("12")


def test_eight_windows_of_one_browser_all_stay_live_and_usable(people: People, desk: str) -> None:
    first = people.window(f"{desk}/u/{TWO}/exchange")
    pages = [first]
    for _ in range(7):
        page = people.window(context=first.context)
        visit(page, f"{desk}/u/{TWO}/exchange")
        pages.append(page)
    quote = generate(pages[-1])
    for page in pages:
        expect(page.locator(f"#quote-{quote}")).to_be_visible()
    pages[0].close()
    quote = generate(pages[1])
    for page in pages[1:]:
        expect(page.locator(f"#quote-{quote}")).to_be_visible()


def test_what_was_missed_while_offline_is_there_afterwards(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    rows = page.locator("#quote-rows .quote")
    generate(page)
    newest = rows.first.get_attribute("id")
    assert newest
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_attribute("data-state", re.compile("lost|connecting"))
    ask_for_a_quote(desk, ONE)
    page.context.set_offline(False)
    live(page)
    expect(rows.first).not_to_have_id(newest)


def test_an_exchange_that_is_down_is_said_on_every_page_and_recovers_without_reload(
    people: People, desk: str, exchange: Exchange
) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    page.evaluate("window.sameDocument = true")
    other = people.window(f"{desk}/")
    exchange.fault("status", status=503)
    for _ in range(8):
        if page.locator(".banner.bad").count():
            break
        page.get_by_role("button", name="Generate quote").click()
        expect(page.locator("#generate")).to_be_enabled()
    for each in (page, other):
        expect(each.locator(".banner.bad")).to_contain_text("The exchange is down")
    expect(other.get_by_role("link", name="User One")).to_be_visible()
    exchange.calm()
    expect(page.locator(".banner.bad")).to_have_count(0, timeout=40_000)
    expect(other.locator(".banner.bad")).to_have_count(0)
    assert page.evaluate("window.sameDocument")
    generate(page)


def test_a_list_that_could_not_be_read_says_so_until_it_can(
    people: People, exchange: Exchange, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    settings = {"API_KEY": KEY, "API_URL": exchange.url, "PORT": port}
    with program(tmp_path, "desk      ", "serve", "--in-memory", **settings):
        exchange.fault("status", status=503, on="orders")
        page = people.window(f"http://localhost:{port}/u/{ONE}/orders")
        page.evaluate("window.sameDocument = true")
        expect(page.locator(".age.stale")).to_contain_text("Orders have not been read from the exchange yet")
        exchange.calm()
        expect(page.locator(".age.stale")).to_have_count(0, timeout=45_000)
        assert page.evaluate("window.sameDocument")


def test_focus_and_typing_survive_live_updates(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = generate(page)
    page.locator(f"#quote-{quote} a").focus()
    for _ in range(3):
        ask_for_a_quote(desk, TWO)
    expect(page.locator(f"#quote-{quote}")).not_to_have_class(re.compile("nothing"))
    expect(page.locator(f"#quote-{quote} a")).to_be_focused()

    page.locator(f"#quote-{quote} a").click()
    page.get_by_label("You send").fill("123.4")
    ask_for_a_quote(desk, TWO)
    expect(page.locator("#quote-rows .quote").first).not_to_have_id(f"quote-{quote}")
    expect(page.get_by_label("You send")).to_be_focused()
    expect(page.get_by_label("You send")).to_have_value("123.4")


def test_a_countdown_is_never_announced(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    generate(page)
    spoken = page.evaluate(
        """() => [...document.querySelectorAll("time-left")].filter(
            (each) => each.closest("[aria-live], [role=status], [role=alert], [role=timer]")).length"""
    )
    assert spoken == 0
