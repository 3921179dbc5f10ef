"""A ticket is one order, however often it is sent, and nobody is led to order twice."""

from __future__ import annotations

import asyncio
import re

import pytest

from parallax.domain.transitions import OrderState
from parallax.web import words
from tests.desk.scripted import ONE, TWO
from tests.web.conftest import Browser, Play

KEY = "0123456789abcdefABCDEF_-"
OTHER = KEY[::-1]


def test_every_ticket_has_a_key_of_its_own(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        path = f"/u/{ONE}/exchange/{await browser.quote()}"
        keys = {re.search(r'name="key" value="([^"]+)"', (await browser.get(path)).text) for _ in range(3)}
        assert len({found and found[1] for found in keys}) == 3

    surf(scenario)


def test_after_a_lost_answer_the_order_is_found_by_the_tickets_key(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        asked = f"/u/{ONE}/exchange/{quote}/placed?key="
        assert (await browser.get(asked + KEY)).json() == {"order": None}
        order = await browser.order(quote, key=KEY)
        assert (await browser.get(asked + KEY)).json() == {"order": f"/u/{ONE}/orders/{order}"}
        assert (await browser.get(asked + OTHER)).json() == {"order": None}
        assert (await browser.get(asked)).json() == {"order": None}

    surf(scenario)


def test_without_scripts_a_ticket_sent_again_shows_its_order(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        form = {"side": "send", "amount": "100", "key": KEY}
        first, second = [await browser.post(f"/u/{ONE}/exchange/{quote}", form) for _ in range(2)]
        assert first.status_code == second.status_code == 303
        assert first.headers["location"] == second.headers["location"]
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 1

    surf(scenario)


def test_a_ticket_that_was_sent_is_good_for_nothing_else(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        order = await browser.order(await browser.quote(), key=KEY)
        form = {"side": "send", "amount": "7", "key": KEY}
        other = await browser.htmx(f"/u/{ONE}/exchange/{await browser.quote()}", form)
        assert other.status_code == 409
        assert f"/u/{ONE}/orders/{order}" in other.text
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 1

    surf(scenario)


@pytest.mark.parametrize("fragments", [True, False])
def test_the_same_order_again_is_asked_about_first(surf: Play, *, fragments: bool) -> None:
    async def scenario(browser: Browser) -> None:
        send = browser.htmx if fragments else browser.post
        first = await browser.order(await browser.quote(), key=KEY)
        path, form = (
            f"/u/{ONE}/exchange/{await browser.quote()}",
            {"side": "send", "amount": "100.00", "key": OTHER},
        )
        asked = await send(path, form)
        assert asked.status_code == 409
        assert f"/u/{ONE}/orders/{first}" in asked.text
        assert f'name="repeat" value="{first}"' in asked.text
        assert OTHER in asked.text, "the ticket stays the same one"
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 1
        placed = await send(path, {**form, "repeat": first})
        assert placed.status_code in (200, 303)
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 2

    surf(scenario)


def test_another_amount_or_user_or_a_minute_later_is_not_asked_about(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        await browser.order(await browser.quote(), key=KEY)
        for user, amount in ((ONE, "101"), (TWO, "100")):
            path = f"/u/{user}/exchange/{await browser.quote()}"
            assert (await browser.htmx(path, {"side": "send", "amount": amount})).status_code == 200
        await asyncio.sleep(61)
        path = f"/u/{ONE}/exchange/{await browser.quote()}"
        assert (await browser.htmx(path, {"side": "send", "amount": "100"})).status_code == 200

    surf(scenario)


def test_in_the_place_of_a_used_quote_there_is_a_fresh_one_only_for_who_knows_of_its_order(
    surf: Play,
) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        await browser.order(quote, key=KEY)
        known = len(browser.desk.books.quotes)
        path, form = f"/u/{ONE}/exchange/{quote}/fresh", {"side": "send", "amount": "100"}
        assert (await browser.htmx(path, form)).status_code == 409
        assert len(browser.desk.books.quotes) == known
        assert (await browser.htmx(path, {**form, "known": "yes"})).status_code == 200
        assert len(browser.desk.books.quotes) == known + 1

    surf(scenario)


def test_no_word_about_an_undecided_order_invites_to_order_again() -> None:
    for state in (OrderState.CLAIMED, OrderState.SENT, OrderState.UNKNOWN):
        assert "do not order again" in " ".join(words.USED_QUOTE[state])
    assert words.ORDERS[OrderState.UNKNOWN].meaning.startswith("Outcome unknown: do not order again")
    said = " ".join(" ".join(pair) for pair in words.USED_QUOTE.values())
    assert "Nothing was sent" not in said
    assert "try again" not in said
