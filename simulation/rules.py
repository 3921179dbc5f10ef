"""What must hold along the run, checked at the moment: when a request leaves, a fact is shown, an answer is given.

Names are those of docs/guarantees.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from parallax.desk.desk import Desk
from parallax.domain.entities import Order, Quote
from parallax.domain.errors import KeyReused, QuoteTaken
from parallax.domain.facts import OrderClaimed
from parallax.domain.identity import OrderId, UserId
from parallax.domain.transitions import QuoteState
from parallax.journal.memory import MemoryJournal
from parallax.ports.journal import Recorded
from simulation.disk import SLOWEST_SYNC
from simulation.life import LATER, NEVER_PLACED, S
from simulation.witness import Departure

if TYPE_CHECKING:
    from simulation.world import World

CLAIM_FIRST: Final = "claim_first"
SENT_ONCE: Final = "sent_once"
UNKNOWN_IS_NOT_FAILED: Final = "unknown_is_not_failed"
FORWARD_ONLY: Final = "forward_only"
CRASH_IS_ORDINARY: Final = "crash_is_ordinary"
OWN_ORDERS_ONLY: Final = "own_orders_only"
OWN_ORDER_BY_KEY: Final = "own_order_by_key"
MONEY_IS_EXACT: Final = "money_is_exact"
VENUE_CLOCK: Final = "venue_clock"
NOTHING_LOST_OR_INVENTED: Final = "nothing_lost_or_invented"
NOTHING_LEFT_OPEN: Final = "nothing_left_open"
INCIDENTS_ARE_TRUE: Final = "incidents_are_true"
STATE_IS_THE_FOLD: Final = "state_is_the_fold"
NO_SURPRISES: Final = "no_surprises"

VALIDITY: Final = timedelta(minutes=5)
"""How long the venue honours a quote, by its own clock."""

LONGEST_MARGIN: Final = 15.0
"""Seconds before a quote's end from which the desk may say that it is too late: its margin is at most 10, and its idea
of the venue's clock is off by a second or two."""

LONGEST_LOOK_GAP: Final = 130.0
"""Seconds between two looks at a user's unsettled orders while nothing is wrong: gaps grow to a minute, and a pause
that was asked for before may still run. It is less than the sweeps alone would take."""

STOP_WITHIN: Final = 10.0
"""Seconds in which a desk that is told to stop is gone, its disk permitting."""


def at_departure(world: World, departure: Departure) -> None:
    """An order request leaves the desk at this instant."""
    witness, disk = world.witness, world.disk
    claims = [
        claim for claim in disk.claims.get(departure.quote_id, []) if claim.order_id not in disk.given_up
    ]
    witness.expect(
        claims, CLAIM_FIRST, f"an order on {departure.quote_id} leaves and no claim is on the disk"
    )
    if claims:
        departure.order_id = claims[-1].order_id
        same = (claims[-1].user_id, claims[-1].amount) == (departure.user_id, departure.amount)
        witness.expect(same, CLAIM_FIRST, f"order {departure.order_id} leaves and is not what was claimed")
    for earlier in witness.departures:
        if earlier.quote_id == departure.quote_id:
            freed = earlier.refused and earlier.order_id in disk.given_up
            words = f"a second request on {departure.quote_id}; the first was answered {earlier.answered or 'not'}"
            witness.expect(freed, SENT_ONCE, words)
    life = world.life
    stopping = life is None or life.desk.status.stopping
    witness.expect(
        not stopping, SENT_ONCE, f"an order on {departure.quote_id} leaves a desk that is stopping"
    )
    quote = world.exchange.quotes[departure.quote_id]
    slack = timedelta(seconds=witness.unheard(departure.at))
    late = world.exchange.venue_now() - quote.created_at - VALIDITY
    witness.expect(
        late < slack, VENUE_CLOCK, f"an order on {departure.quote_id} leaves {late} after the quote's end"
    )


def _durable(world: World, order: Order) -> None:
    there = order.id in world.disk.states
    world.witness.expect(there, CRASH_IS_ORDINARY, f"order {order.id} is shown and would not survive a crash")


def when_shown(world: World, desk: Desk, records: Sequence[Recorded]) -> None:
    """Facts are told to everyone: they must be on the disk, and lead forward."""
    facts = world.disk.facts
    for record in records:
        stored = facts[record.position - 1] if 0 < record.position <= len(facts) else None
        durable = stored is record.fact or stored == record.fact
        if not durable:
            words = f"fact {record.position} is shown and would not survive a crash"
            world.witness.broken(CRASH_IS_ORDINARY, words)
        if (moved := record.change.order) is not None and (order := desk.books.order(moved.id)):
            _seen(world, order)
        if (priced := record.change.quote) is not None and (quote := desk.books.quote(priced.id)):
            _seen_quote(world, quote)
        for listed in record.change.listed:
            if (quote := desk.books.quote(listed.id)) is not None:
                _seen_quote(world, quote)


def _seen(world: World, order: Order) -> None:
    before = world.shown.get(order.id)
    world.shown[order.id] = order.state
    if before is not None and before is not order.state:
        world.witness.expect(
            order.state in LATER[before],
            FORWARD_ONLY,
            f"order {order.id} was shown as {before} and now as {order.state}",
        )


def _seen_quote(world: World, quote: Quote) -> None:
    if quote.state is QuoteState.EXECUTED:
        world.used_quotes[quote.id] = None
    elif quote.id in world.used_quotes:
        world.witness.broken(FORWARD_ONLY, f"quote {quote.id} was executed and is now {quote.state}")


def at_death(world: World, desk: Desk) -> None:
    """The desk dies at this instant: whatever its pages could have shown must be on the disk."""
    for order in desk.books.orders:
        _durable(world, order)
        stored = world.disk.states.get(order.id)
        if stored is not None and world.witness.disk_failures and stored in LATER[order.state]:
            continue  # a disk that failed may have kept what it said it had not
        words = f"order {order.id} is shown as {order.state} and is {stored} on the disk"
        world.witness.expect(order.state is stored, CRASH_IS_ORDINARY, words)


def after_start(world: World, desk: Desk, claimed: Iterable[OrderId]) -> None:
    """The desk has started on a journal that holds these claims."""
    witness = world.witness
    for order_id in claimed:
        order = desk.books.order(order_id)
        witness.expect(order, CRASH_IS_ORDINARY, f"order {order_id} is gone after a start")
        if order is not None:
            open_still = order.state in (S.CLAIMED, S.SENT)
            witness.expect(
                not open_still,
                CRASH_IS_ORDINARY,
                f"order {order_id} is {order.state} after a start, not unknown",
            )
    for order_id in list(world.shown):
        order = desk.books.order(order_id)
        witness.expect(order, CRASH_IS_ORDINARY, f"order {order_id} was shown and is gone after a start")
        if order is not None:
            _seen(world, order)
    for quote in desk.books.quotes:
        _seen_quote(world, quote)


def after_stop(world: World, desk: Desk, journal: MemoryJournal, took: float) -> None:
    """The desk was told to stop, and has."""
    slack = 3 * SLOWEST_SYNC if world.plan.slow_disk else 0.5
    world.witness.expect(took <= STOP_WITHIN + slack, CRASH_IS_ORDINARY, f"a stop took {took:.1f} s")
    if journal.failed is None:
        for order in desk.books.orders:
            undecided = order.state in (S.CLAIMED, S.SENT)
            world.witness.expect(
                not undecided,
                UNKNOWN_IS_NOT_FAILED,
                f"order {order.id} is {order.state} after an orderly stop",
            )


def when_quoted(world: World, quote: Quote) -> None:
    """Somebody was given a quote."""
    venue = world.exchange.quotes.get(quote.id)
    same = venue is not None and (
        quote.rate.wire,
        quote.rate.from_currency.code.lower(),
        quote.rate.to_currency.code.lower(),
    ) == (venue.rate, venue.from_currency, venue.to_currency)
    world.witness.expect(same, MONEY_IS_EXACT, f"quote {quote.id} is not what the venue gave")


def when_told(world: World, order: Order) -> None:
    """Somebody was told what became of an order."""
    witness = world.witness
    _durable(world, order)
    _seen(world, order)
    if order.state in NEVER_PLACED:
        made = [d.made for d in witness.departures if d.order_id == order.id and d.made]
        doubled = [one for one in world.exchange.orders.values() if one.quote_id == order.quote_id]
        witness.expect(
            not made or len(doubled) > 1,  # such a venue breaks assumption 1: judged at the end
            UNKNOWN_IS_NOT_FAILED,
            f"order {order.id} was reported as {order.state} and is {made} at the venue",
        )
    if order.state is S.FAILED:
        venue = world.exchange.orders.get(order.venue_order_id or "")
        failed = venue is not None and any(status == "failed" for _, status in venue.life)
        witness.expect(
            failed, UNKNOWN_IS_NOT_FAILED, f"order {order.id} was reported as failed and never did"
        )


def when_waiting(world: World, healed: float) -> None:
    """Nothing is wrong any more: whose orders are open is looked at again and again."""
    if world.life is None:
        return
    for user_id in world.life.desk.books.users_with_open_orders():
        asked = [shown.asked for shown in world.witness.lists if shown.user_id == user_id]
        waited = world.loop.time() - max([healed, *asked])
        world.witness.expect(
            waited < LONGEST_LOOK_GAP,
            NOTHING_LEFT_OPEN,
            f"nobody has looked at {user_id}'s orders for {waited:.0f} s",
        )


def when_told_expired(world: World, quote: Quote, began: float) -> None:
    """Somebody was told that it is too late for a quote."""
    venue = world.exchange.quotes[quote.id]
    left = (venue.created_at + VALIDITY - world.exchange.venue_now()).total_seconds()
    slack = world.witness.unheard(began)
    world.witness.expect(
        left < LONGEST_MARGIN + slack,
        VENUE_CLOCK,
        f"quote {quote.id} was called expired {left:.1f} s before its end",
    )


def when_listed(world: World, user_id: UserId, orders: Iterable[Order]) -> None:
    """Somebody was shown a user's orders."""
    for order in orders:
        _durable(world, order)
        venue = world.exchange.orders.get(order.venue_order_id or "")
        owner = venue.user_id if venue is not None else order.user_id
        world.witness.expect(
            order.user_id == user_id == owner,
            OWN_ORDERS_ONLY,
            f"user {user_id} was shown order {order.id} of {owner}",
        )


def when_asked_by_key(world: World, key: str, order: Order | None) -> None:
    """Whoever lost an answer was told of the order under their key, or that there is none."""
    own = _claimed_under(world, key)
    true = order.id in own if order is not None else not own
    words = f"{key} was told of {order.id if order is not None else 'no order'} and has {own}"
    world.witness.expect(true, OWN_ORDER_BY_KEY, words)


def when_turned_away(world: World, key: str, error: QuoteTaken | KeyReused) -> None:
    """A request that was repeated under its key was refused on account of an order."""
    own = error.order_id in _claimed_under(world, key)
    words = f"{key} was told {error.code} by {error.order_id}"
    world.witness.expect(own is isinstance(error, KeyReused), OWN_ORDER_BY_KEY, words)


def _claimed_under(world: World, key: str) -> list[OrderId]:
    """The orders that were placed under a key, by the disk: everybody who has one says it in `by` too."""
    return [fact.order_id for fact in world.disk.facts if isinstance(fact, OrderClaimed) and fact.by == key]
