"""The files of a journal that is in use: the lock on its name, and whether the name still leads to what is open.

SQLite locks the file itself, by whatever name it was opened; but a file that is moved away takes that lock along. So
the name is locked too, and looked at before anything is confirmed.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from parallax.domain.errors import JournalFailed
from parallax.journal.failures import in_use, pid_path

_BACK: Final = "Stop the desk, put the file and its log back side by side, and start again."


class Files:
    """A journal's file, its write-ahead log and its lock file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """As it was named: a link in it may lead elsewhere later."""
        self.real = Path(os.path.realpath(path))
        """Where SQLite opens it, and keeps its log beside it."""
        self.log = log_path(self.real)
        self._lock: int | None = None
        self._file: os.stat_result | None = None
        self._log: os.stat_result | None = None

    def lock(self) -> None:
        """Lock the name, for as long as this process lives. Raises `JournalFailed` when another has it."""
        held = pid_path(self.real)
        while self._lock is None:
            lock = os.open(held, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _leads_to(held, os.fstat(lock)):  # its last holder may just have removed it
                    os.truncate(lock, 0)
                    os.write(lock, f"{os.getpid()}\n".encode())
                    self._lock, lock = lock, -1
            except BlockingIOError:
                raise in_use(self.real) from None
            finally:
                if lock >= 0:
                    os.close(lock)

    def unlock(self) -> None:
        """Let go of the name."""
        if self._lock is None:
            return
        held = pid_path(self.real)
        with suppress(OSError):
            if _leads_to(held, os.fstat(self._lock)):
                held.unlink()
        os.close(self._lock)
        self._lock = None

    def note(self) -> None:
        """The file and the log that are there now are the ones in use."""
        self._file, self._log = self.path.stat(), self.log.stat()

    def check(self) -> None:
        """See that the names still lead to them, and that nothing was cut off. Raises `JournalFailed`."""
        if self._file is None or self._log is None:
            return
        file, log = _stat(self.path), _stat(self.log)
        if file is None:
            raise JournalFailed(
                f"The journal {self.path} was moved or removed while it was in use; nothing more is confirmed. {_BACK}"
            )
        if not os.path.samestat(file, self._file):
            raise JournalFailed(
                f"Another file has taken the name of the journal {self.path} while it was in use; nothing more is "
                f"confirmed. {_BACK}"
            )
        if log is None or not os.path.samestat(log, self._log):
            raise JournalFailed(
                f"The journal's log {self.log} was moved, removed or replaced while it was in use; nothing more is "
                "confirmed. Stop the desk in good order, which moves what was confirmed into the journal, and start "
                "again."
            )
        if file.st_size < self._file.st_size or log.st_size < self._log.st_size:
            cut = self.path if file.st_size < self._file.st_size else self.log
            raise JournalFailed(
                f"{cut} was cut short while the journal was in use; nothing more is confirmed. Stop the desk; see "
                "`parallax journal verify`, and restore a backup where something is missing."
            )
        self._file, self._log = file, log

    @property
    def mergeable(self) -> bool:
        """Whether the log may be moved into the file: both are whole, and the file is where it was."""
        if self._file is None or self._log is None:
            return True
        file, log = _stat(self.path), _stat(self.log)
        if file is None or not os.path.samestat(file, self._file) or file.st_size < self._file.st_size:
            return False
        # A log without a name, or with another file under its name, is still open here.
        return log is None or not os.path.samestat(log, self._log) or log.st_size >= self._log.st_size


def log_path(path: Path) -> Path:
    """Where a journal's write-ahead log is."""
    return path.with_name(path.name + "-wal")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _leads_to(path: Path, file: os.stat_result) -> bool:
    found = _stat(path)
    return found is not None and os.path.samestat(found, file)
