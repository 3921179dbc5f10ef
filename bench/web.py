"""The pages as people meet them, in headless Chromium, with the desk and the sandbox as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from statistics import median
from typing import Any
from urllib.parse import quote as escaped

from playwright.async_api import Browser, Page, async_playwright

from bench.api import created, hydrated, listed, order_request
from bench.load import Connection, request
from bench.processes import Running, running
from bench.report import Row, at_most, percentile, show

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

WATCH_ROWS = """
(() => {
  const seen = (window.__seen = { first: 0, added: [], states: {} });
  const look = (records) => {
    const now = performance.now();
    if (!seen.first && document.querySelector(".row.quote")) {
      requestAnimationFrame(() => setTimeout(() => { seen.first = performance.now(); }));
    }
    for (const record of records) {
      const row = record.target.closest?.(".row.quote");
      if (row && row.classList.contains("is-executed") && !seen.states[row.id]) seen.states[row.id] = Date.now();
      for (const node of record.addedNodes) {
        if (node.matches?.(".row.quote")) {
          seen.added.push(now);
          if (node.classList.contains("is-executed") && !seen.states[node.id]) seen.states[node.id] = Date.now();
        }
      }
    }
  };
  new MutationObserver(look).observe(document, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["class"],
  });
})();
"""


def run(title: str) -> bool:
    """Measure and print; returns whether every bar holds."""
    if _chromium() is None:
        print(
            f"{title}: not measured, as there is no Chromium (apt-get install chromium, or PARALLAX_CHROMIUM)"
        )
        return False
    rows = asyncio.run(_first_rows(1_000, 0.25, "0.86 s"))
    rows += asyncio.run(_first_rows(10_000, 0.4, "9.6 s"))
    rows += asyncio.run(_busy_and_idle())
    rows += asyncio.run(_click())
    rows += asyncio.run(_state_change())
    return show(title, rows)


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("PARALLAX_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@asynccontextmanager
async def _browser() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        yield browser
        await browser.close()


async def _desk_page(browser: Browser, up: Running, quotes: int) -> tuple[Page, str]:
    await hydrated(up.desk, quotes)
    user = (await listed(up.desk, "/api/users"))[0]["id"]
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    await page.add_init_script(WATCH_ROWS)
    await page.goto(f"http://127.0.0.1:{up.desk}/u/{user}/exchange")
    await page.wait_for_function("window.__seen.first > 0")
    return page, user


async def _first_rows(quotes: int, bar: float, original: str) -> list[Row]:
    seconds: list[float] = []
    with running(quotes) as up:
        async with _browser() as browser:
            page, _ = await _desk_page(browser, up, quotes)
            for _ in range(7):
                await page.reload()
                await page.wait_for_function("window.__seen.first > 0")
                seconds.append(float(await page.evaluate("window.__seen.first")) / 1_000)
    return [at_most(f"first rows on screen at {quotes:,} live quotes", median(seconds), bar, " s", original)]


async def _busy_and_idle() -> list[Row]:
    with running(1_000) as up:
        async with _browser() as browser:
            page, _ = await _desk_page(browser, up, 1_000)
            session: Any = await page.context.new_cdp_session(page)
            await session.send("Performance.enable")
            await asyncio.sleep(3)
            before, began = await _task_seconds(session), time.monotonic()
            await asyncio.sleep(15)
            busy = (await _task_seconds(session) - before) / (time.monotonic() - began)
            bytes_a_second = await _idle_bytes(page, up, 45)
    return [
        at_most("main thread busy at 1,000 quotes with countdowns", busy * 100, 3, " %", "26 %"),
        at_most("bytes a second to an idle viewer", bytes_a_second, 50, "", "611,000", 1),
    ]


async def _task_seconds(session: Any) -> float:
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")


async def _stream(page: Page, up: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The page's own event stream, opened once more as bytes."""
    data = await page.evaluate(
        "({live: document.getElementById('page').dataset.live, at: document.getElementById('page').dataset.at,"
        " frame: document.getElementById('frame-digest')?.dataset.digest ?? ''})"
    )
    path = f"/live?{data['live']}&after={escaped(data['at'])}&frame={escaped(data['frame'])}"
    reader, writer = await asyncio.open_connection("127.0.0.1", up.desk, limit=2**24)
    writer.write(request("GET", path, up.desk))
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _idle_bytes(page: Page, up: Running, seconds: float) -> float:
    reader, writer = await _stream(page, up)
    await asyncio.sleep(1)
    with suppress(TimeoutError):
        await asyncio.wait_for(reader.read(2**20), 0.1)  # what a new viewer gets once
    got = 0
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        with suppress(TimeoutError):
            got += len(await asyncio.wait_for(reader.read(2**20), left))
    writer.close()
    return got / seconds


@asynccontextmanager
async def _viewers(page: Page, up: Running, count: int) -> AsyncGenerator[None]:
    """More viewers of the same page: their streams are read and thrown away."""
    opened = [await _stream(page, up) for _ in range(count)]

    async def drain(reader: asyncio.StreamReader) -> None:
        while await reader.read(2**16):
            pass

    tasks = [asyncio.create_task(drain(reader)) for reader, _ in opened]
    yield
    for task in tasks:
        task.cancel()
    for _, writer in opened:
        writer.close()


async def _click() -> list[Row]:
    with running(1_000) as up:
        async with _browser() as browser:
            page, _ = await _desk_page(browser, up, 1_000)
            venue = await _venue_seconds(up)
            async with _viewers(page, up, 19):
                took: list[float] = []
                for _ in range(40):
                    took.append(
                        float(
                            await page.evaluate(
                                """() => new Promise((done) => {
                                    const seen = window.__seen;
                                    const before = seen.added.length;
                                    const began = performance.now();
                                    document.querySelector('#generate').click();
                                    const wait = () => seen.added.length > before
                                        ? done(seen.added[before] - began) : setTimeout(wait, 1);
                                    wait();
                                })"""
                            )
                        )
                    )
                    await asyncio.sleep(0.1)
    spent = median(took) - venue * 1_000
    return [
        at_most(
            "click on Generate quote → new row, 20 viewers, 1,000 quotes, p50", spent, 60, " ms", "1.5 s", 0
        )
    ]


async def _venue_seconds(up: Running) -> float:
    connection = await Connection.open(up.sandbox)
    ask = request("POST", "/api/quotes", up.sandbox, b"{}", "bench-key")
    return median([(await connection.ask(ask)).seconds for _ in range(30)])


async def _state_change() -> list[Row]:
    changes = 100
    with running(200) as up:
        async with _browser() as browser:
            page, user = await _desk_page(browser, up, 200)
            async with _viewers(page, up, 199):
                quotes = [quote["id"] for quote in await listed(up.desk, "/api/quotes?limit=200")]
                connection = await Connection.open(up.desk)
                placed: dict[str, str] = {}
                for quote in quotes[:changes]:
                    answer = await connection.ask(order_request(up.desk, quote, user))
                    assert created(answer), answer.body
                    placed[json.loads(answer.body)["data"]["id"]] = quote
                    await asyncio.sleep(0.1)
                await asyncio.sleep(1)
                states: dict[str, float] = await page.evaluate("window.__seen.states")
                accepted = await _accepted(up)
    delays = [states[f"quote-{quote}"] - accepted[order] for order, quote in placed.items()]
    return [
        at_most(
            "state change on the server → DOM, 200 viewers, p99", percentile(delays, 0.99), 50, " ms", "", 0
        )
    ]


async def _accepted(up: Running) -> dict[str, float]:
    """When each order's acceptance became a fact, in milliseconds of this machine's clock."""
    reader, writer = await asyncio.open_connection("127.0.0.1", up.desk, limit=2**24)
    writer.write(request("GET", "/api/events?kind=OrderAccepted&after=0&follow=false", up.desk))
    found: dict[str, float] = {}
    with suppress(TimeoutError, asyncio.IncompleteReadError):
        while True:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), 2)
            if line.startswith(b"data: "):
                fact = json.loads(line[6:])
                at = datetime.fromisoformat(fact["at"])
                found[fact["order_id"]] = at.timestamp() * 1_000
    writer.close()
    return found
