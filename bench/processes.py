"""The programs themselves, as processes on this machine: a sandbox exchange, and a desk in front of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KEY: Final = "bench-key"
UNLIMITED: Final = {"PARALLAX_CALLS_PER_SECOND": "10000", "PARALLAX_CALLS_AT_ONCE": "200"}
"""The sandbox has no rate limit, and the desk's own speed is what is measured."""


@dataclass(frozen=True, slots=True)
class Running:
    """A desk and its sandbox: their ports, and the desk's process id."""

    sandbox: int
    desk: int
    pid: int
    folder: Path

    def control(self, action: str, **fields: object) -> Any:
        """Have the sandbox do something at its control door."""
        return self._post({"action": action, **fields})

    def fault(self, name: str, **fields: object) -> Any:
        """Switch a fault of the sandbox on."""
        return self._post({"fault": name, **fields})

    def _post(self, fields: dict[str, object]) -> Any:
        body = json.dumps(fields).encode()
        call = urllib.request.Request(f"http://127.0.0.1:{self.sandbox}/_control", body, {"X-Api-Key": KEY})
        with urllib.request.urlopen(call, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def resident(self) -> int:
        """The desk's resident memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextmanager
def running(quotes: int = 0, *sandbox_options: str, desk: bool = True) -> Generator[Running]:
    """Start a sandbox with some fresh quotes and a desk with a journal on disk; end both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ports = free_port(), free_port()
        program = [sys.executable, "-m", "parallax"]
        sandbox = subprocess.Popen(
            [*program, "sandbox", "--port", str(ports[0]), "--api-key", KEY, *sandbox_options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(ports[0])
            up = Running(ports[0], ports[1], 0, folder)
            if quotes:
                up.control("seed_quotes", count=quotes)
            if not desk:
                yield up
                return
            with started_desk(up) as process:
                yield Running(ports[0], ports[1], process.pid, folder)
        finally:
            sandbox.terminate()
            sandbox.wait(20)


@contextmanager
def started_desk(up: Running) -> Generator[subprocess.Popen[bytes]]:
    """A desk in front of a running sandbox."""
    process = subprocess.Popen(
        [sys.executable, "-m", "parallax", "serve"],
        cwd=up.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "API_KEY": KEY,
            "API_URL": f"http://127.0.0.1:{up.sandbox}/api",
            "PORT": str(up.desk),
            "PARALLAX_JOURNAL": str(up.folder / "journal"),
            **UNLIMITED,
        },
    )
    try:
        wait_for(up.desk)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    """A port below the ephemeral ones that nobody listens on."""
    for port in range(21_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                try:
                    probe.close()
                    with socket.socket() as listener:
                        listener.bind(("127.0.0.1", port))
                except OSError:
                    continue
                if port not in _given:
                    _given.add(port)
                    return port
    raise RuntimeError("no free port")


_given: set[int] = set()


def wait_for(port: int, seconds: float = 20) -> None:
    """Return when something listens on a port."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")
