"""The people and programs who use the desk, each with habits of their own and all at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from parallax.domain.entities import Order, Quote
from parallax.domain.errors import (
    DeskError,
    DeskPaused,
    KeyReused,
    NotFound,
    QuoteExpired,
    QuoteTaken,
    VenueUnavailable,
)
from parallax.domain.identity import QuoteId, UserId
from parallax.domain.money import Money, parse_amount
from parallax.domain.transitions import OrderState
from parallax.ports.journal import OrderQuery
from simulation import rules
from simulation.disk import SLOWEST_SYNC
from simulation.world import Gone

if TYPE_CHECKING:
    from simulation.world import World

AMOUNTS: Final = {
    0: ("1", "10", "1999", "100000000000001"),
    2: ("0.01", "1.08", "10.00", "100.50", "33.33", "1234567.89", "123456789012345.67"),
    3: ("0.001", "1.005", "12.345", "98765432109876.543"),
}
"""By the currency's decimals: ordinary amounts, and those on which a float or a second rounding shows."""


class Crowd:
    """Everyone, and what they do next."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.plan.seed}:people")
        self._losses = Random(f"{world.plan.seed}:losses")
        self._keys = 0
        self._quotes = 0
        self._known: list[Quote] = []
        self._over: dict[str, None] = {}
        self._errands: list[asyncio.Task[None]] = []

    def go(self) -> list[asyncio.Task[None]]:
        """Set everyone going; each ends when the active time is over."""
        return [
            self._world.loop.create_task(self._work(f"person {number}"))
            for number in range(self._world.plan.operators)
        ]

    def end(self) -> None:
        """Everyone goes home."""
        for errand in self._errands:
            errand.cancel()

    async def _work(self, who: str) -> None:
        loop, plan, random = self._world.loop, self._world.plan, self._random
        while loop.time() < plan.active:
            await asyncio.sleep(random.choice((0.5, 10.0, 30.0, 60.0)) * random.random())
            if self._world.life is None:
                await asyncio.sleep(3.0)
                continue
            await self._act(who)

    async def _act(self, who: str) -> None:
        draw = self._random.random()
        fresh = [quote for quote in self._known if quote.id not in self._over]
        if self._quotes < self._world.plan.quotes and (not fresh or draw < 0.3):
            quote = await self._request_quote(who)
            if quote is not None and self._random.random() < 0.6:
                await self._execute(who, quote)
        elif draw > 0.92:
            await self._operate(who)
        elif draw > 0.84:
            await self._look()
        elif fresh:
            quote = self._random.choice(fresh)
            if draw < 0.55:
                await self._execute(who, quote)
            elif draw < 0.7:
                await self._rush(who, quote)
            else:
                await self._wait_for_the_last_moment(who, quote)
        elif self._known and draw < 0.2:
            await self._execute(who, self._random.choice(self._known))

    # Doing

    async def _request_quote(self, who: str) -> Quote | None:
        self._quotes += 1
        try:
            quote = await self._world.ask(lambda desk: desk.request_quote(who), self._patience())
        except (Gone, DeskError):
            return None
        rules.when_quoted(self._world, quote)
        self._known.append(quote)
        return quote

    async def _execute(self, who: str, quote: Quote, times: int = 1) -> None:
        """Press the button, perhaps again when the answer is not liked."""
        random, world = self._random, self._world
        user_id = UserId(random.choice(list(world.exchange.users)))
        amount = parse_amount(
            random.choice(AMOUNTS[quote.rate.from_currency.digits]), quote.rate.from_currency
        )
        world.witness.tell(who, f"executes {quote.id} for {user_id}: {amount.wire} {amount.currency}")
        began = world.loop.time()
        key = self._key(who)
        try:
            order = await self._ask_for_order(quote.id, user_id, amount, key or who, key)
            if key and self._losses.random() < 0.15:
                raise Gone  # noqa: TRY301 - the answer is lost on its way to the person
        except Gone:
            world.witness.tell(who, "has left, or was cut off")
            if key:
                self._errands.append(world.loop.create_task(self._find_out(who, key, quote, user_id, amount)))
            return
        except QuoteExpired:
            rules.when_told_expired(world, quote, began)
            self._over[quote.id] = None
        except DeskPaused:
            await self._resume(who)
        except DeskError as error:
            world.witness.tell(who, f"is told {error.code}: {error.words}")
            if isinstance(error, QuoteTaken):
                world.witness.count("quote taken")
                self._over[quote.id] = None
        else:
            world.witness.tell(who, f"is told that order {order.id} is {order.state} {order.reasons or ''}")
            rules.when_told(world, order)
            if order.state in (OrderState.PENDING, OrderState.UNKNOWN) and random.random() < 0.7:
                self._errands.append(world.loop.create_task(self._keep_looking(quote, order)))
            if order.user_id != user_id:
                world.witness.broken(
                    "own_orders_only", f"{who} was answered with another user's order {order.id}"
                )
        if times < 3 and quote.id not in self._over and random.random() < 0.4:
            await self._execute(who, quote, times + 1)

    async def _ask_for_order(
        self, quote_id: QuoteId, user_id: UserId, amount: Money, by: str, key: str
    ) -> Order:
        return await self._world.ask(
            lambda desk: desk.execute(quote_id, user_id, amount, by, key=key), self._patience()
        )

    async def _find_out(self, who: str, key: str, quote: Quote, user_id: UserId, amount: Money) -> None:
        """After a lost answer: ask by the key, or send the same again under it, also on another quote."""
        world, random = self._world, self._losses
        world.witness.count("answer lost to its owner")
        for _ in range(random.randint(1, 5)):
            await asyncio.sleep(random.choice((0.0, 0.1, 5.0, 40.0)) * random.random())
            if random.random() < 0.4:
                try:
                    known = await world.ask(lambda desk: desk.order_by_key(key))
                except (Gone, DeskError):
                    continue
                world.witness.tell(who, f"asks by key and is told of {known and known.id}")
                rules.when_asked_by_key(world, key, known)
                # Nothing of theirs is on its way: what is not there now must not turn up later.
                await asyncio.sleep(SLOWEST_SYNC)
                if known is None:
                    rules.when_asked_by_key(world, key, None)
                continue
            alike = [one for one in self._known if one.rate.from_currency == quote.rate.from_currency]
            others = [random.choice(alike) for _ in range(random.randint(0, 2))]
            await asyncio.gather(
                *(self._again(who, key, one, user_id, amount) for one in (quote, *others)[-2:])
            )

    async def _again(self, who: str, key: str, quote: Quote, user_id: UserId, amount: Money) -> None:
        """Send an order once more under its key."""
        world = self._world
        world.witness.tell(who, f"sends again under {key}: {quote.id}")
        try:
            order = await self._ask_for_order(quote.id, user_id, amount, key, key)
        except (QuoteTaken, KeyReused) as error:
            rules.when_turned_away(world, key, error)
        except (Gone, DeskError):
            return
        else:
            rules.when_told(world, order)
            rules.when_asked_by_key(world, key, order)

    async def _rush(self, who: str, quote: Quote) -> None:
        """Several tabs and programs press at the same instant."""
        count = self._random.randint(2, 5)
        await asyncio.gather(*(self._execute(f"{who}/{tab}", quote) for tab in range(count)))

    async def _wait_for_the_last_moment(self, who: str, quote: Quote) -> None:
        """Press around the very end of a quote, by the venue's clock."""
        venue = self._world.exchange.quotes.get(quote.id)
        if venue is None:
            return
        wanted = venue.created_at + timedelta(seconds=300.0 + self._random.uniform(-14.0, 3.0))
        wait = (wanted - self._world.exchange.venue_now()).total_seconds()
        if 0 < wait < 320:
            await asyncio.sleep(wait)
            await self._execute(who, quote)

    async def _look(self) -> None:
        """Open the pages: a user's orders, somebody else's order, a deep link."""
        world, random = self._world, self._random
        users = [UserId(user) for user in world.exchange.users]
        user_id = random.choice(users)
        try:
            await world.ask(lambda desk: desk.know_orders(user_id), self._patience())
            page = await world.ask(lambda desk: desk.orders(OrderQuery(user_id=user_id), 0, 50))
        except (Gone, DeskError):
            return
        rules.when_listed(world, user_id, page.items)
        if world.life is not None:
            rules.when_listed(world, user_id, world.life.desk.books.orders_of(user_id))
        if world.exchange.orders:
            await self._follow_link(random.choice(list(world.exchange.orders)), random.choice(users))

    async def _follow_link(self, venue_order_id: str, user_id: UserId) -> None:
        """Ask for an order under a user, rightly or not (rule 6)."""
        world = self._world
        try:
            order = await world.ask(lambda desk: desk.order(venue_order_id, user_id))  # type: ignore[arg-type]
        except NotFound:
            return
        except (Gone, DeskError):
            return
        rules.when_listed(world, user_id, [order])

    async def _keep_looking(self, quote: Quote, order: Order) -> None:
        """Refresh the list again and again: when the order may have settled, or when its absence may be proven."""
        world, random = self._world, self._random
        if order.state is OrderState.PENDING:
            await asyncio.sleep(random.uniform(1.0, 8.0))
        else:
            end = quote.expires_at + timedelta(seconds=world.plan.grace + random.uniform(-10.0, 10.0))
            await asyncio.sleep(max(0.0, (end - world.exchange.venue_now()).total_seconds()))
        for _ in range(3):
            try:
                await world.ask(
                    lambda desk: desk.refresh("orders", order.user_id), random.choice((None, 2.0))
                )
            except (Gone, DeskError):
                world.witness.count("refresh refused")
            await asyncio.sleep(random.uniform(5.0, 8.0))

    async def _operate(self, who: str) -> None:
        """Refresh, pause and resume, resolve an incident."""
        world, random = self._world, self._random
        what = random.random()
        try:
            if what < 0.4:
                await world.ask(lambda desk: desk.refresh(random.choice(("users", "quotes"))))
            elif what < 0.7:
                user_id = UserId(random.choice(list(world.exchange.users)))
                await world.ask(lambda desk: desk.refresh("orders", user_id))
            elif what < 0.85:
                await world.ask(lambda desk: desk.pause("a drill", who))
                await asyncio.sleep(random.uniform(0.0, 5.0))
                await world.ask(lambda desk: desk.resume(who))
            elif world.life is not None and (incidents := world.life.desk.books.open_incidents()):
                incident = random.choice(incidents)
                await world.ask(lambda desk: desk.resolve_incident(incident.id, who, "seen"))
        except (Gone, VenueUnavailable, DeskPaused, DeskError):
            return

    async def _resume(self, who: str) -> None:
        """Somebody paused the desk and died with it."""
        try:
            await self._world.ask(lambda desk: desk.resume(who))
        except (Gone, DeskError):
            return

    # Choosing

    def _key(self, who: str) -> str:
        """The key of one intention; a few people use none."""
        self._keys += 1
        return f"{who} key {self._keys}" if self._losses.random() < 0.8 else ""

    def _patience(self) -> float | None:
        """When this person leaves before the answer: mostly never, else at once or within seconds."""
        draw = self._random.random()
        if draw < 0.8:
            return None
        return self._random.choice((0.0, 0.002, 0.02, 0.3, 5.0)) * self._random.random() * 2
