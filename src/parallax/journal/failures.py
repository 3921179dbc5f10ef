"""What went wrong with a journal's file, in one sentence that says what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from parallax.domain.errors import JournalFailed
from parallax.journal.judging import DoesNotFollow
from parallax.journal.rows import Damaged
from parallax.journal.schema import Unsuitable

_READ_ONLY: Final = "The journal {path} is read-only: allow this user to write to the file and its directory."

_WORDS: Final = {
    sqlite3.SQLITE_FULL: "The disk is full: the journal {path} cannot be written. Free space and start again; "
    "everything that was confirmed is safe.",
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_AUTH: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "The journal {path} cannot be opened or created: check that its directory exists and "
    "that this user may read and write there.",
    sqlite3.SQLITE_IOERR: "The disk failed under the journal {path} ({error}). Check the disk and its free space, "
    "then start again; everything that was confirmed is safe if the disk is.",
    sqlite3.SQLITE_NOTADB: "{path} is not a journal, or its first page is damaged. If it was one, restore a backup.",
}
"""What to tell an administrator, by SQLite's primary code."""


def pid_path(path: Path) -> Path:
    """Where the process that has a journal writes its number."""
    return path.with_name(path.name + ".pid")


def in_use(path: Path) -> JournalFailed:
    """The refusal of a second process, with the number of the first when it can be told."""
    holder = _holder(path)
    who = f"Another process (pid {holder})" if holder else "Another process"
    return JournalFailed(f"{who} has the journal {path} in use; stop it first, or name another journal.")


def read_only(path: Path) -> JournalFailed:
    """The journal may not be written by this user."""
    return JournalFailed(_READ_ONLY.format(path=path))


def log_missing(path: Path, log: Path) -> JournalFailed:
    """The file was in use when it was left, and is here without the log that belongs to it."""
    return JournalFailed(
        f"The journal {path} is not whole: its write-ahead log {log.name} is missing, as when a file is copied, moved "
        "or named anew without it. Start from the name that has its log, put the log beside it, or restore a backup: "
        "see docs/journal.md."
    )


def in_a_line(found: object) -> str:
    """SQLite's finding without its line breaks and ornaments."""
    return " ".join(str(found).replace("***", "").split())


def damaged(path: Path, found: object) -> JournalFailed:
    """What was read is not what was written."""
    return JournalFailed(
        f"The journal {path} is damaged ({in_a_line(found)}); nothing more is read or written. Restore a backup: "
        "see `parallax journal verify` for what is wrong."
    )


def contradicted(path: Path, what: object) -> JournalFailed:
    """The program asked for a step that what is recorded does not allow."""
    return JournalFailed(
        f"The journal {path} was asked to record what does not follow from it ({what}); nothing of it was "
        "written and nothing more is. Start again: memory is rebuilt from the journal."
    )


def kind_of(error: BaseException) -> int | None:
    """SQLite's primary code of an error, without where in SQLite it happened; None when it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def described(error: Exception, path: Path) -> JournalFailed:
    """A failure of SQLite, of the file system or of what was read, in words for an administrator."""
    match error:
        case JournalFailed():
            return error
        case Damaged() | UnicodeError():
            return damaged(path, error)
        case DoesNotFollow():
            return contradicted(path, error)
        case Unsuitable():
            return JournalFailed(f"{path} {error}.")
        case sqlite3.Error():
            return _of_sqlite(error, path)
        case OSError():
            return _of_system(error, path)
        case _:
            return JournalFailed(f"The journal {path} failed: {type(error).__name__}: {error}.")


def _of_sqlite(error: sqlite3.Error, path: Path) -> JournalFailed:
    kind = kind_of(error)
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return in_use(path)
    if kind == sqlite3.SQLITE_CORRUPT:
        return damaged(path, error)
    if "decode to UTF-8" in str(error):
        return damaged(path, "text that is not UTF-8")
    words = _WORDS.get(kind or 0, "The journal {path} failed: {error}.")
    return JournalFailed(words.format(path=path, error=error))


def _of_system(error: OSError, path: Path) -> JournalFailed:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return JournalFailed(_WORDS[sqlite3.SQLITE_FULL].format(path=path))
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return read_only(path)
        case _:
            return JournalFailed(f"The journal {path} cannot be used: {error.strerror or error}.")


def _holder(path: Path) -> int | None:
    """The process that has the journal; None when it is not known. A number that a crash left behind is ignored."""
    try:
        pid = int(pid_path(path).read_text()[:20])
    except (OSError, ValueError):
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid  # it runs, under another user
    except (OSError, OverflowError):
        return None
    return pid


FAILURES: Final = (sqlite3.Error, Damaged, DoesNotFollow, Unsuitable, OSError, UnicodeError)
"""What SQLite, the file system and damaged rows raise; and Python, for an error of SQLite that quotes damaged text."""


@contextmanager
def failures_of(path: Path) -> Generator[None]:
    """Turn what SQLite, the file system and damaged rows raise into `JournalFailed`, in words."""
    try:
        yield
    except FAILURES as error:
        if kind_of(error) == sqlite3.SQLITE_INTERRUPT:
            raise  # a read that made room for a claim, and will be done again
        raise described(error, path) from error
