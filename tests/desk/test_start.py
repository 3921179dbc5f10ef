"""A start that does not come to its end leaves nothing behind."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from parallax.bootstrap import open_desk
from parallax.domain.errors import JournalFailed
from parallax.journal.store import Store
from parallax.settings import Settings


async def test_a_start_that_fails_gives_the_journal_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that opens a desk on a full disk, and again when there is room, finds the journal free."""
    settings = Settings(parallax_journal=tmp_path / "journal")
    threads = threading.active_count()

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", full)
        with pytest.raises(JournalFailed, match="disk is full"):
            await open_desk(settings).__aenter__()
    assert threading.active_count() == threads
    async with open_desk(settings) as opened:
        assert opened.desk.position >= 1
