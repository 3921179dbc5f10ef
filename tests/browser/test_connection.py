"""What is only last known is not shown as known: every page, when its desk is killed, held still, or paused."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
from playwright.sync_api import Page, expect

from tests.browser.conftest import KEY, ONE, TWO, Exchange, People, generate, live, place, program, visit

COLOURED = """() => {
  const lively = (colour) => {
    const [r, g, b, a = 1] = (colour.match(/[\\d.]+/g) ?? [0, 0, 0]).map(Number);
    return a > 0 && Math.max(r, g, b) - Math.min(r, g, b) > 40;
  };
  return [...document.querySelectorAll(".chips *, .banners *, #page *, #dialogs *")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }))
    .filter((each) => [getComputedStyle(each).color, getComputedStyle(each).backgroundColor].some(lively))
    .map((each) => each.outerHTML.slice(0, 120));
}"""
"""Elements whose text or ground is any colour but grey, in what the desk has told."""

MOVING = """() => document.getAnimations().filter((each) => each.effect.target.closest("#page, #dialogs")).length"""


def settings_on(exchange: Exchange, port: int) -> dict[str, object]:
    return {"API_KEY": KEY, "API_URL": exchange.url, "PORT": port}


def every_page(people: People, desk: str) -> dict[str, Page]:
    """A window on each kind of page; the one of the ticket has an amount typed in."""
    first = people.window(f"{desk}/u/{ONE}/exchange")
    order = place(first)
    quote = generate(people.window(f"{desk}/u/{ONE}/exchange"))
    addresses = {
        "users": "/",
        "desk": f"/u/{ONE}/exchange",
        "ticket": f"/u/{ONE}/exchange/{quote}",
        "orders": f"/u/{ONE}/orders",
        "order": f"/u/{ONE}/orders/{order}",
        "operations": "/operations",
        "nowhere": "/nowhere",
    }
    pages = {name: people.window(f"{desk}{address}") for name, address in addresses.items()}
    pages["ticket"].get_by_label("You send").fill("12")
    for page in pages.values():
        page.evaluate("window.sameDocument = true")
    return pages


def last_known(page: Page) -> None:
    """The page says when what it shows was known, in grey, and nothing moves."""
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")
    expect(page.locator("#connection .words")).to_have_text(re.compile(r"^Last known \d\d:\d\d:\d\d$"))
    expect(page.locator("#lost")).to_contain_text(re.compile(r"last known \d\d:\d\d:\d\d"))
    assert page.evaluate(COLOURED) == []
    assert page.evaluate(MOVING) == 0


def test_a_killed_desk_is_last_known_on_every_page_keeps_it_and_comes_back(
    people: People, exchange: Exchange, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    desk = f"http://localhost:{port}"
    with program(tmp_path, "desk      ", "serve", **settings_on(exchange, port)) as process:
        pages = every_page(people, desk)
        for page in pages.values():
            assert page.evaluate(COLOURED) != []
        process.kill()
        process.wait()
        for page in pages.values():
            last_known(page)
        for name, page in pages.items():
            address = page.url
            for button in page.locator("form[method=post] button:not([type=button])").all():
                if button.is_visible():
                    expect(button).to_have_attribute("aria-disabled", "true")
                    expect(button).to_have_accessible_description(re.compile("last known"))
            action = page.locator(
                "[data-confirm]" if name == "ticket" else "#page a[href], #page button"
            ).first
            action.click(force=True)
            expect(page.locator(".notice")).to_contain_text("The desk does not answer")
            for field in page.locator("input[type=search]:visible").all():
                field.fill("twelve")
                field.press("Enter")
            page.wait_for_timeout(300)
            assert page.evaluate("window.sameDocument"), "it has not left"
            assert page.url.partition("?")[0] == address
    with program(tmp_path, "desk      ", "serve", **settings_on(exchange, port)):
        for page in pages.values():
            live(page)
            expect(page.locator("#lost")).to_be_hidden()
            expect(page.locator("[aria-disabled=true]")).to_have_count(0)
            assert page.evaluate("window.sameDocument")
        expect(pages["ticket"].get_by_label("You send")).to_have_value("12")
        pages["ticket"].locator("[data-confirm]").click()
        pages["ticket"].wait_for_url("**/orders/*")


def test_a_click_before_the_loss_was_noticed_stays_on_the_page(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    generate(page)
    page.evaluate("window.sameDocument = true")
    page.route("**/*", lambda route: route.abort())  # the stream is open still, and nothing else gets through
    for link in ("Operations", "Orders", re.compile("Use quote")):
        page.get_by_role("link", name=link).first.click()
        expect(page.locator(".notice")).to_contain_text("The desk does not answer")
    page.unroute_all()
    assert page.evaluate("window.sameDocument")
    page.get_by_role("link", name="Operations").first.click()
    page.wait_for_url("**/operations")


def test_a_desk_that_is_held_still_counts_as_gone_within_seconds(
    people: People, exchange: Exchange, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with program(tmp_path, "desk      ", "serve", **settings_on(exchange, port)) as process:
        page = people.window(f"http://localhost:{port}/u/{TWO}/exchange")
        quote = generate(page)
        page.locator(f"#quote-{quote}").get_by_role("link").click()
        page.get_by_label("You send").fill("12")
        process.send_signal(signal.SIGSTOP)
        try:
            last_known(page)
            page.locator("[data-confirm]").click(force=True)
            notice = page.locator(".notice").first
            expect(notice).to_contain_text("The desk does not answer")
            over = "(e) => { const r = e.getBoundingClientRect(); return [r.x + 9, r.y + 9, innerWidth, innerHeight]; }"
            x, y, width, height = notice.evaluate(over)
            assert 0 < x < width
            assert 0 < y < height
        finally:
            process.send_signal(signal.SIGCONT)
        live(page)
        expect(page.locator("[data-confirm]")).to_be_enabled()


def test_a_paused_desk_has_its_actions_off_with_the_reason_beside_them(people: People, desk: str) -> None:
    windows = [people.window(f"{desk}/u/{ONE}/exchange") for _ in range(2)]
    quote = generate(windows[0])
    ticket = windows[1]
    visit(ticket, f"{desk}/u/{ONE}/exchange/{quote}")
    without = people.window(java_script_enabled=False)
    confirm, use = ticket.locator("[data-confirm]"), windows[0].locator(f"#quote-{quote} .use")
    own = {"Sec-Fetch-Site": "same-origin"}
    assert (
        httpx2.post(f"{desk}/operations/pause", data={"reason": "Fire drill"}, headers=own).status_code == 303
    )
    try:
        for action in (confirm, use):
            expect(action).to_have_attribute("aria-disabled", "true")
            expect(action).to_have_accessible_description("New orders are paused: Fire drill")
            expect(action.locator("xpath=../*[contains(@class, 'why')]")).to_be_visible()
        without.goto(f"{desk}/u/{ONE}/exchange/{quote}")
        expect(without.locator("[data-confirm]")).to_be_disabled()
        expect(without.locator("footer .why")).to_have_text("New orders are paused: Fire drill")
        visit(ticket, ticket.url)
        expect(confirm).to_have_attribute("aria-disabled", "true")
    finally:
        assert httpx2.post(f"{desk}/operations/resume", headers=own).status_code == 303
    for action in (confirm, use):
        expect(action).not_to_have_attribute("aria-disabled", "true")
    expect(confirm).to_be_enabled()


def test_a_clock_that_is_set_while_the_page_is_open_changes_no_countdown(people: People, desk: str) -> None:
    page = people.window()
    visit(page, f"{desk}/u/{TWO}/exchange")
    quote = generate(page)
    left = page.locator(f"#quote-{quote} .left")
    for minutes in (-90, 600, 3):
        page.evaluate(
            "minutes => { const now = Date.now; Date.now = () => now() + minutes * 60_000; }", minutes
        )
        page.wait_for_timeout(1500)
        expect(left).to_have_text(re.compile(r"^4:[345]\d$"))
        expect(page.locator(f"#quote-{quote}")).to_have_attribute("data-phase", "good")
    live(page)


def test_an_exchange_whose_clock_is_ahead_shows_at_once_and_gives_no_quote_more_time(
    people: People, practice: str
) -> None:
    page = people.window(f"{practice}/operations")
    desk = people.window(f"{practice}/u/{TWO}/exchange")
    page.get_by_role("button", name=re.compile("^Start: .*clock", re.IGNORECASE)).click()
    try:
        expect(page.locator(".faults")).to_be_visible()
        expect(desk.locator("#frame-chips")).to_contain_text("Clock", timeout=4_000)
        quote = generate(desk)
        expect(desk.locator(f"#quote-{quote} .left")).to_have_text(re.compile(r"^(5:00|4:5\d)$"))
    finally:
        page.get_by_role("button", name="End all faults").click()
