"""A sandbox exchange and a desk as processes of their own, for tests that talk to them as programs do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from parallax.settings import Settings

PROGRAM = Path(sys.executable).parent / "parallax"
KEY = "key-of-the-client-tests"
START_SECONDS = 30.0
END_SECONDS = 10.0


def environment(**settings: object) -> dict[str, str]:
    """This environment with these settings and no others."""
    known = {name.upper() for name in Settings.model_fields} | {"PARALLAX_URL"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in known}
    return kept | {name: str(value) for name, value in settings.items()}


class Process:
    """A started program, known to be ready by the words that it says."""

    def __init__(self, home: Path, *arguments: object, ready: str, **settings: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, arguments)],
            cwd=home,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ready,))
        self._reader.start()
        if not self._ready.wait(START_SECONDS) or self._process.poll() is not None:
            self.end()
            raise AssertionError(f"did not start: {self.said}")

    def _read(self, ready: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.rstrip())
            if ready in line:
                self._ready.set()
        self._ready.set()

    def end(self, *, kill: bool = False) -> None:
        """Stop it, in good order or by `kill -9`."""
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


class Running:
    """A sandbox that settles at once, and a desk in front of it that can be stopped and started."""

    def __init__(self, home: Path, free_port: Callable[[], int]) -> None:
        self.home = home
        self._sandbox_port, self._port = free_port(), free_port()
        self.exchange = f"http://127.0.0.1:{self._sandbox_port}/api"
        self.url = f"http://127.0.0.1:{self._port}"
        arguments = ("--api-key", KEY, "--settle", "0.05", "0.2", "--fail-share", "0")
        self._sandbox = Process(
            home, "sandbox", "--port", self._sandbox_port, *arguments, ready="Sandbox exchange at"
        )
        self._desk: Process | None = None
        try:
            self.start()
        except AssertionError:
            self._sandbox.end()
            raise

    def start(self) -> None:
        self._desk = Process(
            self.home,
            "serve",
            ready="Press Ctrl+C",
            PORT=self._port,
            API_URL=self.exchange,
            API_KEY=KEY,
            PARALLAX_CALLS_PER_SECOND=1000,
            PARALLAX_GRACE_SECONDS=5,
        )

    def stop(self, *, kill: bool = False) -> None:
        if self._desk is not None:
            self._desk.end(kill=kill)
            self._desk = None

    def close(self) -> None:
        self.stop()
        self._sandbox.end()

    def control(self, **fields: object) -> Any:
        """Switch a fault of the sandbox on, or have it do something."""
        return self._asked("POST", "/_control", json.dumps(fields).encode())

    def calm(self) -> None:
        """Switch every fault off."""
        self._asked("DELETE", "/_control")

    def settle(self, user_id: str) -> None:
        """Have a user's pending orders settle at the sandbox, and the desk look at them now. A list is read for people
        once in five seconds, so a test that calls this has a user of its own."""
        self.control(action="settle")
        answer = httpx2.post(f"{self.url}/u/{user_id}/orders/refresh", trust_env=False)
        assert answer.status_code < 400, answer.text

    def record(self) -> Any:
        """What reached the sandbox."""
        return self._asked("GET", "/_record")

    def _asked(self, method: str, path: str, body: bytes | None = None) -> Any:
        answer = httpx2.request(
            method, self.exchange + path, content=body, headers={"X-Api-Key": KEY}, trust_env=False
        )
        assert answer.status_code < 300, answer.text
        return answer.json()["data"]


@contextmanager
def running(home: Path, free_port: Callable[[], int]) -> Generator[Running]:
    """Both, ended afterwards."""
    started = Running(home, free_port)
    try:
        yield started
    finally:
        started.close()
