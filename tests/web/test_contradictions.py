"""An order that the exchange contradicts looks like one, everywhere, until somebody has looked into it."""

from __future__ import annotations

import asyncio
import csv
import io

from parallax.domain.facts import IncidentKind, IncidentRaised
from parallax.domain.identity import IncidentId
from parallax.ports.venue import VenueOrderStatus
from tests.desk.scripted import ONE
from tests.web.conftest import Browser, Play

BADGE = "Completed, contradicted"


def test_a_contradicted_order_is_marked_in_all_lists_until_it_is_resolved(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        order = await browser.order(quote)
        await asyncio.sleep(1)
        browser.venue.settle(quote)
        await asyncio.sleep(60)
        pages = ("/", f"/u/{ONE}/exchange", f"/u/{ONE}/orders", f"/u/{ONE}/orders/{order}")
        for page in pages:
            text = (await browser.get(page)).text
            assert "Completed" in text
            assert BADGE not in text
        browser.venue.settle(quote, VenueOrderStatus.FAILED)
        await browser.desk.refresh("orders", ONE)
        for page in pages:
            text = (await browser.get(page)).text
            assert f'<span class="badge bad"><span class="dot"></span>{BADGE}</span>' in text, page
            assert '<span class="badge good"><span class="dot"></span>Completed' not in text, page
        (row,) = csv.DictReader(io.StringIO((await browser.get(f"/u/{ONE}/orders.csv")).text))
        assert (row["state"], row["contradicted"]) == ("completed", "yes")
        (incident,) = browser.desk.books.open_incidents()
        await browser.desk.resolve_incident(incident.id, "page", "A mistake of theirs.")
        for page in pages:
            assert BADGE not in (await browser.get(page)).text
        story = (await browser.get(f"/u/{ONE}/orders/{order}")).text
        assert "Incident resolved" in story
        assert story.index(">Completed<") < story.index("Incident resolved")
        assert incident.words not in (await browser.get("/operations")).text
        assert "A mistake of theirs." in (await browser.get("/operations?resolved=true")).text

    surf(scenario)


def test_what_agrees_is_said_only_of_what_was_compared(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        none = (await browser.get("/operations")).text
        assert "No orders have been compared with the exchange yet." in none
        assert "agree" not in none
        await browser.desk.know_orders(ONE)
        assert "orders of 1 user of 2." in (await browser.get("/operations")).text
        await browser.order(await browser.quote())
        await asyncio.sleep(1)
        assert "Of 1 open order the outcome is not known yet." in (await browser.get("/operations")).text

    surf(scenario)


def test_twenty_thousand_incidents_are_a_page_of_twenty(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        browser.desk.now()
        raised = [
            IncidentRaised(
                browser.desk.now(),
                IncidentId(f"i{n}"),
                IncidentKind.ORDER_VANISHED,
                f"Number {n}.",
            )
            for n in range(20_000)
        ]
        await browser.desk._ledger.record(*raised)
        first = (await browser.get("/operations")).text
        assert len(first) < 100_000
        assert first.count('class="incident"') == 20
        assert "Number 19999." in first
        assert "1–20 of 20000" in first
        assert "Number 19979." in (await browser.get("/operations?offset=20")).text

    surf(scenario)
