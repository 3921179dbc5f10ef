"""The commands for a running desk: what they print, for people and for scripts, and how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from parallax import Client
from parallax.cli import COMMANDS
from parallax.web.api import models
from tests.cli.support import PROGRAM, Shell
from tests.client.running import Running, environment, running

DOCS = Path(__file__).parent.parent.parent / "docs" / "commands.md"
USER = "user1@example.com"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("desk"), free_port) as started:
        yield started


@pytest.fixture(autouse=True)
def found(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_URL", served.url)


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def new_quote(shell: Shell) -> str:
    [quote] = rows(shell("quote", "--json").out)
    return quote["id"]


def test_users_are_listed_for_people_and_for_scripts(shell: Shell) -> None:
    assert {row["email"] for row in rows(shell("users", "--json").out)} >= {USER}
    assert any(line.split("\t")[1:] == ["User One", USER] for line in shell("users").out.splitlines())


def test_a_quote_becomes_an_order(shell: Shell) -> None:
    quote = new_quote(shell)
    [shown] = rows(shell("quote", quote, "--json").out)
    assert shown["status"] == "active"
    assert quote in {row["id"] for row in rows(shell("quotes", "--status", "active", "--json").out)}
    placed = shell("order", quote, USER, "10.50", "--json")
    assert placed.status == 0
    [order] = rows(placed.out)
    assert (order["from_amount"], order["from_currency"], order["quote_id"]) == ("10.50", "usd", quote)
    assert order["id"] in {row["id"] for row in rows(shell("orders", "User One", "--json").out)}
    assert rows(shell("orders", "user2@example.com", "--json").out) == []
    [again] = rows(shell("order", order["id"], "--json").out)
    assert again["id"] == order["id"]
    taken = shell("order", quote, USER, "1.00")
    assert taken.status == 1
    assert order["id"] in taken.one_line


def test_an_order_is_waited_for(shell: Shell, served: Running) -> None:
    with Client(served.url) as desk:
        user = desk.users()[0]
        order = desk.execute(desk.request_quote(), user, "2.00")
        short = shell("order", order.id, "--wait", "--timeout", "0", "--json")
        assert short.status == 4
        assert "--wait" in short.err
        served.settle(user.id)
        waited = shell("order", order.id, "--wait", "--json")
    assert waited.status == 0
    assert rows(waited.out)[0]["state"] == "completed"


def test_a_failed_order_is_status_1(shell: Shell, served: Running) -> None:
    served.control(action="configure", fail_share=1)
    with Client(served.url) as desk:
        user = desk.users()[1]
        order = desk.execute(desk.request_quote(), user, "2.00")
        served.control(action="configure", fail_share=0)
        served.settle(user.id)
    ran = shell("order", order.id, "--wait", "--json")
    assert ran.status == 1
    assert rows(ran.out)[0]["state"] == "failed"
    assert ran.err.startswith("parallax: order ")


def test_an_order_without_an_answer_is_status_4_and_found_with_wait(shell: Shell, served: Running) -> None:
    served.control(fault="close", on="order_create", when="after", times=1)
    lost = shell("order", new_quote(shell), USER, "3.00", "--json")
    assert lost.status == 4
    found = re.search(r"no answer about order (\S+) yet; do not place it again", lost.one_line)
    assert found
    assert shell("order", found[1], "--json").status in (0, 4)


def test_the_quote_of_an_order_without_an_answer_says_do_not_order_again(
    shell: Shell, served: Running
) -> None:
    served.control(fault="close", on="order_create", when="before", times=1)
    quote = new_quote(shell)
    assert shell("order", quote, USER, "3.10").status == 4
    again = shell("order", quote, USER, "4.10")
    assert again.status == 4
    assert "Outcome unknown: do not order again" in again.one_line


def test_the_same_order_again_is_not_placed_without_a_word(shell: Shell) -> None:
    first = shell("order", new_quote(shell), USER, "5.10", "--json")
    [order] = rows(first.out)
    second = shell("order", new_quote(shell), USER, "5.10")
    assert second.status == 1
    assert order["id"] in second.one_line
    assert "--repeat" in second.one_line
    repeated = shell("order", new_quote(shell), USER, "5.10", "--repeat", "--json")
    assert repeated.status == 0
    assert rows(repeated.out)[0]["id"] != order["id"]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_at_a_terminal_the_same_order_again_is_asked_about(
    shell: Shell, served: Running, answer: str, status: int
) -> None:
    amount = f"6.{len(answer)}{status}"
    assert shell("order", new_quote(shell), USER, amount).status == 0
    with Terminal(served, "order", new_quote(shell), USER, amount) as asking:
        asking.shows("Order once more? [y/N]")
        asking.type(answer)
        assert asking.ended() == status


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("quote nothing", 1, "no quote 'nothing'"),
        ("order nothing", 1, "no order 'nothing'"),
        ("order nothing user", 2, "QUOTE USER AMOUNT"),
        ("order nothing nobody 1", 1, "no user 'nobody'"),
        (f"order nothing {USER} 1", 1, "no quote 'nothing'"),
        ("orders nobody", 1, "no user 'nobody'"),
        ("quotes --status shiny", 2, "Choose from"),
        ("orders --status nonsense", 2, "Choose from"),
        ("quotes --limit 0", 2, "limit"),
        ("incidents resolve nothing note", 1, "no incident 'nothing'"),
        ("watch --after 999999999", 1, "position"),
        ("watch --after -1", 2, "--after"),
        ("users --url nowhere", 2, "no address of a desk"),
        ("users --url http://127.0.0.1:1", 3, "is it running?"),
        ("completion tcsh", 2, "tcsh"),
        ("receipt verify nowhere.json", 2, "nowhere.json cannot be read"),
    ],
)
def test_each_trouble_is_one_line_and_a_status(shell: Shell, arguments: str, status: int, words: str) -> None:
    ran = shell(*arguments.split())
    assert ran.status == status
    assert words in ran.one_line


@pytest.mark.parametrize("amount", ["0", "1.234", "many", "1e5"])
def test_an_amount_that_will_not_do_is_said_so(shell: Shell, amount: str) -> None:
    ran = shell("order", new_quote(shell), USER, amount)
    assert ran.status == 1
    assert ran.one_line


def test_the_desk_is_found_through_settings(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, served: Running, installation: Path
) -> None:
    monkeypatch.delenv("PARALLAX_URL")
    (installation / "dev.local.env").write_text(f"PORT={served.url.rpartition(':')[2]}\n")
    assert shell("users", "--json").status == 0
    (installation / "dev.local.env").write_text("PORT=none\n")
    assert shell("users").status == 2


def test_operations_and_incidents_are_shown(shell: Shell) -> None:
    [status] = rows(shell("operations", "--json").out)
    assert status["health"] == "well"
    assert {duty["name"] for duty in status["duties"]} >= {"tracker"}
    assert any(calls["purpose"] == "New quote" for calls in status["calls"])
    assert "health\twell" in shell("operations").out
    assert shell("incidents", "--json").status == 0


def test_a_receipt_is_checked_offline(
    shell: Shell, served: Running, installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(served.url) as desk:
        user = desk.users()[0]
        order = desk.execute(desk.request_quote(), user, "2.00")
    receipt = httpx2.get(f"{served.url}/u/{user.id}/orders/{order.id}/receipt", trust_env=False).content
    file = installation / "receipt.json"
    file.write_bytes(receipt)
    monkeypatch.setenv("PARALLAX_URL", "http://127.0.0.1:1")
    ran = shell("receipt", "verify", file)
    assert ran.status == 0
    assert f"The receipt verifies: order {order.id} is " in ran.out
    [found] = rows(shell("receipt", "verify", file, "--json").out)
    assert found["facts"][0]["kind"] == "OrderClaimed"
    file.write_bytes(receipt.replace(b"2.00", b"9.00"))
    forged = shell("receipt", "verify", file)
    assert forged.status == 1
    assert "does not verify" in forged.one_line


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: Shell, name: str) -> None:
    script = shell("completion", name).out
    assert all(command in script for command in COMMANDS)


@pytest.mark.parametrize("command", ["quotes", "quote", "orders"])
def test_json_has_the_apis_names_and_nothing_nested(shell: Shell, served: Running, command: str) -> None:
    with Client(served.url) as desk:
        desk.execute(desk.request_quote(), desk.users()[0], "2.00")
    model = models.Order if command == "orders" else models.Quote
    [row, *_] = rows(shell(command, "--json").out)
    assert set(row) <= {field.name for field in msgspec.structs.fields(model)}
    assert not any(isinstance(value, dict) for value in row.values())


@pytest.mark.parametrize("arguments", [("--help",), ("users",), ("operations",), ("watch", "--after", "0")])
def test_output_that_cannot_be_written_is_one_line(served: Running, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            env=environment(PARALLAX_URL=served.url),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize("arguments", ["--help", "users"])
def test_nobody_needs_to_listen(served: Running, arguments: str) -> None:
    for command in (f"{PROGRAM} {arguments} >&-", f"set -o pipefail; {PROGRAM} {arguments} | true"):
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment(PARALLAX_URL=served.url, PATH=os.environ["PATH"]),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def piped(served: Running, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        env=environment(PARALLAX_URL=served.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_watch_in_a_pipe_is_a_line_a_fact_until_ctrl_c(served: Running) -> None:
    with Client(served.url) as desk:
        quote = desk.request_quote()
    watching = piped(served, "watch", "--after", "0", "--json")
    assert watching.stdout is not None
    positions: list[int] = []
    for line in watching.stdout:
        event = json.loads(line)
        positions.append(event["position"])
        if event.get("quote_id") == quote.id:
            break
    assert positions == list(range(1, len(positions) + 1))
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, err) == (0, "")


def test_watch_ends_when_nobody_reads(served: Running) -> None:
    watching = piped(served, "watch", "--after", "0")
    assert watching.stdout is not None
    assert "DeskStarted" in watching.stdout.readline()
    watching.stdout.close()
    assert watching.wait(PATIENCE) == 0
    assert watching.stderr is not None
    assert watching.stderr.read() == ""
    watching.stderr.close()


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, served: Running, *arguments: str, size: tuple[int, int] = (200, 50)) -> None:
        self._own, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            env=environment(PARALLAX_URL=served.url, TERM="xterm", COLUMNS=size[0], LINES=size[1]),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def shows(self, words: str) -> None:
        """Return when the words have been shown."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._own], [], [], 1.0)[0]:
                self._take()

    def ended(self) -> int:
        """The exit status; all that was shown has been collected."""
        status = None
        deadline = time.monotonic() + PATIENCE
        while status is None and time.monotonic() < deadline:
            if select.select([self._own], [], [], 0.05)[0]:
                self._take()
            status = self.process.poll()
        assert status is not None, "it ends"
        return status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)

    def type(self, line: str) -> None:
        os.write(self._own, line.encode() + b"\r")

    def _take(self) -> None:
        try:
            self.shown += os.read(self._own, 65_536).decode(errors="replace")
        except OSError:  # the other end has closed
            time.sleep(0.01)


def test_the_board_shows_quotes_and_orders_and_ends_with_ctrl_c(served: Running) -> None:
    with Client(served.url) as desk:
        user = desk.users()[0]
        order = desk.execute(desk.request_quote(), user, "2.00")
        with Terminal(served, "watch") as board:
            board.shows(order.id)
            later = desk.request_quote()
            board.shows(later.id)
            board.process.send_signal(signal.SIGINT)
            assert board.ended() == 0
    assert "Traceback" not in board.shown


def test_the_board_fits_a_small_terminal(served: Running) -> None:
    with Client(served.url) as desk:
        user = desk.users()[0]
        orders = [desk.execute(desk.request_quote(), user, "2.00") for _ in range(7)]
    with Terminal(served, "watch", size=(80, 24)) as board:
        for order in orders[-6:]:
            board.shows(order.id)
        board.process.send_signal(signal.SIGINT)
        assert board.ended() == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in board.shown


def test_progress_is_shown_on_a_terminal_until_the_order_has_settled(served: Running) -> None:
    with Client(served.url) as desk:
        user, quote = desk.users()[2], desk.request_quote()
    with Terminal(served, "order", quote.id, user.email, "2.00", "--wait") as waiting:
        waiting.shows("pending, ")
        served.settle(user.id)
        waiting.shows("completed")
        assert waiting.ended() == 0
    assert "Traceback" not in waiting.shown


def test_ctrl_c_ends_the_waiting_and_not_the_order(served: Running) -> None:
    with Client(served.url) as desk:
        user, quote = desk.users()[1], desk.request_quote()
        with Terminal(served, "order", quote.id, user.id, "2.00", "--wait") as waiting:
            waiting.shows("pending, ")
            waiting.process.send_signal(signal.SIGINT)
            waiting.shows("goes on without you")
            assert waiting.ended() == 130
        assert "Traceback" not in waiting.shown
        assert desk.quote(quote).order_id is not None


def test_the_console_has_a_connected_desk(served: Running) -> None:
    with Terminal(served, "console") as console:
        console.shows("desk.<Tab>")
        console.type("len(await desk.users()) * 1111")
        console.shows("3333")
        console.type("exit")
        assert console.ended() == 0
    assert "Traceback" not in console.shown


def test_the_console_shows_values_in_short_and_says_what_went_wrong(served: Running) -> None:
    with Client(served.url) as desk:
        quote = desk.request_quote()
    with Terminal(served, "console") as console:
        console.shows("desk.<Tab>")
        console.type(f"[await desk.quote('{quote.id}')]")
        console.shows("[<Quote USD/PHP ")
        console.type("await desk.quote('no' + 'thing')")
        console.shows("NotFound: There is no quote 'nothing' here.")
        console.type("desk.users()")
        console.shows("write `await` in front of users")
        console.type("exit")
        assert console.ended() == 0
    assert "Traceback" not in console.shown


def test_the_console_says_what_it_wants(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    ran = shell("console")
    assert ran.status == 2
    assert "pip install 'parallax[console]'" in ran.one_line


def test_every_command_is_documented() -> None:
    documented = set(re.findall(r"^\| `parallax (\w+)", DOCS.read_text(), re.MULTILINE))
    assert documented == set(COMMANDS)
