"""From a user to a settled order, as people do it: by mouse, by keyboard, two at once."""

from __future__ import annotations

import re

import httpx2
from playwright.sync_api import expect

from tests.browser.conftest import ONE, TWO, Exchange, People, generate, live, place, visit


def test_two_people_trade_for_two_users_at_once_and_each_sees_the_right_things(
    people: People, desk: str
) -> None:
    one, two = people.window(f"{desk}/"), people.window(f"{desk}/")
    one.get_by_role("link", name="User One").click()
    two.get_by_role("link", name="User Two").click()
    live(one)
    live(two)

    quote = generate(one)
    row = two.locator(f"#quote-{quote}")
    expect(row).to_contain_text("Active")
    second = generate(two)
    expect(one.locator(f"#quote-{second}")).to_be_visible()

    one.locator(f"#quote-{quote}").get_by_role("link").click()
    one.get_by_label("You send").fill("1.08")
    one.locator("[data-confirm]").click()
    one.wait_for_url("**/orders/*")
    order = one.url.rpartition("/")[2]
    expect(row).to_contain_text("Executed")
    # Another user's order is not a link from here: the user changes by the switcher alone.
    expect(row.get_by_role("link")).to_have_attribute("href", f"/u/{TWO}/exchange/{quote}")

    two.locator(f"#quote-{second}").get_by_role("link").click()
    two.get_by_label("You send").fill("2,500")
    two.locator("[data-confirm]").click()
    two.wait_for_url("**/orders/*")

    expect(one.locator("#order")).to_have_class(re.compile("is-completed"))
    expect(two.locator("#order")).to_have_class(re.compile("is-completed"))
    expect(one.locator("#order-title")).to_contain_text("1.08 USD")
    expect(two.locator("#order-title")).to_contain_text("2,500.00 USD")
    expect(one.locator(".timeline")).to_contain_text("Completed")

    visit(one, f"{desk}/u/{ONE}/orders")
    expect(one.locator(f"#order-{order}")).to_contain_text("Completed")
    expect(one.locator("#order-rows")).not_to_contain_text("2,500.00")


def test_the_whole_path_by_keyboard_alone(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    rows = page.locator("#quote-rows .quote")
    before = rows.count()
    page.keyboard.press("n")
    expect(rows).to_have_count(before + 1)
    expect(page.locator("#said")).to_contain_text("New quote: 1 USD is")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    for _ in range(15):
        if page.evaluate("document.activeElement.matches('#quote-rows a.use')"):
            break
        page.keyboard.press("Tab")
    use = page.evaluate("document.activeElement.getAttribute('href')")
    page.keyboard.press("Enter")
    expect(page.locator("#ticket")).to_be_visible()
    expect(page.get_by_label("You send")).to_be_focused()
    assert page.url.endswith(use)

    # Focus stays inside, Escape leads back to where it came from.
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || !!document.activeElement.closest('#ticket')"
        assert page.evaluate(inside)
    page.keyboard.press("Escape")
    expect(page.locator("#ticket")).to_have_count(0)
    assert page.url.endswith("/exchange")
    assert page.evaluate("document.activeElement.getAttribute('href')") == use

    page.keyboard.press("Enter")
    expect(page.get_by_label("You send")).to_be_focused()
    page.keyboard.type("12.50")
    page.keyboard.press("Enter")
    page.wait_for_url("**/orders/*")
    expect(page.locator("#order-title")).to_contain_text("12.50")


def test_a_ticket_has_an_address_that_works_by_itself_and_with_the_back_button(
    people: People, desk: str
) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = generate(page)
    page.locator(f"#quote-{quote}").get_by_role("link").click()
    expect(page.locator("#ticket")).to_be_visible()
    address = page.url
    page.go_back()
    expect(page.locator("#ticket")).to_have_count(0)
    page.go_forward()
    expect(page.locator("#ticket")).to_be_visible()

    visit(page, address)
    expect(page.locator("#ticket")).to_be_visible()
    assert page.evaluate("document.querySelector('#ticket').matches(':modal')")
    page.get_by_role("link", name="Close").click()
    expect(page.locator("#ticket")).to_have_count(0)
    assert page.url.endswith(f"/u/{ONE}/exchange")


def test_what_is_typed_is_answered_exactly_on_both_sides(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    generate(page)
    page.locator("#quote-rows .quote").first.get_by_role("link").click()
    send, receive = page.get_by_label("You send"), page.get_by_label("User One receives")
    rate = page.locator(".offer .big b").inner_text()
    send.fill("1,000")
    whole, _, fraction = rate.partition(".")
    expect(receive).to_have_value(f"{int(whole + fraction.ljust(2, '0')) * 10}.00")
    expect(page.locator("#request")).to_contain_text('"from_amount":"1000"')
    receive.fill("500.00")
    expect(send).to_have_value(re.compile(r"^\d+\.\d\d$"))
    expect(page.locator("#request")).to_contain_text(f'"from_amount":"{send.input_value()}"')
    for wrong, words in (("1.005", "USD has 2 decimals."), ("-5", "Use digits"), ("1e400", "Use digits")):
        send.fill(wrong)
        expect(page.locator("#send-error")).to_have_text(re.compile(words))
        expect(receive).to_have_value("")
    page.keyboard.press("Enter")
    expect(page.locator("#ticket")).to_be_visible()
    expect(send).to_have_attribute("aria-invalid", "true")


def test_a_quote_taken_by_another_tab_kills_the_button_and_says_by_whom(people: People, desk: str) -> None:
    here = people.window(f"{desk}/u/{ONE}/exchange")
    quote = generate(here)
    here.locator(f"#quote-{quote}").get_by_role("link").click()
    here.get_by_label("You send").fill("10")
    there = people.window(f"{desk}/u/{TWO}/exchange/{quote}")
    there.get_by_label("You send").fill("20")
    there.locator("[data-confirm]").click()
    there.wait_for_url("**/orders/*")
    expect(here.locator(".fate.taken")).to_contain_text(re.compile(r"A page \(tab \w+\) used this quote"))
    expect(here.locator("[data-confirm]")).to_be_hidden()
    expect(here.locator(".preview")).to_be_hidden()
    expect(here.locator(".fate.taken")).to_contain_text("another user's order")
    expect(here.locator(".fate.taken").get_by_role("link")).to_have_count(0)


def test_a_quote_that_expires_while_open_is_replaced_with_one_click_and_nothing_silent(
    people: People, desk: str, exchange: Exchange
) -> None:
    quote = exchange.quote_with(seconds=5)
    page = people.window()
    page.goto(f"{desk}/u/{ONE}/exchange/{quote}")
    expect(page.locator("#ticket")).to_be_visible()
    page.get_by_label("You send").fill("250")
    expect(page.locator("form[data-ticket]")).to_have_attribute("data-phase", re.compile("late|over"))
    expect(page.locator("[data-confirm]")).to_be_hidden()
    expect(page.locator("form[data-ticket]")).to_have_attribute("data-phase", "over")
    expect(page.get_by_text("This quote has expired.")).to_be_visible()
    expect(page.locator(".preview")).to_be_hidden()  # nothing will be sent any more
    page.get_by_role("button", name="Get a fresh quote for the same amount").click()
    expect(page.locator(".offer .change")).to_contain_text("Nothing has been accepted")
    expect(page.get_by_label("You send")).to_have_value("250")
    assert not page.url.endswith(quote)
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")


def test_a_quotes_row_expires_by_itself_without_a_word_from_the_server(
    people: People, desk: str, exchange: Exchange
) -> None:
    page = people.window(f"{desk}/u/{TWO}/exchange")
    quote = exchange.quote_with(seconds=4)
    httpx2.get(f"{desk}/u/{TWO}/exchange/{quote}")  # whoever asks for a quote that is not known has them read
    row = page.locator(f"#quote-{quote}")
    expect(row).to_have_attribute("data-phase", "over")
    expect(row.get_by_role("link")).to_have_count(0)
    expect(row.locator(".badge.over")).to_be_visible()
    page.get_by_text("Past quotes").click()
    expect(page.locator("#past-rows .quote").first).to_be_visible()


def test_a_pending_order_settles_on_every_open_page(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{TWO}/exchange")
    users = people.window(f"{desk}/")
    orders = people.window(f"{desk}/u/{TWO}/orders")
    order = place(page, "77.70")
    expect(orders.locator(f"#order-{order}")).to_contain_text(re.compile("Claimed|Sent|Pending"))
    expect(orders.locator(f"#order-{order}")).to_contain_text("Completed")
    expect(users.locator(f"#user-{TWO}")).to_contain_text("Completed")
    expect(page.locator("#order")).to_have_class(re.compile("is-completed"))
