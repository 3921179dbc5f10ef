"""A world for one seed: the venue, the network, the disk, the lives of the desk, and everyone who uses it.

The desk is the real one: `Desk`, `Gateway`, `ExchangeApi`, `MemoryJournal`; the venue is the bundled sandbox. Only
time, chance, the wire and the disk are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, TypeVar

from parallax.desk.desk import Desk
from parallax.domain.errors import DeskError
from parallax.domain.identity import OrderId
from parallax.domain.transitions import OrderState
from parallax.journal.memory import MemoryJournal
from parallax.ports.journal import Recorded
from parallax.sandbox import Exchange, Refusal, SandboxSettings, create_app
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway
from simulation import rules
from simulation.disk import Disk
from simulation.loop import Process, SimulatedLoop
from simulation.network import API_KEY, BASE_URL, Network, NetworkWorld
from simulation.plan import MAX_JUMP, Plan
from simulation.witness import EPOCH, Departure, Witness

T = TypeVar("T")

STOP_WITHIN: Final = 10.0
"""Seconds in which a desk that is told to stop is gone."""

HEARD_WITHIN: Final = 10.0
"""Seconds within which a list that was asked for in fine weather has been heard and written down."""

RESOLVED_WITHIN: Final = 2400.0
"""Seconds after the last fault within which everything must be resolved: the last quote's five minutes, the grace, and
minutes of late messages, back-off and sweeps."""

RATES: Final = {
    ("usd", "php"): Decimal("54.42"),
    ("jpy", "usd"): Decimal("0.006711"),
    ("usd", "jpy"): Decimal("149.01"),
    ("gbp", "kwd"): Decimal("0.3881"),
    ("kwd", "usd"): Decimal("3.2565"),
}
"""Pairs with two, no and three decimals on either side."""


class Gone(Exception):
    """The desk went away before it answered: the page shows an error, the order's fate is in the journal."""


class WallClock:
    """A machine's clock: it may be wrong, and be set."""

    def __init__(self, loop: SimulatedLoop, skew: float = 0.0) -> None:
        self._loop = loop
        self.skew = skew
        self.monotonic = loop.time
        """The loop's seconds, which nobody sets."""
        self._read_at = -1.0
        self._read = EPOCH

    def now(self) -> datetime:
        """What it shows."""
        at = self._loop.now + self.skew
        if at != self._read_at:  # it is read again and again at one instant
            self._read_at, self._read = at, EPOCH + timedelta(seconds=at)
        return self._read


class Life:
    """One process of the desk, from its start to its stop or its death."""

    def __init__(self, name: str, desk: Desk, journal: MemoryJournal) -> None:
        self.process = Process(name)
        self.desk = desk
        self.journal = journal
        self.requests: dict[asyncio.Future[Any], None] = {}
        self.ready = False
        """Whether it has started, and answers people."""


class World:
    """Everything that a run needs. `run` is the run; it ends with all notes in `witness`."""

    def __init__(self, plan: Plan, *, story: bool = False) -> None:
        self.plan = plan
        self.random = Random(f"{plan.seed}:world")
        self.loop = SimulatedLoop(Random(f"{plan.seed}:schedule"))
        self.witness = Witness(self.loop.time, story)
        self.context = Context()
        pairs = self.random.sample(list(RATES), self.random.randint(1, 2))
        self.exchange = Exchange(
            clock=WallClock(self.loop).now,
            seed=plan.seed,
            settings=SandboxSettings(
                pairs=tuple(pairs),
                fail_share=0.2,
                skew_seconds=plan.venue_skew,
                created_fraction=self.random.random() < 0.3,
                created_status=self.random.choice((200, 201)),
            ),
            rates=lambda sold, bought: RATES[sold, bought],
        )
        self.witness.venue_skews.append((0.0, plan.venue_skew))
        self.network = NetworkWorld(
            self.loop, create_app(self.exchange, API_KEY), plan, self.witness, self.context
        )
        self.disk = Disk(self.loop, plan, self.witness)
        self.clock = WallClock(self.loop, plan.desk_skew)
        self.life: Life | None = None
        self.lives = 0
        self.shown: dict[OrderId, OrderState] = {}
        self.used_quotes: dict[str, None] = {}
        self._departed: asyncio.Future[None] | None = None

    # The desk's lives

    async def start(self) -> None:
        """Start the desk on what the disk holds, as often as it takes: there is one way to start (rule 5)."""
        self.lives += 1
        name = f"desk {self.lives}"
        random = Random(f"{self.plan.seed}:{name}")
        journal = MemoryJournal(self.disk, hashed=self.plan.hashed)
        network = Network(self.network, name, self._note_departure)
        venue = Gateway(
            ExchangeApi(BASE_URL, API_KEY, transport=network, name="sandbox"), clock=self.clock, random=random
        )
        desk = Desk(
            journal=journal,
            venue=venue,
            clock=self.clock,
            random=random,
            new_id=lambda: f"{random.getrandbits(64):016x}",
            version="simulated",
            sandbox=True,
            grace=timedelta(seconds=self.plan.grace),
        )
        life = Life(name, desk, journal)
        self.life = life
        self.witness.tell(name, "starts")
        before = {OrderId(claim.order_id) for claims in self.disk.claims.values() for claim in claims}

        async def begin(desk: Desk) -> None:
            await desk.start()
            desk.feed.hook(lambda records: self._shown(life, records))
            rules.after_start(self, desk, before)

        try:
            await self._ask(life, begin)
        except Gone:
            return
        except DeskError as error:
            if journal.failed is None:
                self.witness.broken("crash_is_ordinary", f"a start failed: {error}")
            self.die()
            return
        life.ready = True

    def die(self) -> None:
        """`kill -9`, or a machine without power."""
        life, self.life = self.life, None
        if life is None:
            return
        self.witness.count("kill")
        self.witness.tell(life.process.name, "is killed")
        rules.at_death(self, life.desk)
        self.loop.kill(life.process)
        self.disk.crash()
        for request in list(life.requests):
            if not request.done():
                request.set_exception(Gone())
                request.exception()

    async def stop(self) -> None:
        """A stop that was asked for: within ten seconds, with nothing left in doubt that was not before."""
        life = self.life
        if life is None or not life.ready:
            return
        self.witness.count("stop")
        self.witness.tell(life.process.name, "is told to stop")
        began = self.loop.time()
        try:
            await self._ask(life, lambda desk: desk.stop())
        except Gone:
            return
        took = self.loop.time() - began
        rules.after_stop(self, life.desk, life.journal, took)
        self.witness.tell(life.process.name, f"has stopped after {took:.1f} s")
        if self.life is life:
            self.life = None
            for request in list(life.requests):
                if not request.done():
                    request.set_exception(Gone())
                    request.exception()
            self.loop.kill(life.process)
            self.disk.crash()

    async def ask(self, call: Callable[[Desk], Awaitable[T]], leave_after: float | None = None) -> T:
        """Have the desk do something, as its web server would; whoever asks may leave early.

        Raises what the desk raises, `Gone` when it dies meanwhile or the asker leaves.
        """
        life = self.life
        if life is None or not life.ready:
            raise Gone
        return await self._ask(life, call, leave_after)

    async def _ask(
        self, life: Life, call: Callable[[Desk], Awaitable[T]], leave_after: float | None = None
    ) -> T:
        answer: asyncio.Future[T] = self.loop.create_future()
        life.requests[answer] = None

        async def handle() -> None:
            try:
                value = await call(life.desk)
            except DeskError as error:
                if not answer.done():
                    answer.set_exception(error)
            except Exception as error:  # noqa: BLE001 - a 500 for whoever asked, and a finding for us
                self.witness.broken(rules.NO_SURPRISES, f"a verb raised {error!r}")
                if not answer.done():
                    answer.set_exception(Gone())
            else:
                if not answer.done():
                    answer.set_result(value)

        task = self.loop.create_task(handle(), context=life.process.context())
        if leave_after is not None:
            self.loop.call_later(leave_after, self._leave, task, answer, context=self.context)
        try:
            return await answer
        finally:
            life.requests.pop(answer, None)

    def _leave(self, task: asyncio.Task[None], answer: asyncio.Future[Any]) -> None:
        if not task.done():
            self.witness.count("caller left")
            task.cancel()
        if not answer.done():
            answer.set_exception(Gone())

    # What is watched along the run

    def _note_departure(self, departure: Departure) -> None:
        rules.at_departure(self, departure)
        self.witness.departures.append(departure)
        if self._departed is not None and (departure.in_trouble or self.random.random() < 0.3):
            departed, self._departed = self._departed, None
            departed.set_result(None)

    def _shown(self, life: Life, records: Sequence[Recorded]) -> None:
        rules.when_shown(self, life.desk, records)

    # The run

    async def run(self) -> None:
        """Live through the plan, then heal everything and wait until nothing is open."""
        from simulation.people import Crowd

        crowd = Crowd(self)
        await self.start()
        troubles = [self.loop.create_task(self._trouble(at, what)) for at, what in self._troubles()]
        people = crowd.go()
        await asyncio.gather(*people, *troubles)
        await asyncio.sleep(max(0.0, self.plan.storm - self.loop.time()))
        crowd.end()
        self.network.calm = True
        self.disk.fail_next = False
        self.witness.tell("world", "the faults are over")
        healed = self.loop.time()
        for _ in range(3):
            if self.life is None or self.life.journal.failed is not None:
                self.die()
                await self.start()
        await self._quiet(healed)

    async def _quiet(self, healed: float) -> None:
        """Wait until nothing is open at either side and every list has been looked through since."""
        settled_at: float | None = None
        while self.loop.time() < healed + RESOLVED_WITHIN:
            await asyncio.sleep(15.0)
            if self._open():
                settled_at = None
                rules.when_waiting(self, healed)
                continue
            if settled_at is None:
                settled_at = self.loop.time()
            heard = self.loop.time() - HEARD_WITHIN
            read = {shown.user_id for shown in self.witness.lists if settled_at < shown.asked < heard}
            if read >= self.exchange.users.keys():
                return
        self.witness.broken("nothing_left_open", self._open() or "the lists are not looked through any more")

    def _open(self) -> str:
        """What is not over yet, in words; empty when all is."""
        if self.network.under_way:
            return "a request is still on its way"
        if self.life is None:
            return "the desk is not there"
        now = self.exchange.now()
        for order in self.exchange.orders.values():
            if order.life[-1][0] > now:
                return f"the venue's order {order.id} has not come to rest"
        for order in self.life.desk.books.orders:
            if order.state.settled:
                continue
            venue = self.exchange.orders.get(order.venue_order_id or "")
            if order.state is OrderState.PENDING and venue and venue.status(now) == "pending":
                continue  # it un-settled, and stays so
            return f"order {order.id} is {order.state}"
        return ""

    def _troubles(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        plan, random = self.plan, self.random
        made: list[tuple[float, Callable[[], Awaitable[None]]]] = []
        for count, what in (
            (plan.kills, self._kill),
            (plan.stops, self._stop_and_start),
            (plan.disk_failures, self._fail_disk),
            (plan.venue_restarts, self._restart_venue),
            (plan.venue_jumps, self._set_venue_clock),
            (plan.desk_jumps, self._set_desk_clock),
            (plan.elsewhere, self._order_elsewhere),
        ):
            made += [(random.uniform(5.0, plan.active), what) for _ in range(count)]
        return made

    async def _trouble(self, at: float, what: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(at)
        await what()

    async def _kill(self) -> None:
        """Kill the desk between two steps of its, a few steps after an order left when one does soon."""
        if self.random.random() < 0.7:
            await self._next_departure()
        died = self.loop.create_future()

        def strike() -> None:
            self.die()
            if not died.done():
                died.set_result(None)

        self.loop.at_step(self.loop.steps + self.random.randint(1, 60), strike)
        await asyncio.wait({died}, timeout=30.0)
        self.loop.at_step(-1, strike)
        await self._start_again()

    async def _next_departure(self) -> None:
        """Wait until an order has left, rather one that is in for trouble; at most 50 seconds."""
        self._departed = self._departed or self.loop.create_future()
        await asyncio.wait({self._departed}, timeout=50.0)

    async def _stop_and_start(self) -> None:
        if self.random.random() < 0.8:
            await self._next_departure()
        await self.stop()
        await self._start_again()

    async def _fail_disk(self) -> None:
        """The disk fails once; somebody notices after a while and starts the desk again."""
        self.disk.fail_next = True
        await asyncio.sleep(self.random.uniform(1.0, 60.0))
        self.disk.fail_next = False
        if self.life is not None and self.life.journal.failed is not None:
            if self.random.random() < 0.5:
                self.die()
            else:
                await self.stop()
        await self._start_again()

    async def _start_again(self) -> None:
        await asyncio.sleep(self.random.choice((0.0, 0.5, 5.0, 40.0)))
        if self.life is None:
            await self.start()

    async def _restart_venue(self) -> None:
        self.network.restart_venue(self.random.choice((0.0, 1.0, 20.0)))

    async def _set_venue_clock(self) -> None:
        skew = self.exchange.settings.skew_seconds + self.random.uniform(-MAX_JUMP, MAX_JUMP)
        self.exchange.configure({"skew_seconds": skew})
        self.witness.venue_skews.append((self.loop.time(), skew))
        self.witness.tell("venue", f"has its clock set: {skew:+.1f} s from the true time")

    async def _set_desk_clock(self) -> None:
        if self.random.random() < 0.7:
            await self._next_departure()
            await asyncio.sleep(self.random.uniform(0.0, 8.0))
        self.clock.skew = self.random.choice((0.0, 31.0, -31.0, 500.0, -500.0))
        self.witness.tell("desk", f"machine has its clock set: {self.clock.skew:+.1f} s from the true time")

    async def _order_elsewhere(self) -> None:
        """Another program orders at the venue: on a quote of its own, or on one that the desk shows."""
        random, exchange = self.random, self.exchange
        quotes = list(exchange.quotes)
        mine = not quotes or random.random() < 0.4
        user = random.choice(list(exchange.users))
        force = self.plan.contradictions and random.random() < 0.7
        try:
            order = exchange.place_elsewhere(user, "7", None if mine else random.choice(quotes), force=force)
        except Refusal:
            return
        self.witness.tell(
            "elsewhere", f"order {order.id} on {order.quote_id} for {user}{' by force' * force}"
        )
