"""The desk as a newcomer and an administrator meet it: first lines, the whole path, refusals, stop and restart."""

from __future__ import annotations

import asyncio
import re
import signal
import time

import httpx2
import pytest

from tests.processes.support import END_SECONDS, KEY, USERS, Desk, Program, Programs, Sandbox, facts, until

QUICK = 3.0  # what a page may take while the exchange hangs: the desk's own patience is 2 s
NOTE = re.compile(r"took \d+\.\d+ seconds")  # what asyncio remarks in its debug mode on a busy machine


async def a_quote(desk: Desk, exchange: Sandbox, user: str = USERS[0]) -> str:
    """Ask for a quote by the form; gives its id."""
    known = {quote["id"] for quote in (await exchange.record())["quotes"]}
    assert (await desk.new_quote(user)).status_code == 303
    [new] = {quote["id"] for quote in (await exchange.record())["quotes"]} - known
    return new


async def first_quote(desk: Desk) -> str:
    """Ask for the first quote of all, and find it on the page that the form leads to."""
    answer = await desk.new_quote()
    assert answer.status_code == 303
    found = re.findall(
        rf"/u/{USERS[0]}/exchange/([0-9a-f-]{{36}})", (await desk.get(answer.headers["location"])).text
    )
    [quote] = set(found)
    return quote


async def placed(desk: Desk, quote: str, amount: str = "10.00", user: str = USERS[0]) -> str:
    """Place an order by the form; gives the address of its page."""
    answer = await desk.order(quote, amount, user)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def shown(desk: Desk, path: str, *words: str, within: float = 15.0) -> str:
    """The page, once it says one of `words`."""

    async def look() -> str:
        answer = await desk.get(path)
        assert answer.status_code == 200
        return answer.text if any(word in answer.text for word in words) else ""

    return await until(look, within)


async def open_stream(desk: Desk) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An event stream of a page, open and past its first message."""
    host, port = desk.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /live?page=users HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"event: ")
    return reader, writer


async def refused(program: Program) -> str:
    """The one line of a program that did not start."""
    assert await program.ended(30) == 2
    assert program.out == []
    [line] = program.err
    return line


async def test_the_first_lines_say_that_it_is_the_sandbox(programs: Programs) -> None:
    desk = await programs.desk(None)
    assert "SANDBOX" in desk.program.out[0]
    assert "No real money moves" in desk.program.out[0]
    assert any(desk.url.replace("127.0.0.1", "localhost") in line for line in desk.program.out)
    page = await shown(desk, "/", "User One")
    assert "andbox" in page
    assert await desk.program.terminate() == 0
    assert desk.program.err == []
    assert sorted(path.name for path in programs.home.iterdir()) == [
        "sandbox.journal",
        "sandbox.journal.exchange",
    ]


async def test_the_first_lines_name_the_real_exchange_and_never_the_key(programs: Programs) -> None:
    exchange = await programs.sandbox()
    desk = await programs.desk(exchange)
    assert exchange.url in desk.program.out[0]
    assert "SANDBOX" not in " ".join(desk.program.out)
    assert await desk.program.terminate() == 0
    assert KEY not in " ".join(desk.program.out + desk.program.err)


async def test_the_whole_path_by_forms(programs: Programs) -> None:
    exchange = await programs.sandbox("--fail-share", "0")
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User Two")
    quote = await a_quote(desk, exchange, USERS[1])
    assert quote in (await desk.get(f"/u/{USERS[1]}/exchange")).text
    assert (await desk.get(f"/u/{USERS[1]}/exchange/{quote}")).status_code == 200
    order = await placed(desk, quote, "1,234.50", USERS[1])
    await shown(desk, order, "Completed")
    assert "Completed" in (await desk.get(f"/u/{USERS[1]}/orders")).text
    assert order.rpartition("/")[2] not in (await desk.get(f"/u/{USERS[0]}/orders")).text
    assert (await desk.get(order.replace(USERS[1], USERS[0]))).status_code == 404
    again = await desk.order(quote, "1,234.50", USERS[1])
    assert again.status_code == 409
    assert "data-taken" in again.text
    [request] = (await exchange.record())["requests"]
    assert (request["quote_id"], request["from_amount"]) == (quote, "1234.50")


async def test_a_thousand_at_once_by_pages_and_api_send_one_request_and_all_hear_the_truth(
    programs: Programs,
) -> None:
    """Issue B's words: 1,000 concurrent executes of one quote, pages and API mixed."""
    exchange = await programs.sandbox("--fail-share", "0")
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User Two")
    quote = await a_quote(desk, exchange, USERS[0])

    async def by_api(user: str) -> httpx2.Response:
        body = {"quote_id": quote, "user_id": user, "from_amount": "10.00"}
        return await desk.http.post(f"{desk.url}/api/orders", json=body)

    async def by_page(user: str) -> httpx2.Response:
        return await desk.order(quote, user=user)

    ways = [(way, user) for way in (by_api, by_page) for user in USERS[:2]]
    answers = await asyncio.gather(*(way(user) for way, user in ways * 250))
    [request] = (await exchange.record())["requests"]
    [order] = (await exchange.record())["orders"]
    [won] = [answer for answer in answers if answer.status_code != 409]
    assert won.status_code in (201, 303)
    place = won.headers["location"].rpartition("/")[2]
    known = (await desk.get(f"/api/orders/{place}")).json()["data"]
    assert (request["quote_id"], order["quote_id"]) == (quote, known["quote_id"]) == (quote, quote)
    assert (order["user_id"], order["from_amount"]) == (known["user_id"], known["from_amount"])
    for answer in answers:
        if answer.status_code == 409:
            assert "data-taken" in answer.text or answer.json()["code"] == "quote_taken"


async def test_a_bad_amount_never_leaves_the_desk(programs: Programs) -> None:
    desk = await programs.desk(None)
    await shown(desk, "/", "User One")
    quote = await first_quote(desk)
    amounts = ("abc", "-5", "12abc", "1e400", "NaN", "0", "1.005", "1" * 16, "")
    answers = await asyncio.gather(*(desk.order(quote, amount) for amount in amounts))
    assert {
        amount: answer.status_code for amount, answer in zip(amounts, answers, strict=True)
    } == dict.fromkeys(amounts, 422)
    assert await desk.program.terminate() == 0
    kinds = {fact["kind"] for fact in await facts(programs, "sandbox.journal")}
    assert "OrderClaimed" not in kinds
    assert "QuoteIssued" in kinds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_stop_ends_open_streams_and_itself(programs: Programs, number: signal.Signals) -> None:
    desk = await programs.desk(None)
    streams = [await open_stream(desk) for _ in range(5)]
    began = time.monotonic()
    desk.program.signal(number)
    for reader, _ in streams:
        async with asyncio.timeout(END_SECONDS):
            await reader.read()  # up to its end
    assert await desk.program.ended() == 0
    assert time.monotonic() - began < END_SECONDS
    for _, writer in streams:
        writer.close()
    assert desk.program.err == []


async def test_a_stop_lets_an_order_have_its_answer(programs: Programs) -> None:
    exchange = await programs.sandbox()
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User One")
    quote = await a_quote(desk, exchange)
    await exchange.control(fault="delay", on="order_create", seconds=1.5, when="after", times=1)
    ordering = asyncio.create_task(desk.order(quote))
    await until(lambda: has_request(exchange, quote))
    assert await desk.program.terminate() == 0
    assert (await ordering).status_code == 303
    assert "OrderAccepted" in {fact["kind"] for fact in await facts(programs)}


async def test_a_stop_tells_whoever_waits_that_the_answer_is_not_known(programs: Programs) -> None:
    """In time and in order, and without a traceback: the order was sent, and there is no answer yet."""
    exchange = await programs.sandbox()
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User One")
    quote = await a_quote(desk, exchange)
    await exchange.control(fault="hang", on="order_create", when="after", seconds=60)
    body = {"quote_id": quote, "user_id": USERS[0], "from_amount": "10.00"}
    ordering = asyncio.create_task(desk.http.post(f"{desk.url}/api/orders", json=body))
    await until(lambda: has_request(exchange, quote))
    assert await desk.program.terminate() == 0
    assert (await ordering).status_code == 202
    assert not [line for line in desk.program.err if "level=info" not in line]
    assert "AnswerLost" in {fact["kind"] for fact in await facts(programs)}


async def has_request(exchange: Sandbox, quote: str) -> bool:
    return any(request["quote_id"] == quote for request in (await exchange.record())["requests"])


async def test_a_stop_does_not_wait_for_ever_and_a_second_signal_hastens_it(programs: Programs) -> None:
    exchange = await programs.sandbox()
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User One")
    first, second = await a_quote(desk, exchange), await a_quote(desk, exchange)
    await exchange.control(fault="hang", on="order_create", seconds=60)
    hung = asyncio.create_task(desk.order(first))
    await until(lambda: has_request(exchange, first))
    began = time.monotonic()
    assert await desk.program.terminate() == 0
    assert 5 < time.monotonic() - began < END_SECONDS
    await asyncio.gather(hung, return_exceptions=True)

    desk = await programs.desk(exchange)
    hung = asyncio.create_task(desk.order(second))
    await until(lambda: has_request(exchange, second))
    began = time.monotonic()
    desk.program.signal(signal.SIGINT)
    await desk.program.said("Stopping: ")
    desk.program.signal(signal.SIGINT)
    assert await desk.program.ended() == 0
    assert time.monotonic() - began < 3
    await asyncio.gather(hung, return_exceptions=True)

    await exchange.calm()
    lost = [fact for fact in await facts(programs) if fact["kind"] == "AnswerLost"]
    assert [fact["fields"]["quote_id"] for fact in lost] == [first, second]
    requests = (await exchange.record())["requests"]
    assert sorted(request["quote_id"] for request in requests) == sorted([first, second])


async def test_a_stop_needs_nobody_to_listen(programs: Programs) -> None:
    """Whatever showed the desk's words may be gone: a closed terminal, a pipe that was read to its end."""
    desk = await programs.desk(None)
    pipe = desk.program.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
    pipe.close()
    assert await desk.program.terminate() == 0
    assert desk.program.err == []


async def test_a_second_process_on_one_journal_is_refused_in_one_line(programs: Programs) -> None:
    desk = await programs.desk(None)
    pid = desk.program.process.pid
    second = await programs.start("serve", settings={"PORT": programs.free_port()})
    line = await refused(second)
    assert f"pid {pid}" in line
    assert "sandbox.journal in use" in line
    for command in ("verify", "export", "stats"):
        assert "in use" in await refused(await programs.start("journal", command))
    assert (await desk.get("/")).status_code == 200


async def test_a_taken_port_is_refused_in_one_line(programs: Programs) -> None:
    desk = await programs.desk(None)
    port = desk.url.rpartition(":")[2]
    other = await programs.start("serve", "--journal", "other.journal", "--port", port)
    assert f"Port {port} " in await refused(other)


async def test_a_damaged_journal_is_refused_in_one_line(programs: Programs) -> None:
    desk = await programs.desk(None)
    await shown(desk, "/", "User One")
    await desk.program.terminate()
    journal = programs.home / "sandbox.journal"
    written = journal.read_bytes()
    journal.write_bytes(written.replace(b"user1@example.com", b"user9@example.com"))
    line = await refused(await programs.start("serve", settings={"PORT": programs.free_port()}))
    assert "is damaged" in line
    assert "parallax journal verify" in line


async def test_after_kill_9_everything_is_there_at_once(programs: Programs) -> None:
    """Deep links failed after a restart of the original, and a used quote became active again."""
    desk = await programs.desk(None)
    await shown(desk, "/", "User One")
    quote = await first_quote(desk)
    order = await placed(desk, quote)
    await shown(desk, order, "Pending")
    await desk.program.kill()

    desk = await programs.desk(None)
    pages = [
        "/",
        f"/u/{USERS[0]}/exchange",
        f"/u/{USERS[0]}/exchange/{quote}",
        f"/u/{USERS[0]}/orders",
        order,
    ]
    answers = await asyncio.gather(*map(desk.get, pages))
    assert [answer.status_code for answer in answers] == [200] * len(pages)
    assert (await desk.order(quote)).status_code == 409
    # The sandbox beside it has remembered too, and carries the order out.
    await shown(desk, order, "Completed", "Failed")
    assert await desk.program.terminate() == 0
    states = {fact["kind"] for fact in await facts(programs, "sandbox.journal")}
    assert "IncidentRaised" not in states


@pytest.mark.parametrize("trouble", ["hang", "down"])
async def test_pages_answer_quickly_while_the_exchange_does_not(programs: Programs, trouble: str) -> None:
    exchange = await programs.sandbox()
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User One")
    order = await placed(desk, await a_quote(desk, exchange))
    if trouble == "hang":
        await exchange.control(fault="hang", seconds=600)
    else:
        await exchange.program.kill()
    pages = [
        "/",
        f"/u/{USERS[0]}/exchange",
        f"/u/{USERS[1]}/orders",
        f"/u/{USERS[0]}/orders",
        order,
        "/operations",
    ]

    async def timed(path: str) -> float:
        began = time.monotonic()
        assert (await desk.get(path)).status_code == 200
        return time.monotonic() - began

    took = await asyncio.gather(*map(timed, pages))
    assert max(took) < QUICK
    assert await desk.program.terminate() == 0


async def test_an_exchange_that_nobody_reaches_costs_no_quote(programs: Programs) -> None:
    """Nothing was sent, and that is known: the order is withdrawn at once, and the same quote is good again."""
    port = programs.free_port()
    exchange = await programs.sandbox("--state", "exchange.state", port=port)
    desk = await programs.desk(exchange)
    await shown(desk, "/", "User One")
    quote = await a_quote(desk, exchange)
    await exchange.program.kill()
    body = {"quote_id": quote, "user_id": USERS[0], "from_amount": "10.00"}
    began = time.monotonic()
    answer = await desk.http.post(f"{desk.url}/api/orders", json=body)
    assert time.monotonic() - began < QUICK
    assert (answer.status_code, answer.json()["code"]) == (503, "order_withdrawn")
    assert "cannot be reached" in answer.json()["detail"]
    assert (await desk.get(f"/api/quotes/{quote}")).json()["data"]["status"] == "active"

    await programs.sandbox("--state", "exchange.state", port=port)
    await until(lambda: is_placed(desk, body))
    assert await desk.program.terminate() == 0
    orders = [fact["kind"] for fact in await facts(programs) if fact["kind"].startswith("Order")]
    assert orders[:2] == ["OrderClaimed", "OrderWithdrawn"]
    assert orders.count("OrderSent") == orders.count("OrderAccepted") == 1


async def is_placed(desk: Desk, body: dict[str, str]) -> bool:
    return (await desk.http.post(f"{desk.url}/api/orders", json=body)).status_code == 201


async def test_a_desk_starts_without_its_exchange_and_finds_it_later(programs: Programs) -> None:
    port = programs.free_port()
    desk = await programs.desk(f"http://127.0.0.1:{port}/api")
    assert (await desk.get("/")).status_code == 200
    late = await programs.start("sandbox", "--port", port, "--api-key", KEY)
    await late.said("Sandbox exchange at ")
    assert await shown(desk, "/", "User One", within=30)


@pytest.mark.parametrize("command", ["desk", "sandbox"])
async def test_python_in_development_mode_has_nothing_to_say(programs: Programs, command: str) -> None:
    python = ("-X", "dev")
    if command == "sandbox":
        program = await programs.start("sandbox", "--port", programs.free_port(), python=python)
        await program.said("Sandbox exchange at ")
    else:
        desk = await programs.desk(None, python=python)
        await shown(desk, "/", "User One")
        await placed(desk, await first_quote(desk))
        program = desk.program
    assert await program.terminate() == 0
    assert [line for line in program.err if not NOTE.search(line)] == []


async def test_the_sandbox_program_remembers_over_kill_9(programs: Programs) -> None:
    exchange = await programs.sandbox("--state", "exchange.state", settle=(60, 60))
    await exchange.control(action="place_order", user_id=USERS[0], from_amount="10.00")
    before = await exchange.record()
    await exchange.program.kill()
    again = await programs.sandbox("--state", "exchange.state", settle=(60, 60))
    assert await again.record() == before
    second = await programs.start("sandbox", "--state", "exchange.state", "--port", programs.free_port())
    assert "Another process" in await refused(second)
    assert await again.program.terminate() == 0
