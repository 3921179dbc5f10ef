"""Killed at any moment: everything that was confirmed is there, in order, under its chain."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parallax.journal import maintenance
from parallax.journal.store import Store

ROUNDS = 8
APPENDERS = 16

APPEND = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from parallax.journal import SqliteJournal
from tests.journal.support import Scribe, accepted, claim, completed, quote, sent

async def order(scribe, name):
    on = "quote-" + name
    for fact in (quote(on), claim(name, on), sent(name, on), accepted(name, on), completed(name, on)):
        [recorded] = await scribe.append(fact)
        # One write, as a kill between two would leave half a line.
        sys.stdout.write(f"{recorded.position} {recorded.hash.hex()}\\n")
        sys.stdout.flush()

async def main():
    scribe = await Scribe(SqliteJournal(Path(sys.argv[1]))).open()
    start = scribe.snapshot.position
    async def endless(worker):
        n = 0
        while True:
            n += 1
            await order(scribe, f"{start}-{worker}-{n}")
    print("ready", flush=True)
    await asyncio.gather(*(endless(worker) for worker in range(int(sys.argv[3]))))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", [1])
def test_what_was_confirmed_outlives_sigkill(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "j"
    root = str(Path(__file__).parents[2])
    chance = random.Random(seed)
    confirmed: dict[int, str] = {}
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND, str(path), root, str(APPENDERS)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert process.stdout.readline() == "ready\n"
            # The moment is what is being tried out; nothing is waited for.
            threading.Timer(chance.uniform(0.01, 0.4), process.send_signal, (signal.SIGKILL,)).start()
            before = time.monotonic()
            for line in process.stdout:
                if line.endswith("\n"):
                    position, link = line.split()
                    confirmed[int(position)] = link
            assert time.monotonic() - before < 30
        finally:
            guard.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        found = maintenance.verify(path)
        assert found.ok, found.words
        store = Store.open(path)
        there = {
            position: link.hex() for position, link in store.db.execute("SELECT position, hash FROM facts")
        }
        store.close()
        assert confirmed.items() <= there.items()
    assert len(confirmed) > ROUNDS
