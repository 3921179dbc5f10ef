"""The pages as they are served: what each shows, where it leads, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from parallax.domain.entities import User
from parallax.domain.identity import UserId
from parallax.ports.receipt import verify
from parallax.ports.venue import Refused, Unknown, VenueOrderStatus
from parallax.web.pages.exchange import FIRST_ROWS, MORE_ROWS
from tests.desk.conftest import World
from tests.desk.scripted import ONE, TWO
from tests.web.conftest import Browser, Play

KEY = "0123456789abcdefABCDEF_-"
PAGES = ("/", f"/u/{ONE}/exchange", f"/u/{ONE}/orders", "/operations")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_served(surf: Play, path: str) -> None:
    async def scenario(browser: Browser) -> None:
        answer = await browser.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")

    surf(scenario)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/u/nobody/exchange", "There is no such user"),
        ("/u/nobody/orders", "There is no such user"),
        ("/u/%3Cscript%3E/exchange", "There is no such user"),
        (f"/u/{ONE}/exchange/none", "There is no such quote"),
        (f"/u/{ONE}/exchange/..%2f..%2fetc", "There is no such"),
        (f"/u/{ONE}/orders/none", "There is no such order"),
        (f"/u/{ONE}/orders/" + "x" * 300, "There is no such order"),
        ("/nowhere", "There is no such page"),
    ],
)
def test_unknown_addresses_get_a_page_with_a_way_back(surf: Play, path: str, words: str) -> None:
    async def scenario(browser: Browser) -> None:
        answer = await browser.get(path)
        assert answer.status_code == 404
        assert words in answer.text
        assert re.search(r'class="button primary" href="/', answer.text)
        assert "Traceback" not in answer.text

    surf(scenario)


@pytest.mark.parametrize("path", [*PAGES, "/healthz", "/live?page=users", "/api/users"])
def test_head_is_answered_like_get_without_a_body(surf: Play, path: str) -> None:
    async def scenario(browser: Browser) -> None:
        answer = await browser.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")

    surf(scenario)


@pytest.mark.parametrize("path", ["/operations", f"/u/{ONE}/exchange", f"/u/{ONE}/orders?state=open"])
def test_a_slash_at_the_end_leads_to_the_page(surf: Play, path: str) -> None:
    async def scenario(browser: Browser) -> None:
        page, _, query = path.partition("?")
        answer = await browser.get(f"{page}/?{query}" if query else f"{page}/")
        assert (answer.status_code, answer.headers["location"]) == (308, path)
        assert (await browser.get("http://localhost//evil.example/")).headers["location"] == "/evil.example"

    surf(scenario)


def test_a_person_without_scripts_can_quote_and_order(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        asked = await browser.post(f"/u/{ONE}/quotes")
        assert (asked.status_code, asked.headers["location"]) == (303, f"/u/{ONE}/exchange")
        (quote,) = browser.desk.books.quotes
        desk = await browser.get(f"/u/{ONE}/exchange")
        assert f'href="/u/{ONE}/exchange/{quote.id}"' in desk.text
        ticket = await browser.get(f"/u/{ONE}/exchange/{quote.id}")
        assert '<dialog id="ticket"' in ticket.text
        placed = await browser.post(f"/u/{ONE}/exchange/{quote.id}", {"side": "send", "amount": " 1,000.50 "})
        assert placed.status_code == 303
        order = await browser.get(placed.headers["location"])
        assert "1,000.50" in order.text
        await asyncio.sleep(1)
        assert browser.venue.sent[0].amount == "1000.50"

    surf(scenario)


def test_typing_what_is_to_be_received_sends_the_least_that_buys_it(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        fields = {"side": "receive", "amount": "58.34"}
        assert (await browser.htmx(f"/u/{ONE}/exchange/{quote}", fields)).status_code == 200
        await asyncio.sleep(1)
        assert browser.venue.sent[0].amount == "1.08"

    surf(scenario)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("", "Enter an amount."),
        ("abc", "Use digits with a point"),
        ("-5", "Use digits with a point"),
        ("12abc", "Use digits with a point"),
        ("1e400", "Use digits with a point"),
        ("NaN", "Use digits with a point"),
        ("0", "more than zero"),
        ("1.005", "USD has 2 decimals."),
        ("1" * 16, "At most 15 digits"),
        ("<img src=x>", "Use digits with a point"),
    ],
)
def test_a_bad_amount_is_refused_inline_and_never_sent(surf: Play, amount: str, words: str) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        answer = await browser.htmx(f"/u/{ONE}/exchange/{quote}", {"side": "send", "amount": amount})
        assert answer.status_code == 422
        assert words in answer.text
        assert "<img" not in answer.text
        assert browser.venue.sent == []
        (kept,) = browser.desk.books.quotes
        assert kept.state.value == "active"

    surf(scenario)


def test_a_second_order_on_a_quote_is_told_who_has_it_and_where(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        order = await browser.order(quote, tab="tabone")
        second = await browser.htmx(
            f"/u/{TWO}/exchange/{quote}", {"side": "send", "amount": "5"}, tab="tabtwo"
        )
        assert second.status_code == 409
        assert "A page (tab tabone) is ordering on this quote" in second.text
        assert "another user's order" in second.text
        assert f"/u/{ONE}/" not in second.text
        own = await browser.get(f"/u/{ONE}/exchange/{quote}")
        assert f"/u/{ONE}/orders/{order}" in own.text
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 1

    surf(scenario)


def test_a_button_pressed_twice_leads_to_the_one_order(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        assert await browser.order(quote, key=KEY) == await browser.order(quote, key=KEY)
        await asyncio.sleep(1)
        assert len(browser.venue.sent) == 1

    surf(scenario)


def test_an_expired_quote_offers_a_fresh_one_for_the_same_amount(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        await asyncio.sleep(301)
        late = await browser.htmx(f"/u/{ONE}/exchange/{quote}", {"side": "send", "amount": "100"})
        assert late.status_code == 410
        assert "expired" in late.text
        fresh = await browser.htmx(f"/u/{ONE}/exchange/{quote}/fresh", {"side": "send", "amount": "100"})
        assert fresh.status_code == 200
        assert "Nothing has been accepted" in fresh.text
        assert 'value="100"' in fresh.text
        assert fresh.headers["X-Address"] != f"/u/{ONE}/exchange/{quote}"
        assert browser.venue.sent == []

    surf(scenario)


def test_a_late_quote_is_never_shown_as_active(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        old = browser.venue.quote(age=timedelta(minutes=6))
        await browser.desk.refresh("quotes")
        past = (await browser.get(f"/u/{ONE}/quotes/past")).text
        assert f'id="quote-{old.id}"' in past
        assert "Expired" in past
        assert "time-left" not in past
        assert f'id="quote-{old.id}"' not in (await browser.get(f"/u/{ONE}/exchange")).text

    surf(scenario)


def test_everyone_sees_only_their_own_orders(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        order = await browser.order(await browser.quote())
        assert order in (await browser.get(f"/u/{ONE}/orders")).text
        assert order not in (await browser.get(f"/u/{TWO}/orders")).text
        assert (await browser.get(f"/u/{TWO}/orders/{order}")).status_code == 404
        assert (await browser.get(f"/u/{TWO}/orders/{order}/receipt")).status_code == 404

    surf(scenario)


def test_a_hostile_name_is_only_ever_text(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        hostile = User(UserId("evil"), '<script>alert("1")</script>\r\ndata: x', "a'b\"<b>@example.com")
        browser.venue.user_list.append(hostile)
        await browser.desk.refresh("users")
        quote = await browser.quote("evil")
        order = await browser.order(quote, "evil")
        paths = ("/", "/switch", "/u/evil/exchange", f"/u/evil/exchange/{quote}", f"/u/evil/orders/{order}")
        for path in paths:
            text = (await browser.get(path)).text
            assert "<script>alert" not in text
            assert "<b>@example" not in text
        async with browser.stream("users", after=f"{browser.app.state.site.boot}.0", wait="0") as stream:
            for message in await stream.all():
                assert "<script>" not in message.data

    surf(scenario)


def test_an_exchange_that_is_down_from_the_start_is_said_and_recovered_from(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        world = World()
        world.venue.down = True
        desk = await world.desk()
        early = Browser(world, desk)
        users = await early.get("/")
        assert users.status_code == 200
        assert "Not read yet" in users.text
        assert "has no users" not in users.text
        assert "The exchange does not answer." in users.text
        for path in (f"/u/{ONE}/exchange", f"/u/{ONE}/orders", f"/u/{ONE}/orders/some"):
            answer = await early.get(path)
            assert answer.status_code == 503
            assert "data-again" in answer.text, "it tries again by itself"
            assert "retry-after" in answer.headers
        world.venue.down = False
        await asyncio.sleep(60)
        assert (await early.get(f"/u/{ONE}/exchange")).status_code == 200
        assert f'id="user-{ONE}"' in (await early.get("/")).text
        await desk.stop()

    surf(scenario)


def test_pages_never_call_an_unread_list_empty(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        browser.venue.down = True
        browser.desk.quotes_age.read_at = None
        browser.desk.users_age.recorded_at = None
        desk = (await browser.get(f"/u/{ONE}/exchange")).text
        assert "No quotes just now" not in desk
        assert "whether User One has orders is not known" in desk
        for address in (f"/u/{ONE}/orders", f"/u/{ONE}/orders?state=open", f"/u/{ONE}/orders?q=1"):
            orders = (await browser.get(address)).text
            assert "Not read yet" in orders
            assert "The exchange does not answer." in orders
            assert "No order" not in orders
        export = await browser.get(f"/u/{ONE}/orders.csv")
        assert export.status_code == 503
        assert "retry-after" in export.headers
        assert "orders not read yet" in (await browser.get("/")).text
        operations = (await browser.get("/operations")).text
        assert "<dt>Quotes in time</dt><dd>not read yet</dd>" in operations
        assert "<dt>Open orders</dt><dd>not read yet</dd>" in operations

    surf(scenario)


def test_an_unknown_order_shows_what_is_certain(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        async def lost(_: object) -> Unknown:
            return Unknown("timeout", "No answer within 10 s.")

        browser.venue.answer = lost
        order = await browser.order(await browser.quote())
        await asyncio.sleep(5)
        text = (await browser.get(f"/u/{ONE}/orders/{order}")).text
        assert "How certain is it?" in text
        assert "0 of 3 reads that count have not shown it" in text
        assert "The exchange did not answer in time" in text
        await asyncio.sleep(600)
        text = (await browser.get(f"/u/{ONE}/orders/{order}")).text
        assert "Not placed" in text
        assert "Proven absent" in text

    surf(scenario)


def test_a_refusal_is_told_in_the_exchanges_words(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        async def refuse(_: object) -> Refused:
            return Refused(422, ("amount is <too> large",), leaves_quote_usable=True, about_amount=True)

        browser.venue.answer = refuse
        quote = await browser.quote()
        order = await browser.order(quote)
        await asyncio.sleep(1)
        text = (await browser.get(f"/u/{ONE}/orders/{order}")).text
        assert "amount is &lt;too&gt; large" in text
        assert "never there" in text
        assert "settled in" not in (await browser.get(f"/u/{ONE}/orders")).text
        assert "Use quote" in (await browser.get(f"/u/{ONE}/exchange")).text

    surf(scenario)


def test_orders_are_filtered_searched_sorted_and_exported(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        small = await browser.order(await browser.quote(), amount="10")
        large = await browser.order(await browser.quote(), amount="900")
        await asyncio.sleep(1)
        browser.venue.settle(browser.quote_of(small))
        await asyncio.sleep(30)

        async def shown(query: str) -> list[str]:
            text = (await browser.get(f"/u/{ONE}/orders?{query}")).text
            return re.findall(r'id="order-(order-\d+)"', text)

        assert await shown("") == [large, small]
        assert await shown("sort=smallest") == [small, large]
        assert await shown("state=completed") == [small]
        assert await shown("q=900") == [large]
        assert await shown(f"q={small}") == [small]
        assert await shown("q=nothing-like-it") == []
        assert await shown("state=nonsense&sort=nonsense") == [large, small]
        export = await browser.get(f"/u/{ONE}/orders.csv?state=completed")
        assert export.headers["content-type"].startswith("text/csv")
        (row,) = csv.DictReader(io.StringIO(export.text))
        assert (row["order_id"], row["state"], row["sent_amount"]) == (small, "completed", "10.00")
        assert (row["received_amount"], row["received_currency"]) == ("544.20", "PHP")

    surf(scenario)


def test_what_a_failed_or_an_open_order_buys_is_never_shown_as_received(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        failed = await browser.order(await browser.quote(), amount="10")
        await browser.order(await browser.quote(), amount="20")
        browser.venue.settle(browser.quote_of(failed), VenueOrderStatus.FAILED)
        await asyncio.sleep(30)
        listed = (await browser.get(f"/u/{ONE}/orders")).text
        one = (await browser.get(f"/u/{ONE}/orders/{failed}")).text
        assert listed.count("not received: ") == one.count("not received: ") == 1
        assert listed.count("expected: ") == 1
        rows = list(csv.DictReader(io.StringIO((await browser.get(f"/u/{ONE}/orders.csv")).text)))
        assert {row["state"] for row in rows} == {"failed", "pending"}
        assert {row["received_amount"] for row in rows} == {""}

    surf(scenario)


def test_a_receipt_is_downloaded_and_verifies(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        order = await browser.order(await browser.quote())
        await asyncio.sleep(1)
        answer = await browser.get(f"/u/{ONE}/orders/{order}/receipt")
        assert answer.headers["content-disposition"].startswith("attachment")
        verified = verify(answer.content)
        assert (verified.order_id, verified.state.value, verified.parts) == (order, "pending", 1)

    surf(scenario)


def test_a_pause_is_shown_with_its_reason_on_every_page_and_stops_orders(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        await browser.post("/operations/pause", {"reason": "The <treasury> is closed"})
        for path in PAGES:
            assert "The &lt;treasury&gt; is closed" in (await browser.get(path)).text
        answer = await browser.htmx(f"/u/{ONE}/exchange/{quote}", {"side": "send", "amount": "1"})
        assert answer.status_code == 503
        assert "paused" in answer.text
        await browser.post("/operations/resume")
        assert "treasury" not in (await browser.get("/")).text

    surf(scenario)


def test_a_pause_without_a_reason_is_refused_in_words(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        answer = await browser.htmx("/operations/pause", {"reason": "  "})
        assert answer.status_code == 400
        assert "Say why" in answer.text

    surf(scenario)


def test_users_are_found_by_any_part_of_name_address_or_id(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        for query in ("two", "TWO@example", TWO, "user two"):
            text = (await browser.get(f"/?q={query}")).text
            assert f'id="user-{TWO}"' in text
            assert f'id="user-{ONE}"' not in text
        assert "Nobody matches" in (await browser.get("/?q=nobody-like-this")).text

    surf(scenario)


def test_ten_thousand_quotes_do_not_lengthen_the_page(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        for _ in range(500):
            browser.venue.quote()
        few = len((await browser.get(f"/u/{ONE}/exchange")).content)
        await browser.desk.refresh("quotes")
        many = await browser.get(f"/u/{ONE}/exchange")
        assert many.text.count('class="row quote') == FIRST_ROWS
        assert len(many.content) < few + FIRST_ROWS * 2_500
        further = await browser.get(f"/u/{ONE}/quotes/live?offset={FIRST_ROWS}")
        assert further.text.count('class="row quote') == MORE_ROWS

    surf(scenario)


def test_an_incident_is_shown_with_what_to_do_and_can_be_resolved(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        order = await browser.order(await browser.quote())
        await asyncio.sleep(1)
        venue_order = browser.venue.order_list[0]
        browser.venue.order_list[0] = replace(venue_order, amount="999")
        await browser.desk.refresh("orders", ONE)
        (incident,) = browser.desk.books.open_incidents()
        text = (await browser.get("/operations")).text
        assert "The amount differs" in text
        assert "What to do:" in text
        assert "1 incident" in (await browser.get("/")).text
        await browser.post(f"/operations/incidents/{incident.id}/resolve", {"note": "A typo at the exchange"})
        assert browser.desk.books.open_incidents() == []
        text = (await browser.get(f"/u/{ONE}/orders/{order}")).text
        assert "A typo at the exchange" in text

    surf(scenario)
