"""The door: other sites get nothing done, other names are not answered to, and nothing inline is ever served."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from parallax.web.security import MAX_BODY
from tests.desk.scripted import ONE
from tests.web.conftest import HOST, Browser, Play

FORM = f"/u/{ONE}/quotes"


@pytest.mark.parametrize("host", ["localhost", "localhost:4000", "127.0.0.1:80", "[::1]:4000", "LOCALHOST"])
def test_the_desk_answers_to_the_names_of_this_machine(surf: Play, host: str) -> None:
    async def scenario(browser: Browser) -> None:
        assert (await browser.get("/", Host=host)).status_code == 200

    surf(scenario)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.example",
        "[",
        "",
        "evil@localhost",
        "localhost/evil",
        "localhost:evil",
        "localhost.",
        "localhost:",
        "[::1",
        "::1",
        "localhost localhost",
    ],
)
def test_the_desk_answers_to_no_other_name(surf: Play, host: str) -> None:
    async def scenario(browser: Browser) -> None:
        assert (await browser.get("/", Host=host)).status_code == 421

    surf(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": HOST, "Sec-Fetch-Site": "cross-site"},
        {"Origin": HOST, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_gets_nothing_done(surf: Play, headers: dict[str, str]) -> None:
    async def scenario(browser: Browser) -> None:
        assert (await browser.client.post(FORM, headers=headers)).status_code == 403
        assert len(browser.desk.books.quotes) == 0

    surf(scenario)


@pytest.mark.parametrize("headers", [{}, {"Origin": HOST}, {"Origin": HOST, "Sec-Fetch-Site": "same-origin"}])
def test_its_own_pages_and_programs_get_things_done(surf: Play, headers: dict[str, str]) -> None:
    async def scenario(browser: Browser) -> None:
        assert (await browser.client.post(FORM, headers=headers)).status_code == 303

    surf(scenario)


@pytest.mark.parametrize("path", ["/", "/api/users", "/exchange/api/users", "/healthz"])
def test_a_host_is_named_once(surf: Play, path: str) -> None:
    async def scenario(browser: Browser) -> None:
        for hosts in (
            ("localhost", "evil.example"),
            ("evil.example", "localhost"),
            ("localhost", "localhost"),
        ):
            headers = [("Host", host) for host in hosts]
            assert (await browser.client.get(path, headers=headers)).status_code == 421

    surf(scenario)


@pytest.mark.parametrize(
    "path", ["/api/users", "/api/quotes", "/api/events", "/exchange/api/users", "/live", "/metrics"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "http://evil.example"},
    ],
)
def test_another_site_reads_nothing(surf: Play, path: str, headers: dict[str, str]) -> None:
    async def scenario(browser: Browser) -> None:
        answer = await browser.client.get(path, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"

    surf(scenario)


def test_another_site_may_link_to_pages(surf: Play) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    async def scenario(browser: Browser) -> None:
        assert (await browser.client.get("/", headers=followed)).status_code == 200
        assert (await browser.client.get("/api/docs", headers=followed)).status_code == 200
        assert (await browser.client.get("/api/users", headers=followed)).status_code == 403

    surf(scenario)


def test_a_body_has_a_bound(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        answer = await browser.post(f"/u/{ONE}/exchange/{quote}", {"amount": "1" * (MAX_BODY + 1)})
        assert answer.status_code == 413
        answer = await browser.post(f"/u/{ONE}/exchange/{quote}", {"amount": "1" * 2_000})
        assert answer.status_code == 422
        assert "Traceback" not in answer.text

    surf(scenario)


class Inline(HTMLParser):
    """Collects what a strict policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag in ("script", "style")
        for name, value in attrs:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.found.append(f"<{tag} {name}>")
            if (value or "").strip().lower().startswith(("javascript:", "js:", "data:")):
                self.found.append(f"<{tag} {name}={value}>")
            if name == "hx-trigger" and "[" in (value or ""):
                self.found.append("a trigger's filter needs eval")

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.found.append(data[:60])
        self._script = False


def test_nothing_inline_is_served_and_the_policy_allows_nothing_unsafe(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        quote = await browser.quote()
        order = await browser.order(quote)
        paths = (
            "/",
            f"/u/{ONE}/exchange",
            f"/u/{ONE}/exchange/{quote}",
            f"/u/{ONE}/orders",
            f"/u/{ONE}/orders/{order}",
            "/operations",
            "/nowhere",
        )
        for path in paths:
            answer = await browser.get(path)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'")
            assert "unsafe" not in policy
            for part in (
                "object-src 'none'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
                "form-action 'self'",
            ):
                assert part in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            page = Inline()
            page.feed(answer.text)
            assert page.found == [], path

    surf(scenario)


def test_every_file_a_page_names_is_served_for_ever_under_an_address_of_its_content(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        text = (await browser.get("/")).text
        addresses = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
        assert len(addresses) > 5
        for address in addresses:
            answer = await browser.get(address)
            assert answer.status_code == 200, address
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-security-policy"]
        old = re.sub(r"/static/[0-9a-f]+/", "/static/000000000000/", min(addresses))
        assert (await browser.get(old)).headers["cache-control"] == "no-store"
        assert (await browser.get("/static/x/../../site.py")).status_code == 404
        assert (await browser.get("/static/x/nothing.js")).status_code == 404

    surf(scenario)


def test_every_vendored_file_has_its_licence_beside_it() -> None:
    static = files("parallax.web") / "static"
    assert "Zero-Clause BSD" in (static / "vendor" / "htmx.LICENSE.txt").read_text("utf-8")
    assert "SIL Open Font License" in (static / "fonts" / "inter.LICENSE.txt").read_text("utf-8")
