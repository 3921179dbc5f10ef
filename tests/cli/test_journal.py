"""`parallax journal`: what it prints, for people and programs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from parallax.bootstrap import open_desk
from parallax.domain.identity import UserId
from parallax.domain.money import parse_amount
from parallax.sandbox import USER_FIXTURES
from parallax.settings import Settings
from tests.cli.support import PROGRAM, Shell

USER = UserId(USER_FIXTURES[0].id)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that a desk has left behind, with one order in it."""
    path = tmp_path_factory.mktemp("made") / "made.journal"

    async def day() -> None:
        async with open_desk(Settings(parallax_journal=path)) as opened:
            await opened.desk.user(USER)
            quote = await opened.desk.request_quote("test")
            await opened.desk.place(quote.id, USER, parse_amount("12.50", quote.rate.from_currency), "test")

    asyncio.run(day())
    return path


@pytest.fixture
def journal(made: Path, installation: Path) -> Path:
    """A copy of it, where `parallax` looks without being told."""
    return Path(shutil.copy(made, installation / "sandbox.journal"))


def test_the_desk_leaves_one_file_and_the_sandbox_its_own(made: Path) -> None:
    assert sorted(path.name for path in made.parent.iterdir()) == ["made.journal", "made.journal.exchange"]


def test_verify_says_sound_with_status_0(shell: Shell, journal: Path) -> None:
    ran = shell("journal", "verify")
    assert ran.status == 0
    assert ran.err == ""
    assert "chain and tables sound" in ran.out
    found = json.loads(shell("journal", "verify", "--json", "--journal", journal).out)
    assert found["ok"] is True
    assert found["facts"] > 4
    assert len(bytes.fromhex(found["head"])) == 32


def test_verify_finds_damage_with_status_1(shell: Shell, journal: Path) -> None:
    written = journal.read_bytes()
    assert written.count(b"12.50") > 1
    journal.write_bytes(written.replace(b"12.50", b"92.50"))
    ran = shell("journal", "verify")
    assert ran.status == 1
    assert "Restore a backup" in ran.one_line
    told = shell("journal", "verify", "--json")
    assert told.status == 1
    assert json.loads(told.out)["ok"] is False


def test_an_anchor_shows_that_the_end_was_lost(shell: Shell, journal: Path) -> None:
    figures = json.loads(shell("journal", "stats", "--json").out)
    anchor = f"{figures['facts']}:{figures['head']}"
    assert anchor in shell("journal", "stats").out
    assert shell("journal", "verify", "--anchor", anchor).status == 0
    beyond = f"{figures['facts'] + 1}:{figures['head']}"
    ran = shell("journal", "verify", "--anchor", beyond)
    assert ran.status == 1
    assert "the end was lost" in ran.one_line


def test_export_gives_every_fact_as_a_line(shell: Shell, journal: Path, installation: Path) -> None:
    facts = [json.loads(line) for line in shell("journal", "export").out.splitlines()]
    assert [fact["position"] for fact in facts] == list(range(1, len(facts) + 1))
    [claimed] = [fact for fact in facts if fact["kind"] == "OrderClaimed"]
    assert Decimal(claimed["fields"]["amount"]) == Decimal("12.50")
    assert shell("journal", "export", "--output", "facts.ndjson").status == 0
    written = (installation / "facts.ndjson").read_text()
    assert [json.loads(line) for line in written.splitlines()] == facts
    again = shell("journal", "export", "--output", "facts.ndjson")
    assert again.status == 2
    assert "File exists" in again.one_line


def test_a_reader_may_leave_before_the_export_is_over(journal: Path) -> None:
    export = subprocess.Popen(
        [str(PROGRAM), "journal", "export", "--journal", str(journal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert export.stdout is not None
    assert export.stderr is not None
    export.stdout.close()
    assert export.stderr.read() == b""
    export.stderr.close()
    assert export.wait(timeout=30) == 0


def test_backup_makes_a_sound_copy_and_never_overwrites(shell: Shell, journal: Path) -> None:
    assert "copied and verified" in shell("journal", "backup", "copy.journal").out
    assert shell("journal", "verify", "--journal", "copy.journal").status == 0
    again = shell("journal", "backup", "copy.journal")
    assert again.status == 2
    assert "never overwrites" in again.one_line


def test_stats_show_figures(shell: Shell, journal: Path) -> None:
    ran = shell("journal", "stats")
    assert ran.status == 0
    shown = {tuple(line.split(maxsplit=1)) for line in ran.out.splitlines()}
    assert {("users", "3"), ("OrderClaimed", "1"), ("journal", "sandbox.journal")} <= {
        tuple(part.strip() for part in line) for line in shown
    }
    figures = json.loads(shell("journal", "stats", "--json").out)
    assert sum(figures["orders_by_state"].values()) == 1
    assert figures["first_at"].endswith("Z")
