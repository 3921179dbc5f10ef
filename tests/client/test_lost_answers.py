"""A desk behind a proxy that loses the answers to orders: its owner gets that order, and never a second one."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from parallax import AsyncClient, Client
from parallax.client import calls
from parallax.domain.transitions import OrderState
from tests.cli.support import run_program
from tests.client.running import Running

USER = "user1@example.com"


@contextmanager
def lossy_proxy(desk: str, says: int) -> Generator[str]:
    """The address of a proxy that hands every request on, and loses the desk's answer to orders: it `says` so with a
    status, or closes the connection (0)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._hand_on()

        def do_POST(self) -> None:
            self._hand_on()

        def _hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx2.request(
                self.command, desk + self.path, content=body, headers=headers, trust_env=False
            )
            if self.command == "POST" and self.path == "/api/orders":
                if says:
                    self._answer(says, b"<html>the upstream went away</html>", "text/html")
                self.close_connection = True
            else:
                self._answer(answer.status_code, answer.content, answer.headers["content-type"])

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is lost, however long the client goes on."""
    monkeypatch.setattr(calls, "PAUSES", (0.05, 0.05))


def placed(served: Running, amount: str) -> list[str]:
    """The orders for an amount, by the desk itself."""
    with Client(served.url) as desk:
        return [order.id for order in desk.orders(status="all") if order.amount.wire == amount]


@pytest.mark.parametrize("says", [0, 502, 503, 504])
def test_whoever_loses_every_answer_gets_their_own_order(served: Running, says: int) -> None:
    amount = f"{says}.50"
    with lossy_proxy(served.url, says) as url, Client(url) as desk:
        order = desk.execute(desk.request_quote(), desk.users()[0], amount)
        assert order.state in (OrderState.PENDING, OrderState.COMPLETED)
    assert placed(served, amount) == [order.id]


async def test_the_async_client_does_the_same(served: Running) -> None:
    with lossy_proxy(served.url, 0) as url:
        async with AsyncClient(url) as desk:
            user = (await desk.users())[0]
            order = await desk.execute(await desk.request_quote(), user, "13.50")
    assert placed(served, "13.50") == [order.id]


def test_a_command_shows_the_order_whose_answer_was_lost(served: Running, tmp_path: Path) -> None:
    with lossy_proxy(served.url, 0) as url:
        quote = json.loads(run_program("quote", "--json", "--url", url, cwd=tmp_path).out)["id"]
        ran = run_program("order", quote, USER, "14.50", "--json", "--url", url, cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert placed(served, "14.50") == [json.loads(ran.out)["id"]]
