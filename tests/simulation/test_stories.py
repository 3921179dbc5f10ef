"""A seed tells its story, the same one every time."""

from __future__ import annotations

import pytest

from tests.simulation.support import simulate


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
