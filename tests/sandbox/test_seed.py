"""Same seed and same calls, same answers: in this process and in any other."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tests.sandbox.support import OTHER_USER, USER, Wire

ROOT = Path(__file__).parents[2]


async def story(seed: int) -> str:
    wire = Wire(seed=seed, pairs=(("usd", "php"), ("eur", "usd")), fail_share=0.4)
    wire.exchange.faults.add("status", share=0.2)
    wire.exchange.faults.add("change_of_mind", share=0.3)
    wire.exchange.faults.add("late_listing", share=0.3)
    told = hashlib.sha256()
    for turn in range(60):
        for call in (
            ("POST", "/api/quotes", None),
            ("GET", "/api/quotes", None),
            ("GET", f"/api/users/{USER}/orders", None),
        ):
            answer = await wire.raw(*call)
            told.update(answer.body + repr(answer.headers).encode())
        quote_id = list(wire.exchange.quotes)[-1] if wire.exchange.quotes else ""
        body = {"quote_id": quote_id, "user_id": (USER, OTHER_USER)[turn % 2], "from_amount": f"{turn}.5"}
        told.update((await wire.raw("POST", "/api/orders", body)).body)
        wire.clock.move(1.7)
    told.update(json.dumps(wire.exchange.record()).encode())
    return told.hexdigest()


async def test_a_seed_repeats() -> None:
    assert await story(1) == await story(1)
    assert await story(1) != await story(2)


async def test_a_seed_repeats_in_another_process() -> None:
    program = "import asyncio; from tests.sandbox.test_seed import story; print(asyncio.run(story(1)))"
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert run.stdout.strip() == await story(1)


async def test_reading_more_often_does_not_change_how_orders_settle() -> None:
    lives = []
    for reads in (0, 5):
        wire = Wire(fail_share=0.5)
        for _ in range(10):
            for _ in range(reads):
                await wire.raw("GET", "/api/quotes")
            await wire.order()
        lives.append([order.life for order in wire.exchange.orders.values()])
    assert lives[0] == lives[1]
