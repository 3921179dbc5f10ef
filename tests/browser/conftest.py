"""The real program in a real browser: sandbox and desk as processes of their own, Chromium in front."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from parallax.sandbox import USER_FIXTURES
from parallax.settings import Settings

PROGRAM = Path(sys.executable).parent / "parallax"
KEY = "key-of-the-browser-tests"
ONE, TWO, THREE = (user.id for user in USER_FIXTURES)
START_SECONDS = 30.0
PATIENCE = 8_000
"""Milliseconds that the browser is given for anything; most takes a few."""

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Exchange:
    """A running sandbox with its control door."""

    url: str

    def ask(self, method: str, path: str, **fields: object) -> Any:
        """One call of the control door."""
        answer = httpx2.request(
            method, self.url + path, headers={"X-Api-Key": KEY}, json=fields or None, timeout=10
        )
        assert answer.status_code < 300, answer.text
        return answer.json()["data"]

    def fault(self, name: str, **fields: object) -> None:
        """Switch a fault on."""
        self.ask("POST", "/_control", fault=name, **fields)

    def calm(self) -> None:
        """Switch all faults off."""
        self.ask("DELETE", "/_control")

    def quote_with(self, seconds: float) -> str:
        """A quote at the exchange that has so many seconds left; its id."""
        self.ask("POST", "/_control", action="seed_quotes", count=1, oldest_seconds=300 - seconds)
        return self.ask("GET", "/_record")["quotes"][-1]["id"]


@contextmanager
def program(
    home: Path, said: str, *arguments: object, **settings: object
) -> Generator[subprocess.Popen[str]]:
    """`parallax …`, once it has said some words; ended with this block."""
    environment = {
        name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields
    } | {name: str(value) for name, value in settings.items()}
    log = (home / f"{arguments[0]}-{time.monotonic_ns()}.log").open("w+")
    process = subprocess.Popen(
        [str(PROGRAM), *map(str, arguments)],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + START_SECONDS
        while said not in Path(log.name).read_text():
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < end, f"it has not said {said!r}"
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(12)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Exchange]:
    """The sandbox, alone; orders settle within a second and a half, and never fail."""
    port = free_port()
    arguments = ("--port", port, "--api-key", KEY, "--settle", 0.8, 1.5, "--fail-share", 0)
    with program(tmp_path_factory.mktemp("exchange"), "Sandbox exchange at", "sandbox", *arguments):
        yield Exchange(f"http://127.0.0.1:{port}/api")


@pytest.fixture(autouse=True)
def calm(request: pytest.FixtureRequest) -> Iterator[None]:
    """No fault outlives its test."""
    yield
    if "exchange" in request.fixturenames:
        request.getfixturevalue("exchange").calm()


@pytest.fixture(scope="session")
def desk(
    exchange: Exchange, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[str]:
    """A desk on the sandbox, as a process; its address."""
    port = free_port()
    settings = {"API_KEY": KEY, "API_URL": exchange.url, "PORT": port}
    with program(tmp_path_factory.mktemp("desk"), "desk      ", "serve", "--in-memory", **settings):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[str]:
    """A desk as a newcomer starts it, with the sandbox beside it; its address."""
    port = free_port()
    with program(tmp_path_factory.mktemp("practice"), "desk      ", "serve", "--in-memory", PORT=port):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def chromium(chromium_launch: dict[str, Any]) -> Iterator[Browser]:
    """One Chromium for a module's tests.

    No longer than that: the synchronous driver keeps an event loop running in this process, under which no
    asynchronous test of another module can run.
    """
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium_launch)
        yield browser
        browser.close()


@dataclass
class People:
    """Opens windows; whatever a page complains about on its console fails the test."""

    chromium: Browser
    complaints: list[str] = field(default_factory=list[str])
    contexts: list[BrowserContext] = field(default_factory=list[BrowserContext])

    def window(self, address: str = "", *, context: BrowserContext | None = None, **options: Any) -> Page:
        """A page, in a browser of its own unless one is given."""
        if context is None:
            usual: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"}
            context = self.chromium.new_context(**(usual | options))
            context.set_default_timeout(PATIENCE)
            self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda said: self._said(page, said))
        if address:
            visit(page, address)
        return page

    def _said(self, page: Page, said: ConsoleMessage) -> None:
        # What the network or the server's status says, by htmx too, is not the script's fault; tests look at those
        # themselves.
        if said.type == "error" and not re.search(
            r"Failed to load resource|net::ERR_|^htmx: htmx:error", said.text
        ):
            self.complaints.append(f"{page.url}: {said.text}")


@pytest.fixture
def people(chromium: Browser) -> Iterator[People]:
    """People at their windows."""
    people = People(chromium)
    yield people
    for context in people.contexts:
        context.close()
    assert people.complaints == []


def visit(page: Page, address: str) -> None:
    """Go to a page and wait until it is live."""
    page.goto(address)
    live(page)


def live(page: Page) -> None:
    """Wait until a page's stream is open."""
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def generate(page: Page) -> str:
    """Ask for a quote with the button; its id."""
    rows = page.locator("#quote-rows .quote")
    before = rows.first.get_attribute("id") if rows.count() else None
    page.get_by_role("button", name="Generate quote").click()
    newest = rows.first
    if before:
        expect(newest).not_to_have_attribute("id", before)
    identifier = newest.get_attribute("id")
    assert identifier
    return identifier.removeprefix("quote-")


def place(page: Page, amount: str = "100") -> str:
    """Generate a quote and order on it; the order's id."""
    generate(page)
    page.locator("#quote-rows .quote").first.get_by_role("link").click()
    page.get_by_label("You send").fill(amount)
    page.locator("[data-confirm]").click()
    page.locator("[data-repeat], #order").first.wait_for()
    if (repeat := page.locator("[data-repeat]")).count():  # the same order was placed a moment ago
        repeat.click()
    page.wait_for_url("**/orders/*")
    return page.url.rpartition("/")[2]


def audit(page: Page, *rules: str) -> list[str]:
    """What axe finds wrong with a page, by all its rules or by some."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: Any = page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{page.url}: {each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found["violations"]
    ]
