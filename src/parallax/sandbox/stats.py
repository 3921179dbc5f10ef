"""Counting calls: how many of each kind came, and what they were answered."""

from __future__ import annotations

from typing import Final

DROPPED: Final = "dropped"
"""Answered with a closed connection."""

ABANDONED: Final = "abandoned"
"""The call was cancelled before it was answered: in process, the client gave up."""


class Stats:
    """Calls since the start, by kind and by what came back. `other` counts unknown paths and methods."""

    __slots__ = ("answers", "calls")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.answers: dict[tuple[str, int | str], int] = {}

    def came(self, kind: str) -> None:
        """A call of `kind` has come."""
        self.calls[kind] = self.calls.get(kind, 0) + 1

    def answered(self, kind: str, status: int | str) -> None:
        """A call of `kind` was answered with a status, or was dropped or abandoned."""
        key = (kind, status)
        self.answers[key] = self.answers.get(key, 0) + 1

    def clear(self) -> None:
        """Begin at zero: for measuring one stretch."""
        self.calls.clear()
        self.answers.clear()

    def as_json(self) -> dict[str, object]:
        """For `/_stats`."""
        answers: dict[str, dict[str, int]] = {}
        for (kind, status), count in self.answers.items():
            answers.setdefault(kind, {})[str(status)] = count
        return {"total": sum(self.calls.values()), "calls": dict(self.calls), "answers": answers}
