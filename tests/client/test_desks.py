"""The verbs against a running desk: remote (async and blocking) and embedded, with the same answers and errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import pytest

import parallax
from parallax import AsyncClient, AsyncDesk, Client, Event, Order, facts
from parallax.client.calls import NEVER_PLACED
from parallax.domain.identity import UserId
from parallax.settings import Settings
from tests.client.running import KEY, Running

PATIENCE = 20.0


@pytest.fixture(params=["remote", "embedded"])
async def desk(request: pytest.FixtureRequest, served: Running, tmp_path: Path) -> AsyncIterator[AsyncDesk]:
    """Both kinds of desk for async programs, on the same exchange."""
    if request.param == "remote":
        async with AsyncClient(served.url) as remote:
            yield remote
        return
    settings = Settings.model_construct(
        api_url=served.exchange,
        api_key=Settings(api_url=served.exchange, api_key=KEY).api_key,  # type: ignore[arg-type]
        parallax_journal=tmp_path / "embedded.journal",
        parallax_grace_seconds=5.0,
    )
    async with parallax.open_desk(settings) as embedded:
        yield embedded


async def test_a_quote_becomes_an_order(desk: AsyncDesk) -> None:
    user = (await desk.users())[0]
    quote = await desk.request_quote()
    assert quote.status == "active"
    assert quote.expires_at > quote.created_at
    order = await desk.execute(quote, user, Decimal("100.50"))
    assert order.amount.amount == Decimal("100.50")
    assert order.result == quote.rate.convert(order.amount)
    assert order.created_at.tzinfo is not None
    assert order.id in {each.id for each in await desk.orders(user)}
    assert order.id in {each.id for each in await desk.orders(status=["pending", "completed"], limit=1000)}
    held = await desk.quote(quote)
    assert (held.status, held.order_id) == ("executed", order.id)
    assert held in await desk.quotes(status=["executed", "claimed"])


async def test_an_order_is_waited_for_until_it_settles(served: Running) -> None:
    async with AsyncClient(served.url) as desk:
        user = (await desk.users())[1]
        order = await desk.execute(await desk.request_quote(), user, "2.00")
        with pytest.raises(TimeoutError, match="pending"):
            await desk.settled(order, 0.0)
        waiting = asyncio.create_task(desk.settled(order, PATIENCE))
        await asyncio.to_thread(served.settle, user.id)
        settled = await waiting
    assert settled.state is parallax.OrderState.COMPLETED
    assert settled.settled_at is not None


async def test_every_refusal_has_its_name(desk: AsyncDesk) -> None:
    user = (await desk.users())[0]
    quote = await desk.request_quote()
    for amount in ("0", "1.234", "-1", "1e3", "ten", "", "9" * 16, 1.5):
        with pytest.raises(parallax.AmountInvalid):
            await desk.execute(quote, user, amount)  # type: ignore[arg-type]
    with pytest.raises(parallax.NotFound, match="user"):
        await desk.execute(quote, "nobody", "1.00")
    with pytest.raises(parallax.NotFound, match="order"):
        await desk.order("nothing")
    with pytest.raises(parallax.RequestInvalid):
        await desk.quotes(status="shiny")
    with pytest.raises(ValueError, match="limit"):
        await desk.quotes(limit=0)
    order = await desk.execute(quote, user, 1)
    with pytest.raises(parallax.QuoteTaken) as taken:
        await desk.execute(quote, user, "1.00")
    assert taken.value.order_id == order.id


async def test_many_at_once_get_one_order(desk: AsyncDesk) -> None:
    user = (await desk.users())[0]
    quote = await desk.request_quote()
    came = await asyncio.gather(
        *(desk.execute(quote, user, "5.00") for _ in range(8)), return_exceptions=True
    )
    [order] = [each for each in came if isinstance(each, Order)]
    others = [each for each in came if isinstance(each, parallax.QuoteTaken)]
    assert len(others) == 7
    assert {each.order_id for each in others} == {order.id}


async def test_facts_are_watched_from_a_position_on(desk: AsyncDesk) -> None:
    user = (await desk.users())[0]
    after = (await desk.status()).position
    order = await desk.execute(await desk.request_quote(), user, "7.00")
    seen: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        async for event in desk.watch(after=after):
            seen.append(event)
            if isinstance(event.fact, facts.OrderAccepted) and event.fact.order_id == order.id:
                break
    assert [event.position for event in seen] == list(range(after + 1, after + 1 + len(seen)))
    mine = [event.kind for event in seen if event.data.get("order_id") == order.id]
    assert mine == ["OrderClaimed", "OrderSent", "OrderAccepted"]
    async with asyncio.timeout(PATIENCE):
        async for event in desk.watch(after=after, user=user, kinds=["OrderAccepted"]):
            assert event.kind == "OrderAccepted"
            break
    with pytest.raises(parallax.RequestInvalid):
        async for _ in desk.watch(after=10**9):
            pass


async def test_an_order_without_an_answer_says_how_to_find_out(desk: AsyncDesk, served: Running) -> None:
    user = (await desk.users())[0]
    quote = await desk.request_quote()
    served.control(fault="close", on="order_create", when="after", times=1)
    with pytest.raises(parallax.OrderUnknown) as unknown:
        await desk.execute(quote, user, "3.00")
    assert unknown.value.order_id is not None
    assert "error.resolve()" in str(unknown.value)
    found = await unknown.value.resolve(PATIENCE)
    assert found.id == unknown.value.order_id
    assert not found.fate_open
    assert found.state not in NEVER_PLACED


async def test_a_refusal_by_the_exchange_says_that_nothing_was_exchanged(
    desk: AsyncDesk, served: Running
) -> None:
    user = (await desk.users())[0]
    quote = await desk.request_quote()
    served.control(fault="rate_limited", on="order_create", times=1)
    with pytest.raises(parallax.OrderNotPlaced) as refused:
        await desk.execute(quote, user, "3.00")
    assert refused.value.state is parallax.OrderState.REFUSED
    assert refused.value.reasons
    assert refused.value.order_id is not None
    assert (await desk.order(refused.value.order_id)).state is parallax.OrderState.REFUSED


async def test_incidents_are_listed_and_resolved(served: Running) -> None:
    async with AsyncClient(served.url) as desk:
        user = (await desk.users())[2]
        quote = await desk.request_quote()
        after = (await desk.status()).position
        await desk.execute(quote, user, "2.00")
        second = {"user_id": user.id, "quote_id": quote.id, "from_amount": "2.00", "force": True}
        await asyncio.to_thread(served.control, action="place_order", **second)
        await asyncio.to_thread(served.settle, user.id)
        async with asyncio.timeout(PATIENCE):
            async for event in desk.watch(after=after, kinds=["IncidentRaised"]):
                assert event.data["quote_id"] == quote.id
                break
        [incident] = await desk.incidents()
        resolved = await desk.resolve_incident(incident, "seen  on the\nstatement")
        assert resolved.note == "seen on the statement"
        assert resolved.resolved_by == "api"
        assert await desk.incidents() == []
        assert await desk.incidents(resolved=True) == [resolved]
        with pytest.raises(parallax.NotFound, match="incident"):
            await desk.resolve_incident("nothing", "")
        with pytest.raises(parallax.RequestInvalid):
            await desk.resolve_incident(incident, "x" * 1000)


async def test_status_says_how_things_are(desk: AsyncDesk) -> None:
    await desk.request_quote()  # until the exchange has answered once, nothing is known of how it does
    status = await desk.status()
    assert status.health == "well"
    assert status.paused is None
    assert {duty.name for duty in status.duties} >= {"tracker", "reconciliation"}


def test_the_blocking_client_does_the_same(served: Running) -> None:
    with Client(served.url) as desk:
        user = desk.users()[0]
        status = desk.status()
        assert any(calls.purpose == "New quote" for calls in status.calls)
        quote = desk.request_quote()
        order = desk.execute(quote, user, "4.00")
        assert desk.quote(quote).order_id == order.id
        assert order.id in {each.id for each in desk.orders(user)}
        kinds: list[str] = []
        for event in desk.watch(after=status.position):
            kinds += [event.kind] if event.data.get("order_id") == order.id else []
            if kinds and kinds[-1] == "OrderAccepted":
                break
        assert kinds == ["OrderClaimed", "OrderSent", "OrderAccepted"]
        with pytest.raises(parallax.QuoteTaken):
            desk.execute(quote, user, "4.00")
        served.control(fault="close", on="order_create", when="after", times=1)
        with pytest.raises(parallax.OrderUnknown) as unknown:
            desk.execute(desk.request_quote(), user, "4.00")
        assert "error.wait()" in str(unknown.value), "the word for this client"
        assert not unknown.value.wait(PATIENCE).fate_open


def test_all_desks_have_the_same_verbs() -> None:
    def verbs(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") and name != "close"
        }

    assert verbs(Client) == verbs(AsyncDesk)
    assert verbs(AsyncClient) == verbs(AsyncDesk)
    for name in verbs(Client):
        assert getattr(Client, name).__doc__ == getattr(AsyncDesk, name).__doc__


def test_a_desk_that_is_not_there_is_said_so(free_port: Callable[[], int]) -> None:
    with Client(f"http://127.0.0.1:{free_port()}", insist=False) as desk:
        with pytest.raises(parallax.DeskUnavailable, match="is it running"):
            desk.users()
        with pytest.raises(parallax.DeskUnavailable):
            next(desk.watch(give_up_after=0.0))


@pytest.mark.parametrize(
    "url", ["", "localhost:4000", "ftp://x", "http://", "http://a b", "http://x?y=1", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a desk"):
        Client(url)


async def test_an_embedded_desk_remembers_in_its_journal(tmp_path: Path) -> None:
    journal = tmp_path / "mine.journal"
    async with parallax.open_desk(journal=journal) as desk:
        quote = await desk.request_quote()
        with pytest.raises(parallax.JournalFailed):
            async with parallax.open_desk(journal=journal):
                pass
    async with parallax.open_desk(journal=journal) as desk:
        assert (await desk.quote(quote)).rate == quote.rate


async def test_an_embedded_desk_carries_an_order_out_whoever_goes_away() -> None:
    async with parallax.open_desk() as desk:
        user = UserId((await desk.users())[0].id)
        quote = await desk.request_quote()
        after = (await desk.status()).position
        placing = asyncio.create_task(desk.execute(quote, user, "6.00"))
        async with asyncio.timeout(PATIENCE):
            async for _ in desk.watch(after=after, kinds=["OrderClaimed"]):
                break
        placing.cancel()
        async with asyncio.timeout(PATIENCE):
            async for event in desk.watch(after=after, kinds=["OrderAccepted"]):
                assert event.data["quote_id"] == quote.id
                break


async def test_a_closed_desk_says_so_to_whoever_still_has_it() -> None:
    async with parallax.open_desk() as desk:
        watching = asyncio.create_task(anext(desk.watch(kinds=["OrderFailed"])))
        await desk.request_quote()
    with pytest.raises(parallax.DeskUnavailable, match="closed"):
        await asyncio.wait_for(watching, PATIENCE)
    with pytest.raises(parallax.DeskUnavailable, match="closed"):
        await desk.users()
