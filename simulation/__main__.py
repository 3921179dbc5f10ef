"""`python -m simulation run | replay | defects`: see docs/simulation.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from simulation.defects import DEFECTS, find
from simulation.runner import Result, run_many, run_seed


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0 when every rule held (or every defect was found), else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation", description="The proof: see docs/simulation.md."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run seeds, and name every rule that is broken")
    run.add_argument("--seeds", type=int, default=100, help="how many")
    run.add_argument("--from", type=int, default=0, dest="first", help="the first")
    run.add_argument("--jobs", type=int, default=1, help="processes")
    run.add_argument("--stop", type=int, default=20, help="give up after so many seeds that broke a rule")
    replay = commands.add_parser("replay", help="tell a seed's story, step by step")
    replay.add_argument("seed", type=int)
    replay.add_argument("--defect", choices=sorted(DEFECTS), help="with a planted defect")
    replay.add_argument("--hash", action="store_true", help="only the story's fingerprint")
    defects = commands.add_parser("defects", help="find every planted defect, and say after how many seeds")
    defects.add_argument("--seeds", type=int, default=500, help="seeds that each may take")
    defects.add_argument("--only", choices=sorted(DEFECTS), help="one of them")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return _run(chosen.first, chosen.seeds, chosen.jobs, chosen.stop)
    if chosen.command == "replay":
        return _replay(chosen.seed, chosen.defect, fingerprint_only=chosen.hash)
    return _defects(chosen.seeds, [chosen.only] if chosen.only else list(DEFECTS))


def _run(first: int, count: int, jobs: int, stop: int) -> int:
    began, cpu = time.monotonic(), time.process_time()
    total: Counter[str] = Counter()
    broken = done = 0
    for result in run_many(range(first, first + count), jobs):
        done += 1
        total.update(result.counts)
        total.update(
            {
                "calls": result.calls,
                "orders at the venue": result.orders,
                "virtual seconds": int(result.seconds),
            }
        )
        if result.violations:
            broken += 1
            _complain(result)
            if broken >= stop:
                break
    took = time.monotonic() - began
    busy = f", {done / (time.process_time() - cpu):.0f} a second of processor time" if jobs == 1 else ""
    print(
        f"{done:,} seeds from {first} in {took:.0f} s: {done / took:.0f} a second{busy}; {broken} broke a rule."
    )
    print("  " + ", ".join(f"{total[name]:,} {name}" for name in sorted(total)))
    return 1 if broken else 0


def _complain(result: Result) -> None:
    for violation in result.violations[:5]:
        print(f"seed {result.seed}: {violation}", flush=True)


def _replay(seed: int, defect: str | None, *, fingerprint_only: bool) -> int:
    plant = {"defect": DEFECTS[defect].plant} if defect else {}
    result = run_seed(seed, story=True, **plant)
    if not fingerprint_only:
        for line in result.story:
            print(line)
    print(result.fingerprint)
    _complain(result)
    return 1 if result.violations else 0


def _defects(seeds: int, names: list[str]) -> int:
    missed = 0
    print("| planted defect | what it does | found after | by the rule |")
    print("|---|---|---|---|")
    for name in names:
        found = find(DEFECTS[name], seeds)
        missed += found is None
        after, rule = (
            (f"{found[0]} {'seed' if found[0] == 1 else 'seeds'}", f"`{found[1]}`")
            if found
            else (f"**not in {seeds}**", "–")
        )
        print(f"| {name} | {DEFECTS[name].what} | {after} | {rule} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
