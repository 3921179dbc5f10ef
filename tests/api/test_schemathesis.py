"""The API keeps its own description: schemathesis with every check, over HTTP, calls in sequence too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from parallax.web.app import create_app
from tests.api.support import World

HERE = Path(__file__).parent
PATIENCE = 110
"""Seconds for the whole run; it takes about 15 on two idle cores."""


@pytest.fixture
def served(free_port: Callable[[], int]) -> Iterator[str]:
    """A desk with some history behind real sockets, in a thread of its own; gives its address."""
    port, up, stop = free_port(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        world = World()
        await world.open()
        for _ in range(3):
            await world.order()
        await world.settled()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(world.desk), host="127.0.0.1", port=port, log_level="error", lifespan="off"
            )
        )
        running = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        loops.append(asyncio.get_running_loop())
        up.set()
        await stop.wait()
        world.desk.drain()
        server.should_exit = True
        await running
        await world.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(20)
    yield f"http://127.0.0.1:{port}"
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(20)


def test_the_api_keeps_its_description(served: str) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(HERE / "schemathesis.toml"),
            "run",
            f"{served}/api/openapi.json",
            "--checks=all",
            "--phases=examples,coverage,fuzzing,stateful",
            "--no-color",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stdout + run.stderr
