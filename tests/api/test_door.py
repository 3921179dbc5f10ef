"""Who may call, and what bytes may come: anything bad is a 4xx problem, and nothing is done."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from parallax.web.security import MAX_BODY
from tests.api.support import HOST, USER, Got, World

SITE = "https://desk.example"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.example", "[", "a@b"]
)
async def test_a_name_that_is_not_ours_is_turned_away(world: World, host: str) -> None:
    got = await world.call("GET", "/api/users", host=host)
    assert (got.status, got.json["code"]) == (421, "host_not_served")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:4000", "[::1]:4000", "LOCALHOST:80"])
async def test_every_name_of_this_machine_is_served(world: World, host: str) -> None:
    assert (await world.call("GET", "/api/users", host=host)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": f"http://{HOST}"},
        {"origin": "https://evil.example", "content_type": "text/plain"},
    ],
)
async def test_another_sites_page_can_change_nothing(world: World, headers: dict[str, str]) -> None:
    quote = await world.quote()
    for got in (
        await world.order(quote["id"], **headers),
        await world.call("POST", "/api/quotes", **headers),
    ):
        assert (got.status, got.json["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in got.headers
    assert (world.requests, len(world.exchange.quotes)) == (0, 1)


async def test_our_own_pages_and_programs_may_call(world: World) -> None:
    for headers in (
        {},
        {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        # A front end's own server that passes /api on, with Host as the browser sent it.
        {"host": "localhost:5173", "origin": "http://localhost:5173", "sec_fetch_site": "same-origin"},
    ):
        assert (await world.call("POST", "/api/quotes", **headers)).status == 201


async def test_sites_that_the_operator_names_may_call_from_a_browser() -> None:
    world = World(options={"origins": [SITE], "hosts": ["desk.internal"]})
    await world.open()
    got = await world.call("POST", "/api/quotes", origin=SITE, host="desk.internal:4000")
    assert got.status == 201
    assert got.headers["access-control-allow-origin"] == SITE
    assert got.headers["vary"] == "Origin"
    asked = await world.call("OPTIONS", "/api/orders", origin=SITE, access_control_request_method="POST")
    assert asked.status == 204
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in asked.headers["access-control-allow-headers"]
    refused = await world.call(
        "OPTIONS", "/api/orders", origin="https://evil.example", access_control_request_method="POST"
    )
    assert (refused.status, "access-control-allow-origin" in refused.headers) == (403, False)
    await world.close()


async def test_a_body_beyond_the_bound_is_413(world: World) -> None:
    for path in ("/api/orders", "/api/quotes"):
        got = await world.call("POST", path, b" " * (MAX_BODY + 1))
        assert (got.status, got.json["code"]) == (413, "body_too_large")
        assert got.headers["connection"] == "close"


async def test_an_endless_body_is_not_read_to_its_end(world: World) -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    await world.api(world.client.scope("POST", "/api/orders"), receive, send)
    assert answer[0]["status"] == 413
    assert read < 10


@pytest.mark.parametrize("length", ["65537", "1000000000000", "9" * 5000])
async def test_a_body_that_is_announced_too_large_is_not_waited_for(world: World, length: str) -> None:
    async def receive() -> Message:
        raise AssertionError("nothing of it is read")

    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    scope = world.client.scope("POST", "/api/orders", {"content-length": length})
    await world.api(scope, receive, send)
    assert answer[0]["status"] == 413


async def test_a_body_that_does_not_arrive_is_not_waited_for_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.api._patience, "seconds", 0.05)
    pieces = [b'{"quote_id":']

    async def receive() -> Message:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    await world.api(world.client.scope("POST", "/api/orders"), receive, send)
    assert answer[0]["status"] == 408
    headers = dict(answer[0]["headers"])
    assert (headers[b"connection"], headers[b"retry-after"]) == (b"close", b"2")
    assert json.loads(answer[1]["body"])["code"] == "body_late"


async def test_a_client_that_leaves_before_its_request_is_complete_gets_nothing_done(world: World) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await world.api(world.client.scope("POST", "/api/quotes"), receive, send)
    assert len(world.exchange.quotes) == 0


NASTY = [
    b"",
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"1e999999",
    b"[" * 60_000,
    b'{"quote_id":' * 5_000,
    b"{}{}",
    b"{'quote_id': 1}",
    b'{"quote_id": NaN, "user_id": 1, "from_amount": Infinity}',
    b'{"quote_id": "\xff", "user_id": "\xc3\x28", "from_amount": "1"}',
    b'{"quote_id": "\\ud800", "user_id": "\\udc00", "from_amount": "1"}',
    b'{"quote_id": "a\\u0000b", "user_id": "../..", "from_amount": "1"}',
    b'{"quote_id": {}, "user_id": [], "from_amount": true}',
    b'{"quote_id": null, "user_id": null, "from_amount": null}',
    b'{"from_amount": ' + b"9" * 60_000 + b"}",
    b"quote_id=1&user_id=2&from_amount=3",
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--",
]


@pytest.mark.parametrize("body", NASTY, ids=lambda body: repr(body[:24]))
@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/plain", "multipart/form-data; boundary=x"]
)
async def test_nasty_bodies_are_4xx_problems(world: World, body: bytes, content_type: str) -> None:
    got = await world.call("POST", "/api/orders", body, content_type=content_type)
    is_problem(got)
    assert world.requests == 0


def is_problem(got: Got) -> None:
    """A 4xx that is an RFC 9457 problem and carries the exchange's `errors`."""
    assert 400 <= got.status < 500, got
    assert got.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = got.json
    assert problem["status"] == got.status
    for member in ("type", "title", "detail", "code"):
        assert isinstance(problem[member], str)
    assert isinstance(problem["retry"], bool)
    for field, messages in problem["errors"].items():
        assert isinstance(field, str)
        assert all(isinstance(message, str) for message in messages)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "quote_id": json_like,
        "user_id": st.just(USER) | json_like,
        "from_amount": json_like,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=300) | fields, min_size=1, max_size=5))
async def test_any_bytes_as_a_body_are_a_4xx_problem(world: World, bodies: list[object]) -> None:
    for body in bodies:
        is_problem(await world.call("POST", "/api/orders", body))
    assert world.requests == 0


paths = st.lists(
    st.sampled_from(["users", "quotes", "orders", "events", "..", "", USER, "%00", "\u2028"])
    | st.text(max_size=8),
    max_size=5,
).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=paths,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "TRACE", "HEAD", "X"]),
    query=st.text(st.characters(max_codepoint=127), max_size=30),
)
async def test_any_path_method_and_query_is_answered_below_500(
    world: World, path: str, method: str, query: str
) -> None:
    if path.startswith("events") or "?" in path:
        path = "nothing"
    got = await world.call(method, f"/api/{path}?{query}")
    # A list that has not been read yet is "not now", and no failure.
    assert got.status < 500 or got.json["code"] == "not_read_yet"
    assert got.body


async def test_a_mistake_of_ours_is_a_problem_too_and_tells_nothing(world: World, caplog: object) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    world.desk.users = broken  # type: ignore[method-assign,assignment]
    got = await world.call("GET", "/api/users")
    assert (got.status, got.json["code"]) == (500, "internal")
    assert "secret" not in got.body.decode()
    await asyncio.sleep(0)
