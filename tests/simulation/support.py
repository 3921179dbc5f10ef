"""Running the simulation as a person would: in a process of its own, as it sets up logging and memory its own way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PATIENCE = 900
"""Seconds that a run may take on a busy machine."""


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """`python -m simulation …`, with a seed for Python's own hashes."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def assert_clean(first: int, count: int) -> None:
    """Run seeds and expect that they break no rule."""
    run = simulate("run", "--seeds", str(count), "--from", str(first))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{count:,} seeds from {first} " in run.stdout
