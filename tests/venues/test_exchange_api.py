"""The exchange's calls on real sockets: what leaves, how often, and what comes of each kind of trouble."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parallax.domain.errors import NotFound, VenueBusy, VenueMisbehaved, VenueUnavailable
from parallax.domain.identity import QuoteId, UserId, VenueOrderId
from parallax.ports.venue import Accepted, OrderRequest, Outcome, Refused, Unknown, doubt_of
from parallax.venues import exchange_api
from parallax.venues.api import CallFailed, Reply
from parallax.venues.exchange_api import ExchangeApi, Timeouts
from parallax.venues.http import Answer, Head, Transport
from parallax.venues.transport import ExchangeTransport
from tests.venues.raw import DATE, Connection, Handler, RawServer, always, http, serving

KEY = "s3cret-key-of-ours"
REQUEST = OrderRequest(QuoteId("q-1"), UserId("u-1"), "100.50")
ORDER = {"id": "o-1", "status": "pending", "quote_id": "q-1", "user_id": "u-1", "from_amount": "100.50"}
YES = http(201, json.dumps({"data": ORDER}).encode())
USERS = http(200, b'{"data":[{"id":"u-1","name":"One","email":"one@example.com"}]}')
QUICK = Timeouts(*[0.3] * 7)

House = Callable[..., Any]


@pytest.fixture
def house(free_port: Callable[[], int]) -> House:
    @asynccontextmanager
    async def build(handler: Handler, **kwargs: Any) -> AsyncGenerator[tuple[RawServer, ExchangeApi]]:
        async with serving(handler, free_port()) as server:
            api = ExchangeApi(server.url, KEY, **kwargs)
            try:
                yield server, api
            finally:
                await api.close()

    return build


async def failure_of(call: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call
    return caught.value


async def placed(api: ExchangeApi) -> Reply[Outcome]:
    """An order over a connection that was made ready for it."""
    await api.connect()
    return await api.place_order(REQUEST)


class TestWhatLeaves:
    async def test_an_order_is_its_exact_body_with_the_key_and_nothing_of_the_environment(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        async with house(always(YES)) as (server, api):
            reply = await placed(api)
        assert isinstance(reply.get(), Accepted)
        (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert body == REQUEST.body.encode()
        assert head.startswith(b"POST /api/orders HTTP/1.1\r\n")
        assert f"X-Api-Key: {KEY}".encode() in head
        assert b"Content-Type: application/json" in head
        assert b"Content-Length: %d" % len(body) in head

    async def test_a_quote_is_asked_for_without_a_body(self, house: House) -> None:
        quote = {"id": "q", "created_at": "2026-03-01T12:00:00", "rate": "5", "from_currency": "usd"}
        async with house(
            always(http(200, json.dumps({"data": {**quote, "to_currency": "php"}}).encode()))
        ) as (
            server,
            api,
        ):
            assert (await api.request_quote()).get().id == "q"
        assert b"Content-Length: 0\r\n" in server.requests[0]
        assert b"Content-Type" not in server.requests[0]

    async def test_paths(self, house: House) -> None:
        async with house(always(http(500))) as (server, api):
            for call in (
                api.users(),
                api.quotes(),
                api.orders(UserId("u-1")),
                api.order(VenueOrderId("o-1")),
            ):
                await call
        targets = [request.split(b" ")[1] for request in server.requests]
        assert targets == [b"/api/users", b"/api/quotes", b"/api/users/u-1/orders", b"/api/orders/o-1"]

    async def test_an_id_that_none_can_have_is_not_asked_about(self, house: House) -> None:
        async with house(always(http(500))) as (server, api):
            for call in (api.orders(UserId("../admin")), api.order(VenueOrderId("a b"))):
                with pytest.raises(NotFound):
                    await call
        assert server.requests == []

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_redirects_are_never_followed(self, house: House, status: int) -> None:
        async with house(always(http(status, b"", b"Location: /api/elsewhere"))) as (server, api):
            outcome = (await placed(api)).get()
            assert isinstance(outcome, Unknown)
            assert outcome.cause == f"status_{status}"
            with pytest.raises(VenueMisbehaved):
                (await api.users()).get()
        assert len(server.requests) == 2


class TestAnOrderLeavesAtMostOnce:
    """Rule 2, below the desk: the connection pool never sends it again."""

    async def test_on_a_kept_connection_that_the_server_closes_on_seeing_it(self, house: House) -> None:
        async def handler(connection: Connection) -> None:
            if await connection.request():
                await connection.send(USERS)
                await connection.request()
                connection.reset()

        async with house(handler) as (server, api):
            await api.users()
            failure = await failure_of(placed(api))
        assert failure.cause == "connection_lost"
        assert [request.split(b" ")[0] for request in server.requests] == [b"GET", b"POST"]

    async def test_on_a_kept_connection_that_closes_half_way_through_it(self, house: House) -> None:
        seen: list[bytes] = []

        async def handler(connection: Connection) -> None:
            if await connection.request():
                await connection.send(USERS)
            seen.append(await connection.reader.read(40))
            connection.reset()

        async with house(handler) as (server, api):
            await api.users()
            assert (await failure_of(placed(api))).cause == "connection_lost"
            await server.all_gone.wait()
        assert len(seen) == 1
        assert seen[0].startswith(b"POST")
        assert server.connections == 1

    async def test_on_kept_connections_that_were_closed_while_idle(self, house: House) -> None:
        """Whether the close has been noticed or not: what was not sent may go elsewhere, what was sent may not."""

        async def handler(connection: Connection) -> None:
            if await connection.request():
                await connection.send(USERS)
                if server.connections <= 8:
                    connection.reset()
                    return
                await connection.request()

        async with house(handler) as (server, api):
            await asyncio.gather(*(api.users() for _ in range(8)))
            outcomes = await asyncio.gather(*(placed(api) for _ in range(8)), return_exceptions=True)
        posts = [request for request in server.requests if request.startswith(b"POST")]
        assert len(posts) <= len(outcomes) == 8

    @pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 20", YES[:-20], YES[:40]])
    async def test_when_the_answer_is_missing_or_cut(self, house: House, answered: bytes) -> None:
        async def handler(connection: Connection) -> None:
            await connection.request()
            await connection.send(answered)

        async with house(handler) as (server, api):
            assert (await failure_of(placed(api))).cause == "connection_lost"
        assert len(server.requests) == 1

    @pytest.mark.parametrize("body", [b"", b"not json", b"{}", b"\xff\x00", b"[" * 5_000])
    async def test_when_the_yes_cannot_be_read(self, house: House, body: bytes) -> None:
        async with house(always(http(201, body))) as (server, api):
            outcome = (await placed(api)).get()
        assert isinstance(outcome, Unknown)
        assert outcome.cause == "unreadable_answer"
        assert len(server.requests) == 1

    async def test_when_it_is_not_answered_in_time(self, house: House) -> None:
        async def handler(connection: Connection) -> None:
            await connection.request()
            await connection.reader.read()

        async with house(handler, timeouts=QUICK) as (server, api):
            assert (await failure_of(placed(api))).cause == "timeout"
            await server.all_gone.wait()  # the connection is not kept for others
        assert len(server.requests) == 1

    async def test_when_there_is_nobody_to_connect_to(self, free_port: Callable[[], int]) -> None:
        api = ExchangeApi(f"http://127.0.0.1:{free_port()}/api", KEY)
        assert (await failure_of(placed(api))).cause == "not_connected"
        await api.close()

    async def test_an_order_never_waits_for_a_connection(self, house: House) -> None:
        async with house(always(YES)) as (server, api):
            failure = await failure_of(api.place_order(REQUEST))
            assert failure.cause == "not_connected"
            await api.connect()
            await api.connect()  # there is one
            assert isinstance((await api.place_order(REQUEST)).get(), Accepted)
            await placed(api)
        assert (len(server.requests), server.connections) == (2, 1)

    async def test_a_connection_that_is_not_made_in_time(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with house(always(YES), timeouts=QUICK) as (server, api):
            monkeypatch.setattr(ExchangeTransport, "_connect", lambda _: asyncio.sleep(60))
            failure = await failure_of(api.connect())
            assert failure.cause == "not_connected"
            assert "no connection within 0.3 s" in failure.detail
        assert not server.requests

    async def test_bytes_that_are_no_http_are_no_answer(self, house: House) -> None:
        async with house(always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as (server, api):
            assert (await failure_of(placed(api))).cause == "connection_lost"
        assert len(server.requests) == 1


class TestBounds:
    async def test_a_trickle_is_bounded_in_all(self, house: House) -> None:
        async def handler(connection: Connection) -> None:
            await connection.request()
            await connection.send(http(200, length=100_000))
            while not connection.reader.at_eof():
                await connection.send(b" ")
                await asyncio.sleep(0.02)

        async with house(handler, timeouts=QUICK) as (server, api):
            failure = await failure_of(api.users())
            assert failure.cause == "timeout"
            assert failure.seconds == pytest.approx(0.3, abs=0.25)
            await server.all_gone.wait()

    async def test_an_endless_success_is_given_up(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange_api, "MAX_ANSWER", 2**20)

        async def handler(connection: Connection) -> None:
            await connection.request()
            await connection.send(http(200, length=2**40))
            while not connection.reader.at_eof():
                await connection.send(b"x" * 65_536)

        async with house(handler) as (server, api):
            assert (await failure_of(api.quotes())).cause == "answer_too_large"
            await server.all_gone.wait()

    async def test_an_endless_refusal_is_read_as_far_as_it_helps(self, house: House) -> None:
        async def handler(connection: Connection) -> None:
            await connection.request()
            await connection.send(http(403, b"go away " * 100, length=2**40))
            while not connection.reader.at_eof():
                await connection.send(b"x" * 65_536)

        async with house(handler) as (server, api):
            outcome = (await placed(api)).get()
            assert isinstance(outcome, Refused)
            assert outcome.status == 403
            await server.all_gone.wait()

    async def test_a_hundred_cancelled_calls_leave_nothing_behind(self, house: House) -> None:
        async def handler(connection: Connection) -> None:
            while await connection.request():
                if len(server.requests) > 100:
                    await connection.send(USERS)

        async with house(handler) as (server, api):
            calls = [asyncio.ensure_future(api.users()) for _ in range(100)]
            async with asyncio.timeout(10):
                while len(server.requests) < 100:
                    server.arrived.clear()
                    await server.arrived.wait()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert all(call.cancelled() for call in calls)
            async with asyncio.timeout(10):
                await server.all_gone.wait()
            assert api._transport._pool.connections == []
            assert len((await api.users()).get()) == 1

    async def test_calls_cancelled_at_every_step_leave_nothing_behind(self, house: House) -> None:
        async with house(always(USERS)) as (_, api):
            for steps in range(40):
                call = asyncio.ensure_future(api.users())
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            assert len((await api.users()).get()) == 1
            pool = api._transport._pool
            assert len(pool.connections) <= 2
            assert "0 active, 0 queued" in repr(pool)


class TestAnswers:
    async def test_timing_and_headers_come_along(self, house: House) -> None:
        async with house(always(http(429, b"", b"Retry-After: 7"))) as (_, api):
            reply = await api.users()
        assert reply.heard.status == 429
        assert reply.heard.retry_after == "7"
        assert reply.heard.date == DATE.decode()
        assert reply.heard.sent <= reply.heard.answered <= reply.heard.done
        with pytest.raises(VenueBusy):
            reply.get()

    async def test_the_date_of_a_cached_answer_is_none(self, house: House) -> None:
        async with house(always(http(200, b'{"data":[]}', b"Age: 3"))) as (_, api):
            assert (await api.users()).heard.date is None

    async def test_a_compressed_answer_is_read(self, house: House) -> None:
        body = gzip.compress(b'{"data":[]}')
        async with house(always(http(200, body, b"Content-Encoding: gzip"))) as (_, api):
            assert list((await api.quotes()).get()) == []

    @pytest.mark.parametrize("mark", [b'Link: </orders?page=2>; rel="next"', b"X-Total-Count: 4"])
    async def test_a_page_announced_by_a_header_is_doubted(self, house: House, mark: bytes) -> None:
        async with house(always(http(200, b'{"data":[]}', mark))) as (_, api):
            assert "says that it goes on" in doubt_of((await api.orders(UserId("u-1"))).get())

    async def test_an_order_that_cannot_be_read_hides_no_other(self, house: House) -> None:
        row = b'{"id":"%s","status":"%s","quote_id":"q","user_id":"u-1","from_amount":"5"}'
        rows = b",".join((row % (b"o-1", b"cancelled"), row % (b"o-2", b"pending")))
        async with house(always(http(200, b'{"data":[' + rows + b"]}"))) as (_, api):
            orders = (await api.orders(UserId("u-1"))).get()
            assert [order.id for order in orders] == ["o-2"]
            assert "status" in doubt_of(orders)

    async def test_an_unknown_order_is_not_found_and_another_one_is_a_mistake(self, house: House) -> None:
        async with house(always(http(404))) as (_, api):
            with pytest.raises(NotFound):
                (await api.order(VenueOrderId("o-9"))).get()
        async with house(always(YES)) as (_, api):
            assert (await api.order(VenueOrderId("o-1"))).get().id == "o-1"
            with pytest.raises(VenueMisbehaved, match="another order"):
                (await api.order(VenueOrderId("o-2"))).get()

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, VenueUnavailable), (403, VenueUnavailable), (404, VenueMisbehaved), (503, VenueUnavailable)],
    )
    async def test_reads_that_are_refused_say_so(
        self, house: House, status: int, error: type[Exception]
    ) -> None:
        async with house(always(http(status, b'{"error": "because"}'))) as (_, api):
            with pytest.raises(error, match=f"{status}"):
                (await api.users()).get()

    async def test_a_long_list_does_not_hold_up_the_loop(self) -> None:
        quote = {
            "created_at": "2026-03-01T12:00:00",
            "rate": "5",
            "from_currency": "usd",
            "to_currency": "php",
        }
        listed = json.dumps({"data": [{"id": f"q-{n}", **quote} for n in range(20_000)]}).encode()

        class Long(Transport):
            async def send(self, head: Head, body: bytes = b"") -> Answer:
                return Answer(200, (), listed)

        api = ExchangeApi("http://exchange/api", KEY, transport=Long())
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(other())
        assert len((await api.quotes()).get()) == 20_000
        beside.cancel()
        assert turns >= 15

    async def test_any_transport_will_do_and_whatever_it_raises_is_no_answer(self) -> None:
        class Broken(Transport):
            async def send(self, head: Head, body: bytes = b"") -> Answer:
                raise ValueError(f"a bug that names {KEY}")

        api = ExchangeApi("http://exchange/api", KEY, transport=Broken())
        failure = await failure_of(placed(api))
        assert failure.cause == "connection_lost"
        assert KEY not in failure.detail


class TestTheKey:
    async def test_it_shows_nowhere(self, house: House, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        body = json.dumps({"errors": {"api_key": [f"{KEY} is not known"]}}).encode()
        async with house(always(http(401, body))) as (_, api):
            assert KEY not in repr(api)
            outcome = (await placed(api)).get()
            assert isinstance(outcome, Refused)
            assert outcome.reasons == ("api_key: [key] is not known",)
            with pytest.raises(VenueUnavailable) as caught:
                (await api.users()).get()
            assert KEY not in str(caught.value)
        failure = await failure_of(api.users())
        seen: BaseException | None = failure
        while seen is not None:
            assert KEY not in str(seen)
            assert not hasattr(seen, "request")
            seen = seen.__cause__ or seen.__context__
        assert KEY not in caplog.text

    @pytest.mark.parametrize("key", ["", "with blank", "line\nbreak", "ünicode", "tab\t"])
    def test_one_that_cannot_work_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(ValueError, match="API key") as caught:
            ExchangeApi("http://exchange/api", key)
        assert not key or key not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "exchange/api",
            "ftp://exchange/api",
            "http://",
            "http://me:pw@exchange/api",
            "http://x/api?a=1",
            "http://x:port/api",
        ],
    )
    def test_an_address_that_cannot_work_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="address"):
            ExchangeApi(url, KEY)
