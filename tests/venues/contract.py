"""What every `Venue` must do, whatever stands behind it. An adapter is proven by passing this.

Subclass `VenueContract` in a test module and give it a fixture `world`: a venue that is well, and a hand that can
make trouble behind it. A venue without such a hand can take the first half alone (`VenueContractQuiet`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from parallax.domain.errors import NotFound, QuoteExpired, VenueUnavailable
from parallax.domain.identity import UserId, VenueOrderId
from parallax.ports.venue import (
    Accepted,
    OrderRequest,
    Outcome,
    Purpose,
    Refused,
    Unknown,
    Venue,
    VenueHealth,
    VenueOrder,
    VenueOrderStatus,
    VenueQuote,
)


class Hand(Protocol):
    """Trouble behind the venue, on request."""

    async def trouble(self, fault: str, on: str, **params: object) -> None:
        """Let the next call of a kind (`users`, `quotes`, `quote_create`, `orders`, `order`, `order_create`) fail:
        `close`, `hang`, `status`, `cut_off`, `not_json` or `rate_limited`, with the sandbox's parameters."""
        ...

    async def settle(self) -> None:
        """Let every pending order settle now."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    venue: Venue
    hand: Hand


async def place(
    venue: Venue,
    quote: VenueQuote,
    user_id: UserId,
    amount: str = "100.00",
    last_check: Callable[[], None] = lambda: None,
) -> Outcome:
    return await venue.place_order(
        OrderRequest(quote.id, user_id, amount),
        before=venue.arrival() + timedelta(seconds=30),
        last_check=last_check,
    )


async def a_user(venue: Venue) -> UserId:
    return (await venue.users())[0].id


async def on_quote(venue: Venue, user_id: UserId, quote: VenueQuote) -> list[VenueOrder]:
    orders = await venue.orders(user_id, Purpose.RESOLVE)
    return [order for order in orders if order.quote_id == quote.id]


class VenueContractQuiet:
    """What holds when nothing goes wrong."""

    async def test_users_are_distinct_and_named(self, world: World) -> None:
        users = await world.venue.users()
        assert users
        assert len({user.id for user in users}) == len(users)
        assert all(user.name and user.email for user in users)

    async def test_a_new_quote_is_fresh_by_the_venues_clock_and_listed(self, world: World) -> None:
        venue = world.venue
        quote = await venue.request_quote()
        age = venue.clock.now() - quote.created_at
        assert -venue.clock.uncertainty <= age <= timedelta(seconds=5) + venue.clock.uncertainty
        assert quote.created_at.tzinfo is UTC
        assert quote in await venue.quotes()

    async def test_quotes_are_each_their_own(self, world: World) -> None:
        quotes = [await world.venue.request_quote() for _ in range(3)]
        assert len({quote.id for quote in quotes}) == 3

    async def test_an_order_is_accepted_listed_and_found(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        outcome = await place(venue, quote, user_id, "1234.56")
        assert isinstance(outcome, Accepted)
        order = outcome.order
        assert (order.quote_id, order.user_id, order.amount) == (quote.id, user_id, "1234.56")
        assert [found.id for found in await on_quote(venue, user_id, quote)] == [order.id]
        assert (await venue.order(order.id, Purpose.FOLLOW)).quote_id == quote.id

    async def test_an_order_is_listed_for_its_user_alone(self, world: World) -> None:
        venue = world.venue
        users = [user.id for user in await venue.users()]
        quote = await venue.request_quote()
        assert isinstance(await place(venue, quote, users[0]), Accepted)
        for other in users[1:]:
            assert await on_quote(venue, other, quote) == []

    async def test_a_second_order_on_a_quote_is_a_doubted_refusal_with_reasons(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        assert isinstance(await place(venue, quote, user_id), Accepted)
        outcome = await place(venue, quote, user_id)
        assert isinstance(outcome, Refused)
        assert outcome.reasons
        assert not outcome.leaves_quote_usable
        assert len(await on_quote(venue, user_id, quote)) == 1

    async def test_an_amount_that_is_refused_leaves_the_quote_usable(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        outcome = await place(venue, quote, user_id, "0")
        assert isinstance(outcome, Refused)
        assert outcome.about_amount
        assert outcome.leaves_quote_usable
        assert isinstance(await place(venue, quote, user_id, "5"), Accepted)

    async def test_an_order_that_nobody_has_placed_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            await world.venue.order(VenueOrderId("00000000-0000-4000-8000-000000000000"), Purpose.FOLLOW)

    async def test_a_last_check_that_says_no_sends_nothing(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()

        def too_late() -> None:
            raise QuoteExpired

        with pytest.raises(QuoteExpired):
            await place(venue, quote, user_id, last_check=too_late)
        assert await on_quote(venue, user_id, quote) == []

    async def test_the_last_check_is_made_once(self, world: World) -> None:
        venue = world.venue
        checks: list[int] = []
        await place(venue, await venue.request_quote(), await a_user(venue), "5", lambda: checks.append(1))
        assert checks == [1]

    async def test_of_many_orders_on_one_quote_one_is_accepted(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        outcomes = await asyncio.gather(*(place(venue, quote, user_id) for _ in range(10)))
        assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 9

    async def test_it_tells_its_name_its_health_and_its_margin(self, world: World) -> None:
        venue = world.venue
        await venue.users()
        assert venue.name
        assert venue.status.health is VenueHealth.WELL
        assert venue.status.since.tzinfo is not None
        assert timedelta() < venue.send_margin <= timedelta(seconds=10)
        assert abs(venue.clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    async def test_after_closing_everything_is_refused(self, world: World) -> None:
        venue = world.venue
        quote, user_id = await venue.request_quote(), await a_user(venue)
        await venue.close()
        for refused in (venue.users(), venue.request_quote(), place(venue, quote, user_id)):
            with pytest.raises(VenueUnavailable):
                await refused


class VenueContract(VenueContractQuiet):
    """What holds in trouble too."""

    async def test_orders_settle(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        outcome = await place(venue, quote, user_id)
        assert isinstance(outcome, Accepted)
        await world.hand.settle()
        settled = await venue.order(outcome.order.id, Purpose.FOLLOW)
        assert settled.status in (VenueOrderStatus.COMPLETED, VenueOrderStatus.FAILED)

    @pytest.mark.parametrize(
        ("fault", "params", "arrived"),
        [
            ("close", {"when": "after"}, True),
            ("close", {"when": "before"}, False),
            ("status", {"status": 503, "when": "after"}, True),
            ("status", {"status": 502, "when": "before"}, False),
            ("status", {"status": 408, "when": "after"}, True),
            ("cut_off", {}, True),
            ("not_json", {}, True),
            ("hang", {"when": "after"}, True),
            ("hang", {"when": "before"}, False),
        ],
    )
    async def test_an_order_without_a_clear_answer_is_unknown_and_was_sent_once(
        self, world: World, fault: str, params: dict[str, object], arrived: bool
    ) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        await world.hand.trouble(fault, "order_create", **params)
        outcome = await place(venue, quote, user_id)
        assert isinstance(outcome, Unknown)
        assert outcome.cause
        assert len(await on_quote(venue, user_id, quote)) == int(arrived)

    async def test_a_request_doubled_on_its_way_is_never_believed_to_be_refused(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        await world.hand.trouble("duplicate", "order_create")
        outcome = await place(venue, quote, user_id)
        assert isinstance(outcome, Refused)
        assert not outcome.leaves_quote_usable
        assert len(await on_quote(venue, user_id, quote)) == 1

    @pytest.mark.parametrize("fault", ["close", "status", "not_json", "cut_off"])
    async def test_a_list_that_could_not_be_read_is_an_error_and_never_empty(
        self, world: World, fault: str
    ) -> None:
        user_id = await a_user(world.venue)
        await world.hand.trouble(fault, "orders")
        with pytest.raises(VenueUnavailable):
            await world.venue.orders(user_id, Purpose.RESOLVE)

    async def test_too_many_calls_pause_everyone(self, world: World) -> None:
        venue = world.venue
        user_id, quote = await a_user(venue), await venue.request_quote()
        await world.hand.trouble("rate_limited", "order_create", retry_after=60)
        outcome = await place(venue, quote, user_id)
        assert isinstance(outcome, Refused)
        assert outcome.leaves_quote_usable
        assert venue.status.health is VenueHealth.LIMITED
        assert venue.status.retry_at is not None
        with pytest.raises(VenueUnavailable):
            await venue.request_quote()
