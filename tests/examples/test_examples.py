"""The examples run as they stand, against a desk and a sandbox as processes of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallax import Client, OrderState
from tests.client.running import Running, running

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("desk"), free_port) as started:
        yield started


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_bot_sells_every_slice_under_its_limit(served: Running) -> None:
    done = run(
        *(sys.executable, EXAMPLES / "bot.py", served.url, "user1@example.com"),
        *("--slices", 4, "--amount", "5.00", "--per-second", 20),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 of 4 slices sold, for ")
    with Client(served.url) as desk:
        user = desk.users()[0]
        sold = desk.orders(user, status="completed")
    assert [str(order.amount) for order in sold] == ["5.00 USD"] * 4


def test_a_slice_that_fails_takes_no_other_with_it(served: Running) -> None:
    served.control(fault="status", on="quote_create", status=503, times=1)
    done = run(
        *(sys.executable, EXAMPLES / "bot.py", served.url, "user2@example.com"),
        *("--slices", 3, "--amount", "5.00", "--per-second", 20),
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("not sold: ") == 1
    assert "2 of 3 slices sold, for " in done.stdout


def test_the_bot_says_when_there_is_no_such_user(served: Running) -> None:
    done = run(sys.executable, EXAMPLES / "bot.py", served.url, "nobody@example.com")
    assert (done.returncode, done.stderr) == (1, "bot: there is no user nobody@example.com\n")


def test_the_bot_says_when_there_is_no_desk(free_port: Callable[[], int]) -> None:
    done = run(sys.executable, EXAMPLES / "bot.py", f"http://127.0.0.1:{free_port()}", "user1@example.com")
    assert done.returncode == 1
    assert re.fullmatch(r"bot: .*is it running\?.*\n", done.stderr)


def test_the_curl_session_goes_through(served: Running) -> None:
    if shutil.which("curl") is None:
        pytest.fail("this example wants curl (apt-get install curl)")
    done = run(EXAMPLES / "session.sh", served.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same\n" in done.stdout
    assert '"code":"quote_taken"' in done.stdout
    assert done.stdout.count('"from_amount":"12.50"') >= 2
    assert done.stderr == ""


class Consumer:
    """The consumer as a process; each fact that it handles can be waited for."""

    def __init__(self, url: str, ledger: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "consumer.py"), url, str(ledger)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._said: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._said.append(line)
                self._news.notify_all()

    def saw(self, words: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(words in line for line in self._said), PATIENCE), (
                self._said
            )

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        _, err = self._process.communicate(timeout=PATIENCE)
        self._reader.join()
        assert err == ""
        assert kill or self._process.returncode == 0


def test_the_consumer_misses_nothing_over_restarts_of_itself_and_of_the_desk(
    served: Running, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.csv"
    ids: list[str] = []

    def settled_order(number: int) -> str:
        with Client(served.url) as desk:
            user = desk.users()[number]
            order = desk.execute(desk.request_quote(), user, "3.00")
            served.settle(user.id)
            assert desk.settled(order).state is OrderState.COMPLETED
        ids.append(order.id)
        return order.id

    consumer = Consumer(served.url, ledger)
    consumer.saw("from position 0")
    consumer.saw(settled_order(1))
    consumer.end(kill=True)
    settled_order(2)
    served.stop()
    consumer = Consumer(served.url, ledger)
    served.start()
    consumer.saw(ids[1])
    consumer.saw(settled_order(1))
    consumer.end()
    lines = [line.split(",") for line in ledger.read_text().splitlines()]
    assert [line[1] for line in lines if line[1] in ids] == ids
    positions = [int(line[0]) for line in lines]
    assert positions == sorted(set(positions))


def test_the_consumer_goes_on_where_its_last_line_is(served: Running, tmp_path: Path) -> None:
    """A crash between a line and its position, or within a line, neither repeats nor loses one."""
    ledger = tmp_path / "ledger.csv"
    with Client(served.url) as desk:
        newest = desk.status().position
    ledger.write_text(f"{newest},id,OrderCompleted,3.00 USD,150.00 PHP\n99")
    (tmp_path / "ledger.csv.position").write_text("1")
    consumer = Consumer(served.url, ledger)
    consumer.saw(f"from position {newest}")
    consumer.end()
    assert ledger.read_text() == f"{newest},id,OrderCompleted,3.00 USD,150.00 PHP\n"
