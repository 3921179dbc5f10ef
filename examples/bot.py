"""A bot that sells an amount in slices: a quote and an order each, under a rate limit of its own.

    python examples/bot.py http://localhost:4000 user1@example.com --slices 5 --amount 20.00 --per-second 2

The desk has a budget of calls to the exchange; a bot that keeps below a limit of its own leaves room for people. What
an order came to is believed only when the desk says so: an order without an answer is looked for, never sent again.
"""

from __future__ import annotations

import argparse
import asyncio
from decimal import Decimal

from aiolimiter import AsyncLimiter

import parallax


async def executed(
    desk: parallax.AsyncClient, quote: parallax.Quote, user: parallax.User, amount: Decimal
) -> parallax.Order:
    """The order as the exchange took it; one without an answer is looked for."""
    try:
        return await desk.execute(quote, user, amount)
    except parallax.OrderUnknown as unknown:
        return await unknown.resolve()


async def sell(
    desk: parallax.AsyncClient, user: parallax.User, slices: int, amount: Decimal, limiter: AsyncLimiter
) -> list[parallax.Order]:
    """Sell `slices` times `amount`, a few at the same time, and return the settled orders."""

    async def one() -> parallax.Order | None:
        async with limiter:
            try:
                quote = await desk.request_quote()
                order = await executed(desk, quote, user, amount)
            except parallax.OrderUnknown as unknown:
                print(f"perhaps sold: {unknown}")
                return None
            except parallax.DeskError as error:
                print(f"not sold: {error}")  # nothing was exchanged: that is certain
                return None
        try:
            return await desk.settled(order)
        except (TimeoutError, parallax.DeskError) as error:
            print(f"perhaps sold: {error}")
            return None

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one()) for _ in range(slices)]
    return [order for task in started if (order := task.result()) is not None]


async def main() -> int:
    """Run the bot once; gives its exit status."""
    parser = argparse.ArgumentParser(description="Sell an amount in slices.")
    parser.add_argument("url", help="the desk's address")
    parser.add_argument("user", help="whose money: an e-mail address")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--amount", type=Decimal, default=Decimal("20.00"), help="of each slice")
    parser.add_argument("--per-second", type=float, default=2.0, help="slices begun in a second at most")
    given = parser.parse_args()
    async with parallax.AsyncClient(given.url) as desk:
        user = next((user for user in await desk.users() if user.email == given.user), None)
        if user is None:
            raise SystemExit(f"bot: there is no user {given.user}")
        limiter = AsyncLimiter(1, 1 / given.per_second)
        orders = await sell(desk, user, given.slices, given.amount, limiter)
    done = [order for order in orders if order.state is parallax.OrderState.COMPLETED]
    bought = sum((order.result.amount for order in done if order.result), Decimal(0))
    print(f"{len(done)} of {given.slices} slices sold, for {bought} in all")
    return 0 if len(done) == given.slices else 1


if __name__ == "__main__":
    trouble = ""
    try:
        raise SystemExit(asyncio.run(main()))
    except* parallax.DeskError as errors:
        trouble = f"bot: {errors.exceptions[0]}"
    raise SystemExit(trouble)
