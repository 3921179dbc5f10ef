"""Everyone can use every page: no violation that axe knows, in either theme, and nothing wider than a small phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ONE, THREE, People, audit, generate, live, place, visit


def every_page(people: People, page: Page, desk: str) -> list[str]:
    """Addresses of every kind of page, with something on each."""
    visit(page, f"{desk}/u/{ONE}/exchange")
    order = place(page)
    visit(page, f"{desk}/u/{ONE}/exchange")
    quote = generate(page)
    return [
        f"{desk}/",
        f"{desk}/?q=nobody-has-this-name",
        f"{desk}/u/{ONE}/exchange",
        f"{desk}/u/{ONE}/exchange/{quote}",
        f"{desk}/u/{ONE}/orders",
        f"{desk}/u/{ONE}/orders?q=nothing",
        f"{desk}/u/{THREE}/orders",
        f"{desk}/u/{ONE}/orders/{order}",
        f"{desk}/operations",
        f"{desk}/u/nobody/exchange",
    ]


def test_axe_finds_nothing_wrong_with_any_page_in_either_theme(people: People, practice: str) -> None:
    page = people.window(color_scheme="light", reduced_motion="reduce")
    wrong: list[str] = []
    for address in every_page(people, page, practice):
        page.goto(address)
        live(page)
        wrong += audit(page)
        page.emulate_media(color_scheme="dark")
        wrong += audit(page, "color-contrast")  # what a theme can change
        page.emulate_media(color_scheme="light")
    assert wrong == []


@pytest.mark.parametrize("width", [360, 390, 768])
def test_no_page_is_wider_than_its_window(people: People, practice: str, width: int) -> None:
    page = people.window(viewport={"width": width, "height": 780})
    for address in every_page(people, page, practice):
        page.goto(address)
        live(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        wide = page.evaluate(
            """() => [...document.querySelectorAll("main *, dialog *")].filter((each) => {
                const box = each.getBoundingClientRect();
                return box.width > 1 && box.right > innerWidth + 1 && !each.closest(".scroll, .unseen, nav.main");
            }).map((each) => each.outerHTML.slice(0, 120))"""
        )
        assert wide == [], address


def test_the_theme_is_chosen_and_remembered(people: People, practice: str) -> None:
    page = people.window(f"{practice}/", color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_times_are_the_viewers_and_amounts_are_written_as_they_are_read(
    people: People, practice: str
) -> None:
    page = people.window(timezone_id="Asia/Manila", locale="de-DE")
    visit(page, f"{practice}/u/{ONE}/exchange")
    place(page, "1234.5")
    expect(page.locator("#order-title")).to_contain_text("1,234.50 USD")
    placed = page.locator("dl local-time").first
    utc = placed.get_attribute("title")
    assert utc
    assert utc.endswith("UTC")
    hour = (int(utc[11:13]) + 8) % 24
    expect(placed).to_contain_text(f"{hour:02}:{utc[14:16]}")
