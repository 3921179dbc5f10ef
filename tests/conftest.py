"""What every test may ask for: free ports, Chromium, and a run that owes nothing to its machine."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

TESTS = Path(__file__).parent

# The folders whose tests carry a marker without writing it down.
MARKED_FOLDERS = {"browser": pytest.mark.browser, "processes": pytest.mark.process}

# The program's settings: a test that wants one sets it itself.
SETTINGS = ("API_KEY", "API_URL", "HOST", "PORT", "PARALLAX_JOURNAL")

# Below 32768, where Linux starts to hand out ports for outgoing connections, and above what services use.
FIRST_PORT, LAST_PORT = 20_000, 32_000
# Ports tried before giving up: far more than any machine has taken in one worker's share.
PORT_ATTEMPTS = 200

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = (
    "--no-sandbox",  # root has no user namespaces in a container; every page is our own
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NO_CHROMIUM = "no Chromium: install it (apt-get install chromium) or name one in PARALLAX_CHROMIUM"

# The same number of examples everywhere. Under CI they are the same ones in every run, so that a red run is
# the fault of its change; elsewhere they differ from run to run and failures are remembered.
settings.register_profile("dev", max_examples=100, deadline=None)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, database=None, print_blob=True
)


def in_ci() -> bool:
    """Whether this run decides on a change; what is a skip elsewhere is a failure then."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def find_chromium() -> str | None:
    """The Chromium to drive: the one that PARALLAX_CHROMIUM names, or the first known name on the path."""
    named = os.environ.get("PARALLAX_CHROMIUM")
    if named:
        return shutil.which(named)
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def pytest_configure() -> None:
    """Choose the Hypothesis profile and shut out the settings of whoever runs the tests."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if in_ci() else "dev"))
    for name in SETTINGS:
        os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a marked folder, so that `-m "not browser"` works without a word in them."""
    for item in items:
        if item.path.is_relative_to(TESTS) and (
            mark := MARKED_FOLDERS.get(item.path.relative_to(TESTS).parts[0])
        ):
            item.add_marker(mark)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without Chromium, a browser test fails under CI and is skipped, loudly, elsewhere."""
    if item.get_closest_marker("browser") and find_chromium() is None:
        if in_ci():
            pytest.fail(NO_CHROMIUM, pytrace=False)
        pytest.skip(NO_CHROMIUM)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end, where it is read, that the browser tests did not run."""
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if NO_CHROMIUM in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("BROWSER TESTS WERE NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} skipped: {NO_CHROMIUM}", red=True)


@pytest.fixture(scope="session")
def free_port(worker_id: str) -> Callable[[], int]:
    """Call it for a port of 127.0.0.1 that nothing listens on; no two calls of a run give the same one.

    Parallel workers draw from shares of their own, so none takes a port between another's look and its use.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    share = list(range(FIRST_PORT + worker, LAST_PORT, workers))
    # Two checkouts tested at once on one machine should not walk the same way.
    random.SystemRandom().shuffle(share)
    candidates: Iterator[int] = iter(share)

    def draw() -> int:
        for _, port in zip(range(PORT_ATTEMPTS), candidates, strict=False):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port
        raise RuntimeError(f"no free port between {FIRST_PORT} and {LAST_PORT}")

    return draw


@pytest.fixture(scope="session")
def chromium_launch() -> dict[str, Any]:
    """The arguments of Playwright's `chromium.launch(**chromium_launch)`: Debian's Chromium, headless."""
    path = find_chromium()
    assert path is not None, "only a test marked `browser` may ask for it"
    return {"executable_path": path, "args": list(CHROMIUM_ARGS), "headless": True}


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """A program that a test ran in this process logs to that test's captured output, which is closed after it."""
    yield
    structlog.reset_defaults()
