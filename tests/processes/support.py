"""The programs as processes of their own: started in a directory of their own, and ended by number."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from parallax.sandbox import USER_FIXTURES
from parallax.settings import Settings

PROGRAM = Path(sys.executable).parent / "parallax"
T = TypeVar("T")

KEY = "key-of-the-process-tests"
USERS = tuple(user.id for user in USER_FIXTURES)

START_SECONDS = 30.0  # what a start may take on a machine with much else to do; usually about one
END_SECONDS = 10.0  # what the desk promises for a stop


class Program:
    """One started program; its output is collected line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = asyncio.Condition()
        self._open = 2  # streams that may still say something
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))
            async with self._news:
                self._news.notify_all()
        async with self._news:
            self._open -= 1
            self._news.notify_all()

    async def said(self, words: str, within: float = START_SECONDS, after: int = 0) -> str:
        """The first line on standard output (`after` so many) that has these words, as soon as it is there."""
        async with asyncio.timeout(within), self._news:
            while True:
                for line in self.out[after:]:
                    if words in line:
                        return line
                assert self._open, f"ended without saying {words!r}: {self.out} {self.err}"
                await self._news.wait()

    async def ended(self, within: float = END_SECONDS) -> int:
        """The exit status, when it comes in time; all output has been collected then."""
        async with asyncio.timeout(within):
            status = await self.process.wait()
            await asyncio.gather(*self._readers)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    async def terminate(self) -> int:
        """Ask it to stop, as a service manager would; gives the exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """`kill -9`."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await asyncio.gather(*self._readers)


@dataclass
class Nursery:
    """Starts desks without loading them anew: see `nursery.py`."""

    program: Program
    pid: int = 0

    async def start(self) -> None:
        """A new desk, once it answers; the one before must be gone."""
        assert not self.pid
        heard = len(self.program.out)
        assert self.program.process.stdin is not None
        self.program.process.stdin.write(b"+")
        self.pid = int((await self.program.said("process ", after=heard)).removeprefix("process "))
        await self.program.said("desk      ", after=heard)

    async def kill(self) -> None:
        """`kill -9` for the desk that runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            await self.program.said(f"gone {self.pid}")
            self.pid = 0


@dataclass
class Sandbox:
    """A running sandbox, with its control door."""

    program: Program
    url: str
    http: httpx2.AsyncClient

    async def control(self, **fields: object) -> Any:
        return await self._asked("POST", "/_control", json=fields)

    async def calm(self) -> None:
        """Switch all faults off."""
        await self._asked("DELETE", "/_control")

    async def record(self) -> Any:
        return await self._asked("GET", "/_record")

    async def stats(self) -> Any:
        return await self._asked("GET", "/_stats")

    async def _asked(self, method: str, path: str, **given: Any) -> Any:
        answer = await self.http.request(method, self.url + path, **given)
        assert answer.status_code < 300, answer.text
        return answer.json()["data"]


@dataclass
class Desk:
    """A running desk, used as a browser without scripts would: by forms."""

    program: Program
    url: str
    http: httpx2.AsyncClient

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(self.url + path)

    async def new_quote(self, user: str = USERS[0]) -> httpx2.Response:
        return await self.http.post(f"{self.url}/u/{user}/quotes")

    async def order(self, quote: str, amount: str = "10.00", user: str = USERS[0]) -> httpx2.Response:
        """Order as a person would, who goes on where the desk asks whether another order is the same."""
        address, form = f"{self.url}/u/{user}/exchange/{quote}", {"amount": amount}
        answer = await self.http.post(address, data=form)
        if asked := re.search(r'name="repeat" value="([^"]+)"', answer.text):
            answer = await self.http.post(address, data={**form, "repeat": asked[1]})
        return answer


class Programs:
    """Starts programs in `home` and ends exactly those."""

    def __init__(self, home: Path, free_port: Callable[[], int]) -> None:
        self.home = home
        self.free_port = free_port
        self._started: list[Program] = []
        self._http = httpx2.AsyncClient(
            timeout=15.0,
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._keyed = httpx2.AsyncClient(timeout=15.0, trust_env=False, headers={"X-Api-Key": KEY})

    async def start(
        self, *arguments: object, settings: Mapping[str, object] | None = None, python: tuple[str, ...] = ()
    ) -> Program:
        """`parallax …`, with these settings in its environment and no others; `python` are Python's options."""
        return await self._start(
            [sys.executable, *python, str(PROGRAM), *map(str, arguments)], settings or {}
        )

    async def _start(
        self, command: Sequence[str], settings: Mapping[str, object], stdin: int = asyncio.subprocess.DEVNULL
    ) -> Program:
        environment = {
            name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields
        }
        environment |= {name: str(value) for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env=environment,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._started.append(Program(process))
        return self._started[-1]

    async def nursery(self, exchange: Sandbox, port: int, **settings: object) -> Nursery:
        """Desks on one journal, one after the other, each ready in a moment."""
        given = {"PORT": port, "API_KEY": KEY, "API_URL": exchange.url, **settings}
        script = Path(__file__).with_name("nursery.py")
        return Nursery(await self._start([sys.executable, str(script)], given, asyncio.subprocess.PIPE))

    async def sandbox(
        self, *arguments: object, port: int = 0, settle: tuple[float, float] = (0.2, 0.5)
    ) -> Sandbox:
        """A sandbox exchange that answers."""
        port = port or self.free_port()
        program = await self.start(
            "sandbox", "--port", port, "--api-key", KEY, "--settle", *settle, *arguments
        )
        await program.said("Sandbox exchange at ")
        return Sandbox(program, f"http://127.0.0.1:{port}/api", self._keyed)

    async def desk(
        self,
        exchange: Sandbox | str | None,
        *arguments: object,
        port: int = 0,
        python: tuple[str, ...] = (),
        **settings: object,
    ) -> Desk:
        """A desk that answers, on an exchange or (None) with the sandbox beside it."""
        port = port or self.free_port()
        given = {"PORT": port, **settings}
        if exchange is not None:
            url = exchange.url if isinstance(exchange, Sandbox) else exchange
            given |= {"API_KEY": KEY, "API_URL": url}
        program = await self.start("serve", *arguments, settings=given, python=python)
        await program.said("desk      ")
        return Desk(program, f"http://127.0.0.1:{port}", self._http)

    async def close(self) -> None:
        for program in self._started:
            await program.kill()
        await self._http.aclose()
        await self._keyed.aclose()


@asynccontextmanager
async def running(home: Path, free_port: Callable[[], int]) -> AsyncGenerator[Programs]:
    """Programs for one test, ended after it."""
    programs = Programs(home, free_port)
    try:
        yield programs
    finally:
        await programs.close()


async def until(look: Callable[[], Awaitable[T]], within: float = 15.0) -> T:
    """What `look` gives as soon as it is true; what is waited for happens in another process."""
    async with asyncio.timeout(within):
        while not (found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def facts(programs: Programs, journal: str = "parallax.journal") -> list[dict[str, Any]]:
    """Every fact of a journal that no desk has in use, by the command that exports them."""
    program = await programs.start("journal", "export", "--journal", journal)
    assert await program.ended(START_SECONDS) == 0, program.err
    return [json.loads(line) for line in program.out]
