"""How much of itself this machine was given while something was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_STOLEN: Final = 7
"""Where the first line has the time that a virtual machine's host gave to others."""
_COUNTED: Final = 8
"""What comes behind is counted in front already."""


class Processors:
    """The processors from now on. A figure of a machine that was not given its cores says little about them."""

    def __init__(self) -> None:
        self._began = _ticks()

    def stolen(self) -> float:
        """The share of their time since then that the host took."""
        passed = [now - began for now, began in zip(_ticks(), self._began, strict=True)]
        return passed[_STOLEN] / max(1, sum(passed))


def _ticks() -> list[int]:
    with _STAT.open() as stat:
        return [int(count) for count in stat.readline().split()[1 : 1 + _COUNTED]]
