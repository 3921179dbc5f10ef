"""Running commands: in this process where that is enough, and otherwise as anyone would."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parallax import cli

PROGRAM = Path(sys.executable).parent / "parallax"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def one_line(self) -> str:
        """What was said on standard error, which must be one line with the program's name and nothing else."""
        assert self.out == ""
        [line] = self.err.splitlines()
        assert line.startswith("parallax: ")
        return line.removeprefix("parallax: ")


class Shell:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["parallax", *map(str, arguments)])
        self._capfd.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        out, err = self._capfd.readouterr()
        assert isinstance(status, int), "a status, not words"
        return Ran(status, out, err)


def run_program(*arguments: object, cwd: Path, timeout: float = 30) -> Ran:
    """The installed program as a process of its own."""
    done = subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
