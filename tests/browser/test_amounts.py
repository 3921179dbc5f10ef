"""Amounts on the ticket and the order's page: whole at every width, and what is shown is what is sent."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ONE, TWO, Exchange, People, generate, place

WIDTHS = (320, 390, 768, 1024, 1440)
LARGEST = "9999999999.99"

CUT = """(root) => [...document.querySelectorAll(`${root} *`)].filter((element) => {
  const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
  const own = texts.filter((node) => /\\d[.,]\\d/.test(node.data));
  if (!own.length || element.matches(".unseen, .unseen *") || !element.checkVisibility()) return false;
  const range = document.createRange();
  return own.some((node) => {
    range.selectNodeContents(node);
    const text = range.getBoundingClientRect();
    if (text.left < -0.5 || text.right > innerWidth + 0.5) return true;
    for (let box = element; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      const edge = box.getBoundingClientRect();
      const clips = style.overflowX !== "visible" || box.matches("button");
      if (clips && (text.left < edge.left - 0.5 || text.right > edge.right + 0.5)) return true;
    }
    return false;
  });
}).map((element) => `${element.className || element.tagName}: ${element.textContent}`)"""


def open_ticket(page: Page) -> str:
    quote = generate(page)
    page.locator(f"#quote-{quote}").get_by_role("link").click()
    return quote


def test_no_amount_is_cut_at_any_width(people: People, desk: str) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    open_ticket(page)
    page.get_by_label("You send").fill(LARGEST)
    expect(page.locator("[data-confirm]")).to_contain_text("9,999,999,999.99")
    cut: dict[str, list[str]] = {}
    for where in ("#ticket", "main"):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            cut[f"{where} {width}"] = page.evaluate(CUT, where)
        if where == "#ticket":
            page.locator("[data-confirm]").click()
            page.wait_for_url("**/orders/*")
    for path in ("exchange", "orders"):
        page.goto(f"{desk}/u/{ONE}/{path}")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            cut[f"{path} {width}"] = page.evaluate(CUT, "main")
    assert {where: found for where, found in cut.items() if found} == {}


@pytest.mark.parametrize("typed", ["00012.50", "13.5", "1,234.50", " 14 "])
def test_the_request_shown_is_the_one_that_the_exchange_receives(
    people: People, desk: str, exchange: Exchange, typed: str
) -> None:
    page = people.window(f"{desk}/u/{ONE}/exchange")
    quote = open_ticket(page)
    page.get_by_label("You send").fill(typed)
    shown = json.loads((page.locator("#request").text_content() or "").removeprefix("POST /orders "))
    page.locator("[data-confirm]").click()
    page.wait_for_url("**/orders/*")
    expect(page.locator("#order-title")).to_be_visible()
    expect(page.locator("#order")).to_have_class(re.compile("is-(pending|completed)"))
    (sent,) = [each for each in exchange.ask("GET", "/_record")["orders"] if each["quote_id"] == quote]
    assert (shown["quote_id"], shown["user_id"]) == (sent["quote_id"], sent["user_id"])
    assert shown["from_amount"] == sent["from_amount"]


def test_another_users_order_leaves_the_desk_this_users(people: People, desk: str) -> None:
    place(people.window(f"{desk}/u/{ONE}/exchange"), "77.10")
    page = people.window(f"{desk}/u/{TWO}/exchange")
    assert page.locator(f"#page a[href^='/u/{ONE}/orders/']").count() == 0
    used = page.locator("#page").get_by_role("link", name="Details of the quote").first
    used.click()
    expect(page.locator("#ticket [data-taken]")).to_contain_text("another user's order")
    assert page.locator(f"a[href^='/u/{ONE}/orders/']").count() == 0
    expect(page.locator("#page")).to_have_attribute("data-user", TWO)
