"""Lists in pages: nothing twice, nothing left out, whatever comes in meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallax.web.api import lists, paging, quotes
from parallax.web.api.paging import Cursor, Wanted, page
from tests.api.support import OTHER_USER, USER, World

START = datetime(2026, 1, 1, tzinfo=UTC)


async def pages(world: World, path: str, after: str = "") -> list[dict[str, Any]]:
    """Every row of a list, read page by page."""
    rows: list[dict[str, Any]] = []
    cursor = f"&cursor={after}" if after else ""
    for _ in range(100):
        got = (await world.call("GET", path + cursor)).json
        rows += got["data"]
        if got["meta"]["next"] is None:
            return rows
        cursor = f"&cursor={got['meta']['next']}"
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("limit", [1, 3, 7, 25, 1000])
@pytest.mark.parametrize("depth", [0, 5, 10_000])
async def test_pages_add_up_to_the_list(
    world: World, limit: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever memory ends and the journal begins, and though quotes of one second have one instant."""
    monkeypatch.setattr(quotes, "MEMORY_DEPTH", depth)
    for _ in range(25):
        await world.quote()
    if depth < 10_000:
        monkeypatch.setattr(quotes.Quotes, "_only_in_journal", _one)
    listed = await pages(world, f"/api/quotes?limit={limit}")
    whole = (await world.call("GET", "/api/quotes")).data
    assert listed == whole
    assert len({quote["id"] for quote in listed}) == 25
    assert [quote["id"] for quote in listed] == list(world.exchange.quotes)[::-1]


def _one(_: object) -> int:
    return 1


@dataclass(frozen=True)
class Row:
    created_at: datetime
    id: str


def newest(rows: list[Row]) -> list[Row]:
    """By time, and within an instant by when a row came, as the journal does it."""
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


rows_of = st.lists(st.integers(0, 6), max_size=30)


@given(before=rows_of, meanwhile=st.lists(rows_of, max_size=4), limit=st.integers(1, 5))
def test_rows_that_come_in_between_two_pages_change_nothing_of_the_rest(
    before: list[int], meanwhile: list[list[int]], limit: int
) -> None:
    """Whatever is shown was there; whatever was there from the first page on is shown once, in order."""
    held: list[Row] = []

    def add(seconds: list[int]) -> None:
        for second in seconds:
            held.append(Row(START + timedelta(seconds=second), f"r{len(held):03}"))

    async def fetch(offset: int, count: int) -> Sequence[Row]:
        return newest(held)[offset : offset + count]

    async def read() -> list[Row]:
        shown: list[Row] = []
        arrivals = iter(meanwhile)
        cursor: Cursor | None = None
        while True:
            part = await page(fetch, Wanted(limit, cursor))
            shown += part.rows
            if part.next is None:
                return shown
            cursor = Cursor.read(part.next.text)
            add(next(arrivals, []))

    add(before)
    first = list(held)
    shown = asyncio.run(read())
    assert shown == [row for row in newest(held) if row in shown]
    assert len(set(shown)) == len(shown)
    assert set(first) <= set(shown)


@given(
    before=rows_of,
    meanwhile=st.lists(rows_of, max_size=12),
    limit=st.integers(1, 5),
    most=st.integers(2, 5),
    skipped=st.integers(0, 30),
)
def test_rows_that_come_in_while_a_page_is_read_change_nothing_of_the_rest(
    before: list[int], meanwhile: list[list[int]], limit: int, most: int, skipped: int
) -> None:
    """The journal answers in pieces, and others write in between."""
    held: list[Row] = []
    arrivals = iter(meanwhile)

    def add(seconds: list[int]) -> None:
        for second in seconds:
            held.append(Row(START + timedelta(seconds=second), f"r{len(held):03}"))

    async def fetch(offset: int, count: int) -> Sequence[Row]:
        found = newest(held)[offset : offset + count]
        add(next(arrivals, []))
        return found

    async def read() -> list[Row]:
        shown: list[Row] = []
        cursor: Cursor | None = None
        while True:
            part = await page(fetch, Wanted(limit, cursor), lambda row: row not in left_out)
            shown += part.rows
            if part.next is None:
                return shown
            cursor = Cursor.read(part.next.text)

    add(before)
    first, left_out = list(held), set(held[:skipped])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "MAX_PAGE", most)
        shown = asyncio.run(read())
    assert len(set(shown)) == len(shown)
    assert set(first) - left_out <= set(shown)
    assert shown == [row for row in newest(held) if row in shown]


async def test_quotes_are_filtered_by_what_they_are_now(world: World) -> None:
    for age in (10, 200, 301, 400):
        world.exchange.create_quote(age_seconds=age)
    await world.desk.refresh("quotes")
    used = await world.quote()
    await world.order(used["id"])
    for status, count in (
        ("active", 2),
        ("expired", 2),
        ("executed", 1),
        ("claimed", 0),
        ("active,expired", 4),
    ):
        got = await world.call("GET", f"/api/quotes?status={status}")
        assert len(got.data) == count, status
        assert {quote["status"] for quote in got.data} <= set(status.split(","))


async def test_orders_are_filtered_by_the_word_that_they_show(world: World) -> None:
    placed = [(await world.order(user=user)).data["id"] for user in (USER, USER, OTHER_USER)]
    path = f"/api/users/{USER}/orders"
    assert len((await world.call("GET", f"{path}?status=pending")).data) == 2
    assert (await world.call("GET", f"{path}?status=completed,failed")).data == []
    await world.settled()
    assert len((await world.call("GET", f"{path}?status=completed&status=failed")).data) == 2
    everybody = (await world.call("GET", "/api/orders")).json
    assert [order["id"] for order in everybody["data"]] == placed[::-1]
    assert everybody["meta"]["total"] == 3
    theirs = (await world.call("GET", f"/api/orders?user={OTHER_USER}")).data
    assert [order["user_id"] for order in theirs] == [OTHER_USER]


async def test_orders_that_change_their_state_between_two_pages_hide_no_other(world: World) -> None:
    placed = [(await world.order()).data["id"] for _ in range(6)]
    first = (await world.call("GET", f"/api/users/{USER}/orders?status=pending&limit=2")).json
    await world.settled()
    late = (await world.order()).data["id"]
    path = f"/api/users/{USER}/orders?status=all&limit=2"
    rest = await pages(world, path, first["meta"]["next"])
    shown = [order["id"] for order in (*first["data"], *rest)]
    assert shown == placed[::-1]
    assert late not in shown


async def test_since_is_an_instant_with_or_without_a_zone(world: World) -> None:
    world.exchange.create_quote(age_seconds=100)
    await world.desk.refresh("quotes")
    new = await world.quote()
    for zone in ("", "Z", "%2B00:00", "+00:00", "+0000", ".000+00:00"):
        since = new["created_at"] + zone
        got = await world.call("GET", f"/api/quotes?since={since}")
        assert [quote["id"] for quote in got.data] == [new["id"]]


async def test_a_first_page_is_never_older_than_a_fact_or_an_expiry(world: World) -> None:
    path = "/api/quotes?limit=10"
    assert (await world.call("GET", path)).data == []
    quote = await world.quote()
    assert (await world.call("GET", path)).data == [quote]
    await world.order(quote["id"])
    assert (await world.call("GET", path)).data[0]["status"] == "executed"
    other = await world.quote()
    venue_now = world.desk.venue_now
    world.desk.venue_now = lambda: venue_now() + timedelta(minutes=5)
    shown = {row["id"]: row["status"] for row in (await world.call("GET", path)).data}
    assert shown[other["id"]] == "expired"
    assert (await world.call("GET", f"/api/quotes/{other['id']}")).data["status"] == "expired"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=%D9%A1",
        "limit=" + "9" * 400,
        "cursor=x",
        "cursor=",
        "cursor=1.2.%00",
        "cursor=99999999999999999.0.a",
        "since=yesterday",
        "since=2026-13-01",
        "since=9999-12-31T23:59:59-23:00",
        "status=sold",
        "status=",
        "limit=1&limit=2",
        "since=%FF",
        "x=" + "y" * 5_000,
        "&".join(f"a{n}=1" for n in range(100)),
    ],
)
async def test_absurd_parameters_are_422_and_name_the_field(world: World, query: str) -> None:
    for path in ("/api/quotes", "/api/orders", f"/api/users/{USER}/orders"):
        got = await world.call("GET", f"{path}?{query}")
        assert (got.status, got.json["code"]) == (422, "request_invalid")
        assert got.json["errors"]


async def test_a_long_list_goes_out_in_pieces_and_is_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallax.web.api.wire.MAX_GATHERED", 20_000)
    world.exchange.seed_quotes(3_000, 100)
    await world.desk.refresh("quotes")
    got = await world.call("GET", "/api/quotes")
    assert "content-length" not in got.headers
    assert {quote["id"] for quote in got.data} == set(world.exchange.quotes)
    assert (await world.call("GET", "/api/quotes?limit=1")).json["meta"]["total"] == 3_000


async def test_a_list_longer_than_the_bound_says_where_it_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_WHOLE_LIST", 1_000)
    world.exchange.seed_quotes(1_500, 100)
    await world.desk.refresh("quotes")
    whole = (await world.call("GET", "/api/quotes")).json
    assert len(whole["data"]) == 1_000
    rest = await pages(world, "/api/quotes?limit=1000", whole["meta"]["next"])
    assert {row["id"] for row in (*whole["data"], *rest)} == set(world.exchange.quotes)
