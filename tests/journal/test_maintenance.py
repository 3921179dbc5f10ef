"""Verify, export, backup, stats: what each finds, and what a stranger can check without us."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from random import Random

import pytest

from parallax.domain.errors import JournalFailed
from parallax.journal import maintenance, schema
from parallax.journal.maintenance import Anchor
from parallax.journal.store import Batch, Store
from parallax.ports.codec import encode
from tests.journal.strategies import history
from tests.journal.support import NOON, Scribe, some_facts

DOCS = Path(__file__).parents[2] / "docs" / "journal.md"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "desk.journal"
    store = Store.open(path)
    facts = [*some_facts(3), *history(Random(2), 200)]
    changes = Scribe(None).changes(facts)
    store.commit([Batch.of([change]) for change in changes])
    store.close()
    return path


def tamper(path: Path, *statements: str) -> None:
    """Change a journal as someone with SQLite at hand could, triggers out of the way and put back."""
    db = sqlite3.connect(path, isolation_level=None)
    triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    for _, sql in triggers:
        db.execute(sql)
    db.close()


def test_a_sound_journal(journal: Path) -> None:
    found = maintenance.verify(journal)
    assert (found.ok, found.facts, found.exit_status) == (True, 216, maintenance.SOUND)
    assert found.head.hex() in found.words
    assert "\n" not in found.words


@pytest.mark.parametrize(
    ("statement", "position", "words"),
    [
        ("DELETE FROM facts WHERE position = 9", 9, "fact 9 is missing"),
        ("DELETE FROM facts WHERE position > 200", None, "the last ones were lost"),
        ("UPDATE facts SET record = CAST(replace(record, '1.50', '9.50') AS BLOB)", 3, "was changed"),
        ("UPDATE facts SET hash = zeroblob(32) WHERE position = 7", 7, "was changed"),
        ("UPDATE facts SET at = at + 1 WHERE position = 12", 12, "columns of fact 12"),
        ("UPDATE facts SET order_id = 'x' WHERE position = 3", 3, "columns of fact 3"),
        ("UPDATE orders SET amount = '9' WHERE id = 'order-001'", None, "'order-001' in the table of orders"),
        ("UPDATE orders SET facts = 9 WHERE id = 'order-001'", None, "counts 9 facts, not 4"),
        ("UPDATE quotes SET state = 'active' WHERE id = 'quote-001'", None, "in the table of quotes"),
        ("UPDATE users SET name = 'Eve', seal = 1 WHERE id = 'ann'", None, "in the table of users"),
        ("DELETE FROM orders WHERE id = 'order-002'", None, "in the table of orders"),
        ("DELETE FROM order_facts WHERE position = 4", None, "fact 4 and the table of order_facts differ"),
        (
            "INSERT INTO order_facts VALUES ('order-001', 1)",
            None,
            "fact 1 and the table of order_facts differ",
        ),
        ("INSERT INTO pause VALUES (1, 1, 'a', 'b', 2)", None, "pause"),
    ],
)
def test_the_first_break_is_named(journal: Path, statement: str, position: int | None, words: str) -> None:
    tamper(journal, "DELETE FROM pause", statement) if "pause" in statement else tamper(journal, statement)
    found = maintenance.verify(journal)
    assert words in found.problem
    assert (found.position, found.exit_status) == (position, maintenance.DAMAGED)
    if position is not None:
        assert found.facts == position - 1


def test_history_that_was_rewritten_with_its_chain_is_caught_by_what_was_noted_down(
    journal: Path, tmp_path: Path
) -> None:
    noted = Anchor(216, maintenance.verify(journal).head)
    other = tmp_path / "rewritten"
    store = Store.open(other)
    facts = [*some_facts(3), *history(Random(3), 200)]
    store.commit([Batch.of([one]) for one in Scribe(None).changes(facts)])
    store.close()
    assert maintenance.verify(other).ok
    assert "another hash than the one noted down" in maintenance.verify(other, noted).problem
    assert "noted down and is not there" in maintenance.verify(other, Anchor(999, noted.hash)).problem
    assert maintenance.verify(journal, noted).ok


def test_an_export_holds_every_fact_to_the_byte(journal: Path) -> None:
    facts = [*some_facts(3), *history(Random(2), 200)]
    lines = list(maintenance.export(journal))
    assert len(lines) == len(facts)
    for position, (line, fact) in enumerate(zip(lines, facts, strict=True), 1):
        read = json.loads(line)
        assert list(read) == ["position", "hash", "at", "kind", "fields"]
        assert (read["position"], read["kind"]) == (position, type(fact).__name__)
        assert read["at"] == read["fields"]["at"]
        fields = line[line.index(b'"fields":') + 9 : -1]
        assert b'["' + read["kind"].encode() + b'",' + fields + b"]" == encode(fact)


def test_an_export_stops_at_a_fact_that_was_changed(journal: Path) -> None:
    tamper(journal, "UPDATE facts SET record = CAST('[]' AS BLOB) WHERE position = 20")
    lines: list[bytes] = []
    with pytest.raises(JournalFailed, match="fact 20 is not what was written"):
        lines.extend(maintenance.export(journal))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET at = at + 1000000 WHERE position = 20",
        "UPDATE facts SET kind = 'OrdersPaused' WHERE position = 20",
    ],
)
def test_an_export_shows_nothing_that_a_fact_does_not_say(journal: Path, statement: str) -> None:
    """When and of what kind it is stands in columns too, which no hash covers."""
    tamper(journal, statement)
    with pytest.raises(JournalFailed, match="the columns of fact 20 are not those of its record"):
        list(maintenance.export(journal))


def test_a_stranger_follows_the_chain_with_the_lines_of_the_docs(journal: Path, tmp_path: Path) -> None:
    [script] = re.findall(r"```sh\n(#!.*?)```", DOCS.read_text(), re.DOTALL)
    exported = tmp_path / "facts.ndjson"
    exported.write_bytes(b"".join(line + b"\n" for line in maintenance.export(journal)))
    program = tmp_path / "follow.sh"
    program.write_text(script)

    def follow() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("bash") or "bash", str(program), str(exported)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    done = follow()
    assert done.returncode == 0, done.stderr + done.stdout
    assert maintenance.verify(journal).head.hex() in done.stdout
    exported.write_bytes(exported.read_bytes().replace(b"1.50", b"9.50", 1))
    assert follow().returncode == 1


def test_the_docs_name_the_schema_that_there_is() -> None:
    assert f"format {schema.current()}" in DOCS.read_text()


def test_a_backup_is_verified_and_never_overwrites(journal: Path, tmp_path: Path) -> None:
    made = maintenance.backup(journal, tmp_path / "copy")
    assert made.facts == 216
    assert list(maintenance.export(tmp_path / "copy")) == list(maintenance.export(journal))
    with pytest.raises(JournalFailed, match="never overwrites"):
        maintenance.backup(journal, tmp_path / "copy")


def test_a_backup_follows_no_link_and_is_for_its_owner_alone(journal: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    (tmp_path / "copy.partial").symlink_to(victim)
    maintenance.backup(journal, tmp_path / "copy")
    (tmp_path / "left.partial").touch(0o666)
    maintenance.backup(journal, tmp_path / "left")
    assert victim.read_text() == "precious"
    for name in ("copy", "left"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    with pytest.raises(JournalFailed, match="never overwrites"):
        maintenance.backup(journal, tmp_path / "nowhere")
    assert not (tmp_path / "absent").exists()


def test_a_backup_of_a_damaged_journal_is_not_kept(journal: Path, tmp_path: Path) -> None:
    tamper(journal, "UPDATE orders SET amount = '9' WHERE id = 'order-001'")
    with pytest.raises(JournalFailed, match="did not verify and was dropped"):
        maintenance.backup(journal, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_figures(journal: Path) -> None:
    found = maintenance.stats(journal)
    assert (found.facts, found.format, found.first_at) == (216, schema.current(), NOON)
    assert sum(found.facts_by_kind.values()) == 216
    assert found.orders_by_state["completed"] >= 3
    assert found.size == journal.stat().st_size
    assert found.head == maintenance.verify(journal).head
    assert "216 facts" in found.words
