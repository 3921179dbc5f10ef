"""Running seeds: one, or very many on several processes."""

from __future__ import annotations

import gc
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from simulation.checker import Checker
from simulation.loop import Stuck
from simulation.plan import draw
from simulation.witness import Violation
from simulation.world import World

COLLECT_EVERY: Final = 5_000
"""Seeds between two collections of garbage, each of which leaves some 0.2 MB: during a run nothing is freed at a moment
that differs from run to run, and to collect costs a fourteenth of a seed. A process of several ends before."""

CHUNK: Final = 25
"""Seeds that are handed to a process at once."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a seed."""

    seed: int
    violations: list[Violation]
    steps: int
    calls: int
    orders: int
    seconds: float
    """Virtual time that passed."""
    fingerprint: str = ""
    story: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])


def run_seed(
    seed: int, *, story: bool = False, defect: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Result:
    """Run a seed and judge it. With a story it is slower, and has a fingerprint."""
    _prepare()
    gc.disable()
    if seed % COLLECT_EVERY == 0:
        gc.collect()
    with defect():
        world = World(draw(seed), story=story)
        witness = world.witness
        _SURPRISES.clear()
        try:
            world.loop.run_until_complete(_run_and_judge(world))
        except Stuck as error:
            witness.broken("nothing_left_open", f"the run does not end: {error}")
        if witness.disk_failures == 0:
            for surprise in _SURPRISES:
                witness.broken("no_surprises", surprise)
        if story:
            witness.tell("world", f"ends after {world.loop.steps} steps")
        result = Result(
            seed,
            witness.violations,
            world.loop.steps,
            sum(world.exchange.stats.calls.values()),
            len(world.exchange.orders),
            world.loop.time(),
            witness.fingerprint if story else "",
            witness.story,
            witness.counts,
        )
        world.loop.close()
    return result


async def _run_and_judge(world: World) -> None:
    await world.run()
    if world.life is None:
        world.witness.broken("crash_is_ordinary", "the desk does not start any more")
    else:
        await Checker(world, world.life).judge()


_SURPRISES: list[str] = []


def _catch(_logger: object, _method: str, event: Any) -> Any:
    """Errors that the desk logged: each is an exception that nobody expected."""
    error = event.get("exc_info")
    _SURPRISES.append(f"the desk logged {event.get('event')}: {error!r}")
    raise structlog.DropEvent


_prepared = False


def _prepare() -> None:
    global _prepared  # noqa: PLW0603 - once a process
    if _prepared:
        return
    _prepared = True
    # A task that is cancelled before its first step never awaits what it was given: nobody's mistake here.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    gc.collect()
    gc.freeze()
    structlog.configure(
        processors=[_catch],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=True,
    )


def run_many(seeds: Iterable[int], jobs: int = 1) -> Iterator[Result]:
    """Run seeds, in order with one job, as they come with several."""
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    fresh = COLLECT_EVERY // CHUNK - 1
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=fresh) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=CHUNK)
