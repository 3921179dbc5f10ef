"""An exchange that keeps its record has forgotten nothing after a restart, and says so when it cannot keep it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallax.sandbox import (
    ConnectionDropped,
    InProcess,
    KeptExchange,
    SandboxSettings,
    StateUnusable,
    create_app,
)
from parallax.sandbox.state import StateFile
from tests.sandbox.support import KEY, OTHER_USER, USER, Wire, fixed_rates


class KeptWire(Wire):
    """A wire whose exchange can be stopped and started again on its file; the clock goes on."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__()
        self.path, self.wanted = path, SandboxSettings(**settings)
        self.begin()

    def begin(self) -> None:
        self.exchange = KeptExchange(self.path, self.clock, 7, self.wanted, fixed_rates)
        self.app = create_app(self.exchange, KEY)
        self.calls = InProcess(self.app)

    def restart(self) -> None:
        self.kill()
        self.begin()

    def edit(self, change: Callable[[bytes], bytes]) -> None:
        """Change the file's bytes, between `kill` and `begin`."""
        self.path.write_bytes(change(self.path.read_bytes()))

    def kill(self) -> None:
        """Nothing is written at the end: what the file holds is what a killed process leaves behind."""
        assert isinstance(self.exchange, KeptExchange)
        self.exchange.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exchange.state"


@pytest.fixture
def kept(path: Path) -> Iterator[Callable[..., KeptWire]]:
    made: list[KeptWire] = []

    def make(**settings: Any) -> KeptWire:
        made.append(KeptWire(path, **settings))
        return made[-1]

    yield make
    for wire in made:
        wire.kill()


async def busy_day(wire: Wire) -> None:
    """Something of everything that an exchange can live through, no two orders changing at one instant."""
    wire.exchange.faults.add("late_listing", on="order_create", times=1, seconds=9)
    for turn in range(8):
        await wire.order(amount=f"{turn + 1}.50", user=(USER, OTHER_USER)[turn % 2])
        wire.clock.move(1.3)
    wire.exchange.faults.add("duplicate", on="order_create", times=1)
    await wire.try_order((await wire.quote())["id"])
    await wire.try_order("no such quote", {"not": ["an", "amount"]})
    await wire("POST", "/api/orders", b"no JSON")
    await wire.control(action="place_order", user_id=USER, from_amount="3")
    wire.exchange.note_request("a request", "that nothing", "came of")
    wire.clock.move(0.4)
    await wire.control(action="settle")
    wire.clock.move(0.4)
    settled = next(iter(wire.exchange.orders.values()))
    await wire.control(action="change_mind", order_id=settled.id)
    wire.clock.move(0.4)
    await wire.order()
    await wire.quote()


async def test_a_restart_changes_nothing_that_is_recorded(kept: Callable[..., KeptWire]) -> None:
    wire = kept(fail_share=0.5)
    await busy_day(wire)
    before = wire.exchange.record()
    wire.restart()
    assert wire.exchange.record() == before
    assert wire.exchange.requests[-1].number == len(wire.exchange.requests) - 1


async def test_lists_and_statuses_go_on_as_they_would_have(
    path: Path, tmp_path: Path, kept: Callable[..., KeptWire]
) -> None:
    wire = kept(fail_share=0.5)
    await busy_day(wire)
    shutil.copy(path, tmp_path / "copy.state")
    again = KeptWire(tmp_path / "copy.state", fail_share=0.5)
    again.clock = wire.clock
    again.restart()
    for _ in range(30):
        for user in (USER, OTHER_USER):
            assert await again.orders(user) == await wire.orders(user)
        for order in wire.exchange.orders.values():
            assert await again("GET", f"/api/orders/{order.id}") == await wire(
                "GET", f"/api/orders/{order.id}"
            )
        wire.clock.move(0.5)
    again.kill()


async def test_quotes_stay_as_they_were(kept: Callable[..., KeptWire]) -> None:
    wire = kept()
    used, free = await wire.quote(), await wire.quote()
    await wire.order(used["id"])
    wire.restart()
    assert sorted((await wire("GET", "/api/quotes"))[1]["data"], key=str) == sorted([used, free], key=str)
    status, refused = await wire.try_order(used["id"])
    assert (status, refused["errors"]) == (422, {"quote_id": ["has already been executed"]})
    assert (await wire.try_order(free["id"]))[0] == 201
    late = await wire.quote()
    wire.clock.move(300)
    wire.restart()
    assert (await wire.try_order(late["id"]))[1]["errors"] == {"quote_id": ["has expired"]}


async def test_identifiers_never_repeat(kept: Callable[..., KeptWire]) -> None:
    wire = kept()
    seen: list[str] = []
    for _ in range(4):
        for _ in range(5):
            seen.append((await wire.quote())["id"])
            seen.append((await wire.order())["id"])
        wire.restart()
    assert len(set(seen)) == len(seen)


async def test_quotes_to_begin_with_are_made_once(kept: Callable[..., KeptWire]) -> None:
    wire = kept(quotes=20)
    wire.restart()
    assert len(wire.exchange.quotes) == 20
    assert wire.exchange.settings.quotes == 20


async def test_a_line_that_a_crash_cut_off_is_forgotten_and_does_not_spoil_the_next(
    kept: Callable[..., KeptWire],
) -> None:
    wire = kept()
    await wire.order()
    last = (await wire.quote())["id"]
    wire.kill()
    wire.edit(lambda written: written[:-7])
    wire.begin()
    assert last not in wire.exchange.quotes
    assert len(wire.exchange.orders) == 1
    new = (await wire.quote())["id"]
    wire.restart()
    assert new in wire.exchange.quotes


@pytest.mark.parametrize(
    "line",
    ["rubbish", "[1]", '{"quote": {}}', '{"order": 3}', '{"price": {}}', '{"outcome": {"request": 9}}'],
)
async def test_a_damaged_line_is_named(kept: Callable[..., KeptWire], line: str) -> None:
    wire = kept()
    await wire.quote()
    wire.kill()
    wire.edit(lambda written: written.replace(b"\n", f"\n{line}\n".encode(), 1))
    with pytest.raises(StateUnusable, match=r"is damaged in line 2 .*move it away"):
        wire.begin()
    wire.edit(lambda written: written.partition(b"\n")[0] + b"\n")
    wire.begin()  # the file was let go of


async def test_two_processes_cannot_share_a_record(kept: Callable[..., KeptWire]) -> None:
    wire = kept()
    await wire.quote()
    with pytest.raises(StateUnusable, match="Another process"):
        KeptWire(wire.path)
    assert (await wire.order())["status"] == "pending"


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "such" / "file"):
        with pytest.raises(StateUnusable, match=str(place)):
            StateFile(place)


async def test_what_cannot_be_kept_is_not_answered(
    kept: Callable[..., KeptWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = kept()
    quote = await wire.quote()
    real = os.write

    def full(file: int, data: bytes) -> int:
        return real(file, data[:100])  # as a disk does that has just so much left

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(ConnectionDropped, match="cannot be written"):
            await wire.try_order(quote["id"])
    with pytest.raises(ConnectionDropped):  # memory is ahead of the file now
        await wire("POST", "/api/quotes")
    status, told = await wire("POST", "/_control", {"action": "seed_quotes", "count": 1})
    assert status == 507
    assert "start the sandbox again" in json.dumps(told)
    wire.restart()
    assert (await wire.order(quote["id"]))["status"] == "pending"
    assert len(wire.exchange.requests) == 1
