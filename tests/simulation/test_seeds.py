"""The proof, as far as there is time for it in every run of the tests: `make simulate SEEDS=…` goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SHARES = 4
"""Parts that the seeds are run in, so that they share out among the test workers."""

SEEDS = 1_000

PATIENCE = 900
"""Seconds that a part may take on a busy machine."""

FOUND_SOMETHING = [0, 22, 94, 136, 1686, 10206]
"""Seeds that broke a rule when they were new: a list read once and counted twice; a clock that had not been heard; an
order that vanished by a clock that was set; a stop while a refusal was in doubt; a disk that kept what it said it had
not. What a seed does changes with the simulation, so each fix has a test of its own beside it as well."""


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Run the simulation in a process of its own: it sets up logging and garbage collection in its own way."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("share", range(SHARES))
def test_a_thousand_seeds_break_no_rule(share: int) -> None:
    count = SEEDS // SHARES
    run = simulate("run", "--seeds", str(count), "--from", str(share * count))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{count} seeds" in run.stdout


@pytest.mark.parametrize("seed", FOUND_SOMETHING)
def test_seeds_that_found_something_stay_clean(seed: int) -> None:
    run = simulate("run", "--seeds", "1", "--from", str(seed))
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("seed", [3, 8, 21, 34, 55, 89])
def test_a_seed_tells_the_same_story_in_every_process(seed: int) -> None:
    one, other = (simulate("replay", str(seed), "--hash", hash_seed=hash_seed) for hash_seed in ("1", "4242"))
    assert one.returncode == 0, one.stdout + one.stderr
    assert one.stdout == other.stdout
    assert len(one.stdout.strip()) == 16


def test_a_story_can_be_read_step_by_step() -> None:
    story = simulate("replay", "5").stdout.splitlines()
    assert any("sends POST /api/orders" in line for line in story)
    assert any("OrderClaimed" in line for line in story)
    times = [float(line.split()[0]) for line in story[:-1]]
    assert times == sorted(times)


def test_a_broken_rule_is_named_with_its_seed_and_ends_in_an_error() -> None:
    run = simulate("replay", "0", "--defect", "claim_after_send")
    assert run.returncode == 1
    assert "seed 0: claim_first is broken" in run.stdout
