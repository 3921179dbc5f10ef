"""Backups: a copy of a journal in a new file, made while work goes on, and verified before it gets its name."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from parallax.domain.errors import JournalFailed
from parallax.journal.store import Store

COPY_PAGES: Final = 500
"""Pages (2 MB) copied between two looks for waiting commits: a few milliseconds."""


class CopyFailed(JournalFailed):
    """The copy could not be made; the journal itself is well."""


def copy(store: Store, target: Path, *, between: Callable[[], None]) -> None:
    """Copy an open journal to `<target>.partial`, calling `between` after each step. Raises `CopyFailed`."""
    with (
        _begun(target) as partial,
        closing(sqlite3.connect(partial, timeout=0, isolation_level=None)) as copied,
    ):

        def step(_status: int, _remaining: int, _total: int) -> None:
            between()

        store.db.backup(copied, pages=COPY_PAGES, progress=step)
        copied.execute("DELETE FROM log_in_use")  # the copy is whole without a log


def write(target: Path, fill: Callable[[Store], None]) -> None:
    """Make a new journal at `<target>.partial` and let `fill` write it. Raises `CopyFailed`."""
    with _begun(target) as partial, closing(Store.open(partial)) as store:
        fill(store)


@contextmanager
def _begun(target: Path) -> Generator[Path]:
    partial = _partial(target)
    if os.path.lexists(target):
        raise CopyFailed(f"{target} exists already; a backup never overwrites.")
    try:
        with suppress(FileNotFoundError):
            partial.unlink()  # what a killed backup left, or a link: never what it leads to
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR, 0o600))
        yield partial
    except (sqlite3.Error, OSError, JournalFailed) as error:
        with suppress(OSError):
            partial.unlink()
        raise CopyFailed(f"The backup {target} could not be written: {error}.") from error


def finish(target: Path) -> int:
    """Verify the copy, put it on disk and give it its name. Returns its last position. Raises `CopyFailed`."""
    from parallax.journal.maintenance import verify

    partial = _partial(target)
    try:
        found = verify(partial)
        if not found.ok:
            raise CopyFailed(f"The backup {target} did not verify and was dropped: {found.words}")
        _to_disk(partial)
        os.link(partial, target)  # unlike a rename, fails where something has appeared meanwhile
        _to_disk(target.parent)
    except FileExistsError:
        raise CopyFailed(f"{target} exists already; a backup never overwrites.") from None
    except OSError as error:
        raise CopyFailed(f"The backup {target} could not be written: {error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return found.facts


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
