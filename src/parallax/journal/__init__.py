"""Adapters of the journal: in memory, and on disk with SQLite; and what is done to a journal that nobody uses."""

from parallax.journal.disks import Disk, MemoryDisk, SimulatedDisk
from parallax.journal.memory import MemoryJournal
from parallax.journal.sqlite import SqliteJournal

__all__ = ["Disk", "MemoryDisk", "MemoryJournal", "SimulatedDisk", "SqliteJournal"]
