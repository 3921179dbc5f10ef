"""Adapters of the journal: in memory, and on disk with SQLite."""
